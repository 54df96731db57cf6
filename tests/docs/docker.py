"""docker's lines in a page: done by a docker engine of the tests' own, or by HTTP where there is none."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from corereg.testing.client import EMPTY, Content, Credentials, RegistryClient, blob, error_codes, image
from tests.clients import layouts
from tests.clients.engine import Docker, engine

from .session import Shell

IMAGE = "hello-world"
"""What pages push: here an image of our own under that name."""

PasswordOf = Callable[[str], str]


class ByEngine:
    """docker itself."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self._docker = docker
        layers = [layouts.tar({"hello": b"#!/bin/sh\necho hello\n"})]
        docker("load", "--input", layouts.docker_archive(folder / "image.tar", f"{IMAGE}:latest", layers))

    def __call__(self, lines: str, password_of: PasswordOf) -> tuple[int, str]:
        """The lines of one block; the first that fails ends it."""
        printed = ""
        for words in spoken(lines):
            outcome = self._one(words, password_of)
            printed += outcome[1]
            if outcome[0]:
                return outcome[0], printed
        return 0, printed

    def _one(self, words: list[str], password_of: PasswordOf) -> tuple[int, str]:
        stdin = None
        if words[0] == "login":
            words, stdin = [*words, "--password-stdin"], password_of(words[words.index("-u") + 1])
        try:
            outcome = self._docker(*words, stdin=stdin)
        except AssertionError as failed:  # a status that is not 0
            return 1, str(failed)
        return outcome.status, outcome.text


class ByHTTP:
    """The same requests without docker: what is tagged is an image of our own."""

    def __init__(self) -> None:
        self._logins: dict[str, Credentials] = {}
        self._images: dict[str, Content] = {}

    def __call__(self, lines: str, password_of: PasswordOf) -> tuple[int, str]:
        """The lines of one block; the first that fails ends it."""
        printed = ""
        for words in spoken(lines):
            status, said = anyio.run(self._one, words, password_of)
            printed += f"{said}\n"
            if status:
                return status, printed
        return 0, printed

    async def _one(self, words: list[str], password_of: PasswordOf) -> tuple[int, str]:
        match words:
            case ["login", host, "-u", name]:
                return await self._login(host, Credentials(name, password_of(name)))
            case ["tag", source, target]:
                self._images[target] = self._images.get(source) or image(EMPTY, [blob(b"hello")])
            case ["rmi", name]:
                self._images.pop(name)
            case ["push", name]:
                return await self._push(*_parts(name), self._images[name])
            case ["pull", name]:
                return await self._pull(name)
            case _:
                raise AssertionError(f"docker {shlex.join(words)}: only docker knows how")
        return 0, ""

    def _client(self, host: str) -> RegistryClient:
        return RegistryClient(f"http://{host}", credentials=self._logins.get(host))

    async def _login(self, host: str, credentials: Credentials) -> tuple[int, str]:
        async with RegistryClient(f"http://{host}", credentials=credentials) as client:
            answer = await client.request("GET", "/v2/")
        if answer.status_code != 200:
            return 1, _sentence(answer.status_code, answer.content.decode())
        self._logins[host] = credentials
        return 0, "Login Succeeded"

    async def _push(self, host: str, repository: str, tag: str, manifest: Content) -> tuple[int, str]:
        async with self._client(host) as client:
            for each in (EMPTY, blob(b"hello")):
                begun = await client.request("POST", f"/v2/{repository}/blobs/uploads/")
                if begun.status_code != 202:
                    return 1, _told(begun.json())
                await client.push_blob(repository, each.body)
            answer = await client.put_manifest(repository, tag, manifest)
        if answer.status_code != 201:
            return 1, _told(answer.json())
        return 0, f"{tag}: digest: {manifest.digest} size: {len(manifest.body)}"

    async def _pull(self, name: str) -> tuple[int, str]:
        host, repository, tag = _parts(name)
        async with self._client(host) as client:
            answer = await client.get_manifest(repository, tag)
            if answer.status_code != 200:
                return 1, f"{error_codes(answer)}"
            await client.pull_blob(repository, EMPTY.digest)
        self._images[name] = Content(answer.headers["content-type"], answer.content)
        return 0, f"Digest: {self._images[name].digest}"


def spoken(lines: str) -> Iterator[list[str]]:
    """The words after ``docker`` on each line."""
    for line in lines.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "docker", f"{line}: no line of docker's"
            yield words[1:]


def _parts(name: str) -> tuple[str, str, str]:
    host, _, rest = name.partition("/")
    repository, _, tag = rest.partition(":")
    return host, repository, tag or "latest"


def _told(document: dict[str, list[dict[str, str]]]) -> str:
    """The first error as docker prints it."""
    error = document["errors"][0]
    return f"{error['code'].lower().replace('_', ' ')}: {error['message']}"


def _sentence(status: int, text: str) -> str:
    return f"{status}: {text}"


@contextmanager
def docker_of(kind: str, folder: Path) -> Iterator[Shell]:
    """Who does docker's lines: ``engine`` (skipped where none runs) or ``http``."""
    if kind == "http":
        yield ByHTTP()
        return
    folder.mkdir(parents=True, exist_ok=True)
    with engine() as started:
        docker = started.docker(folder / "logins")
        yield ByEngine(docker, folder)
