"""Real clients against a real server: one Docker engine, one server of each shape, a login of its own for each test."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from . import layouts
from .engine import Docker, Engine, engine, outward_address, trusted
from .server import Server, Shape
from .tools import Outcome, require, require_root, run

LOCAL = "corereg-test:1"


class Image(NamedTuple):
    """An image in the engine: what it is called there, and its id."""

    name: str
    id: str


Client = Callable[..., Outcome]


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    with engine() as started:
        yield started


@pytest.fixture
def layers(repository: str) -> list[bytes]:
    """Four tar files that no other test has: an engine remembers every layer it pushed, and mounts it the next time."""
    return [
        layouts.tar({"hello": b"#!/bin/sh\necho hello\n", "for": repository.encode()}),
        layouts.tar({"share/big": layouts.filler(6 << 20, f"big {repository}")}),  # sent in many pieces
        layouts.tar({"share/small": layouts.filler(2000, f"small {repository}")}),
        layouts.tar({"share/name": repository.encode()}),
    ]


@pytest.fixture
def docker(docker_engine: Engine, tmp_path: Path) -> Docker:
    """The docker command line of somebody who is logged in nowhere."""
    return docker_engine.docker(tmp_path / "docker")


@pytest.fixture
def image(docker: Docker, layers: list[bytes], tmp_path: Path) -> Iterator[Image]:
    """An image in the engine that was pushed nowhere yet; made without a network."""
    docker("load", "--input", layouts.docker_archive(tmp_path / "image.tar", LOCAL, layers))
    made = Image(LOCAL, docker.image_id(LOCAL))
    yield made
    docker("rmi", "--force", made.id)


@pytest.fixture(scope="session")
def outward() -> Iterator[str]:
    """An address at which docker checks certificates."""
    with outward_address() as address:
        yield address


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dict[Shape, Server]]:
    """Every server started so far, by shape; they end together, and each must end well."""
    with ExitStack() as ends:
        running: dict[Shape, Server] = {}
        yield running
        for server in running.values():
            server.terminate()  # all at once; then wait for each
            ends.callback(_end, server)


def _end(server: Server) -> None:
    assert server.stop() == 0, f"SIGTERM: exit status of {server.shape} is not 0\n{server.log}"
    assert "Traceback" not in server.log, f"{server.shape} met an error of its own\n{server.log}"


@pytest.fixture
def registry_server(
    request: pytest.FixtureRequest, servers: dict[Shape, Server], tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """A running corereg: plain HTTP, hypercorn, one worker, or the `Shape` given by indirect parametrisation."""
    shape: Shape = getattr(request, "param", Shape())
    if shape not in servers:
        host = request.getfixturevalue("outward") if shape.outward else "127.0.0.1"
        server = Server(shape, tmp_path_factory.mktemp(str(shape)), host)
        server.start()
        servers[shape] = server
    request.node.stash[SERVER] = (servers[shape], len(servers[shape].log))
    return servers[shape]


SERVER = pytest.StashKey[tuple[Server, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # a wrapper yields once, and returns the report
    """A failure shows what the server wrote during the test."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pluggy sends the report in
    server, before = item.stash.get(SERVER, (None, 0))
    if report.failed and server is not None:
        report.sections.append((f"corereg serve ({server.shape})", tail(server.log[before:])))
    return report  # type: ignore[return-value]


def tail(log: str, lines: int = 60) -> str:
    return "\n".join(log.splitlines()[-lines:])


@pytest.fixture
def trust(registry_server: Server) -> Iterator[None]:
    """docker trusts the server's own authority during this test."""
    if not registry_server.shape.tls:
        yield
        return
    require_root()
    with trusted(registry_server.address, registry_server.authority):
        yield


@pytest.fixture
def certificates(registry_server: Server, tmp_path: Path) -> Path:
    """A folder as --cert-dir wants it: it holds the authority of the server, if that has one."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    if registry_server.shape.tls:
        (folder / "ca.crt").write_bytes(registry_server.authority.read_bytes())
    return folder


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository that no other test writes to."""
    return "clients/" + re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


@pytest.fixture
def bob(registry_server: Server) -> tuple[str, str]:
    """Name and password of a user who may do nothing."""
    name, password = "bob", "Bob's own password 7"
    registry_server.add_user(name, password)
    return name, password


@pytest.fixture
def authfile(tmp_path: Path) -> Path:
    """Where skopeo, podman and buildah keep the logins of this test: none yet."""
    path = tmp_path / "auth.json"
    path.write_text("{}")
    return path


@pytest.fixture
def skopeo(authfile: Path) -> Client:
    program = require("skopeo")

    def skopeo(command: str, *words: str | Path, status: int | None = 0, stdin: str | None = None) -> Outcome:
        return run(program, command, "--authfile", authfile, *words, status=status, stdin=stdin)

    return skopeo


@pytest.fixture(params=["podman", "buildah"])
def builder(request: pytest.FixtureRequest, authfile: Path) -> Iterator[Client]:
    """podman, then buildah: push, pull, login are the same words in both. Their images go with the test."""
    require_root()
    program = require(request.param)
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:  # podman wants it short
        state = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        if request.param == "podman":
            state += ["--tmpdir", f"{folder}/libpod", "--events-backend", "none"]

        def builder(*words: str | Path, status: int | None = 0, stdin: str | None = None) -> Outcome:
            return run(program, *state, *words, status=status, stdin=stdin, env={"REGISTRY_AUTH_FILE": str(authfile)})

        yield builder
