"""One cluster for all tests: each leaves it as it found it, with every node at work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from corereg.testing.plugin import start_postgres
from corereg.testing.postgres import Databases, Server
from corereg.testing.storages import ObjectStore
from tests.clients.tools import missing

from .faults import Faults
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL that the tests may restart."""
    server = start_postgres()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def objects(object_store: ObjectStore) -> Iterator[Faults]:
    """An S3 server behind a proxy that can be told to fail."""
    with Faults(object_store.port) as faults:
        yield faults


@pytest.fixture(scope="session")
def storage(pytestconfig: pytest.Config, objects: Faults, object_store: ObjectStore) -> str:
    """A bucket, unless --corereg-storage names something else: a folder that the nodes share, a real store."""
    named: str = pytestconfig.getoption("--corereg-storage") or "s3:"
    return f"s3://{object_store.bucket}/cluster?endpoint={objects.url}&region=us-east-1" if named == "s3:" else named


@pytest.fixture(scope="session")
def cluster(postgres: Server, storage: str, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
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
