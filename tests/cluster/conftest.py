"""One cluster for the tests of a file: each leaves it as it found it, with every node at work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from corereg.testing.plugin import start_postgres
from corereg.testing.postgres import Databases, Server
from tests.clients.tools import missing

from .nodes import Cluster


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the long tests take the numbers of the real thing (``--cluster-full``)."""
    return bool(pytestconfig.getoption("--cluster-full"))


@pytest.fixture(scope="session")
def nginx() -> str:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or missing(
        "nginx is not installed (on Debian, as root: scripts/servers)"
    )


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A PostgreSQL that the tests may restart."""
    server = start_postgres()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield f"fs:{tmp_path_factory.mktemp('storage')}"


@pytest.fixture(scope="module")
def cluster(
    postgres: Server, storage: str, nginx: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    """Three nodes on an empty database, started at the same moment, and nginx."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    made = Cluster(folder, Databases(postgres.url).empty(), storage)
    try:
        made.start(nginx)
        yield made
    finally:
        made.stop()
        print(made.logs())  # noqa: T201 - pytest shows it with a failure
    assert "Traceback" not in made.logs()
