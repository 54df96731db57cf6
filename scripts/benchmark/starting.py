"""Starts who is measured, as the options name them, and stops them again."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmark import objects, table
from benchmark.process import Server
from benchmark.target import Target
from benchmark.wire import Address

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("granian", "hypercorn", "uvicorn")
ON_OBJECTS = "storage_s3,accounts"
"""The plugins that are enabled on an object store, unless others are asked for."""
_NO_TRACES = {"OTEL_TRACES_EXPORTER": "none"}


class Starts(Protocol):
    """Starts one registry whose bytes lie in the store at `url`; it ends with the stack."""

    def __call__(self, stack: ExitStack, url: str) -> Target: ...


def installed(chosen: str | None) -> str:
    """The corereg command: the one asked for, this checkout's, or the one in PATH."""
    beside = [ROOT / ".venv/bin/corereg", Path(sys.executable).with_name("corereg")]
    found = chosen or next((str(each) for each in beside if each.exists()), None) or shutil.which("corereg")
    if found is None:
        raise ValueError("corereg is not installed: run scripts/serve once, or give --corereg or --no-corereg")
    return str(Path(found).absolute())


class Field(ExitStack):
    """A folder, and the servers that were started in it; at the end they are stopped and it is swept away."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self._options = options
        self.kinds: Sequence[str] = [] if options.no_corereg else options.server or ["hypercorn"]
        prefix = tempfile.TemporaryDirectory(prefix="corereg-bench-", dir=options.dir)
        self._folder = Path(self.enter_context(prefix))

    @property
    def python(self) -> str:
        """The interpreter of the environment that corereg is installed in."""
        return str(Path(installed(self._options.corereg)).with_name("python"))

    def everybody(self) -> list[Target]:
        """corereg on each of its servers, the empty app beside it, the peers: started and answering."""
        targets = []
        for kind in self.kinds:
            targets.append(self.corereg(kind))
            if not self._options.no_empty:
                targets.append(self._empty(kind, like=targets[-1]))
        targets += self._peers()
        if not targets:
            raise ValueError("nobody to measure: give --peer or --peer-command")
        return targets

    def registries(self) -> list[Target]:
        """As `everybody`, without the empty app."""
        targets = [*map(self.corereg, self.kinds), *self._peers()]
        if not targets:
            raise ValueError("nobody to measure: give --peer or --peer-command")
        return targets

    def alone(self) -> tuple[Target, Server]:
        """corereg on the first of its servers, and that server."""
        if not self.kinds:
            raise ValueError("this measures corereg alone: leave --no-corereg out")
        target = self.corereg(self.kinds[0])
        return target, target.process

    def corereg(self, kind: str) -> Target:
        """corereg on one kind of server, its data in a folder."""
        own = {"COREREG__PLUGINS": self._options.plugins} if self._options.plugins else {}
        return self._corereg(self, f"corereg ({kind})", kind, self._options.workers, own)

    def store(self) -> Address:
        """An S3 server."""
        return self.enter_context(objects.store(self._folder, self.python))

    def on_store(self, kind: str, workers: int = 0, *, redirect: bool = True) -> Starts:
        """corereg below a prefix of its own in the store; its name tells the workers that are given."""
        name = f"corereg ({kind})" + (f" x {workers}" if workers else "") + ("" if redirect else ", no redirect")
        return partial(self._start_on_store, name=name, kind=kind, workers=workers or 1, redirect=redirect)

    def peers_on_store(self) -> Iterator[Starts]:
        """Each peer on the store; `{s3}` in its command is the store's URL."""
        for name, command in self._peer_commands():
            yield partial(self._start_peer_on_store, name=name, command=command)

    def _start_on_store(
        self, stack: ExitStack, url: str, *, name: str, kind: str, workers: int, redirect: bool
    ) -> Target:
        objects.make_bucket(Address.of(url), "corereg")
        own = {
            **objects.KEYS,
            "COREREG__PLUGINS": self._options.plugins or ON_OBJECTS,
            "COREREG__STORAGE__URL": f"s3://corereg/{secrets.token_hex(4)}?endpoint={url}&region=us-east-1",
            "COREREG__STORAGE_S3__REDIRECT": str(redirect).lower(),
        }
        return self._corereg(stack, name, kind, workers, own)

    def _start_peer_on_store(self, stack: ExitStack, url: str, *, name: str, command: str) -> Target:
        objects.make_bucket(Address.of(url), "peer")
        words = [word.replace("{s3}", url) for word in shlex.split(command)]
        server = self._start(stack, name, words, {**objects.KEYS, **_NO_TRACES})
        return Target(name, server.address, "peer", *_credentials(name), server)

    def _corereg(self, stack: ExitStack, name: str, kind: str, workers: int, own: Mapping[str, str]) -> Target:
        command = [installed(self._options.corereg), "serve", "--data", "{dir}", "--port", "{port}"]
        command += ["--server", kind, "--workers", str(workers)]
        password = f"Bench-1-{secrets.token_urlsafe()}"
        server = self._start(stack, name, command, {"COREREG_ADMIN_PASSWORD": password, **own})
        return Target(name, server.address, "corereg", "admin", password, server)

    def _empty(self, kind: str, like: Target) -> Target:
        name = table.ceiling(like.name)
        command = [self.python, "-m", "benchmark.ceiling", kind, str(self._options.workers), "{port}"]
        server = self._start(self, name, command, {"PYTHONPATH": str(ROOT / "scripts")})
        return Target(name, server.address, "empty", server=server, like=like)

    def _peers(self) -> Iterator[Target]:
        for name, command in self._peer_commands():
            server = self._start(self, name, shlex.split(command), _NO_TRACES)
            yield Target(name, server.address, "peer", *_credentials(name), server)
        for peer in self._options.peer:
            name, _, url = peer.partition("=")
            yield Target(name, Address.of(url), "peer", *_credentials(name))

    def _peer_commands(self) -> Iterator[tuple[str, str]]:
        for peer in self._options.peer_command:
            name, _, command = peer.partition("=")
            if not command:
                raise ValueError(f"{peer}: a peer is NAME=COMMAND")
            yield name, command

    def _start(self, stack: ExitStack, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Server:
        server = Server(name, command, self._folder, environment)
        stack.callback(server.stop)
        server.wait()
        return server


def _credentials(name: str) -> tuple[str, str]:
    variable = "BENCH_" + re.sub(r"\W", "_", name).upper()
    return os.environ.get(f"{variable}_USER", ""), os.environ.get(f"{variable}_PASSWORD", "")
