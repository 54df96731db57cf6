"""One cluster for all tests: each leaves it as it found it, with every node at work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from corereg.testing.plugin import start_postgres
from corereg.testing.postgres import Databases, Server
from corereg.testing.serving import free_port
from examples.cluster.cluster import until_answers
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
def objects() -> Iterator[Faults]:
    """moto's S3 server with a bucket, behind a proxy that can be told to fail."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until_answers(f"{url}/moto-api/")
        httpx2.put(f"{url}/corereg", headers=SIGNED, timeout=20).raise_for_status()
        with Faults(port) as faults:
            yield faults
        process.kill()


SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}
"""moto looks for a signature and does not verify it."""


@pytest.fixture(scope="session")
def storage(pytestconfig: pytest.Config, objects: Faults) -> str:
    """A bucket, unless --corereg-storage names something else: a folder that the nodes share, a real store."""
    return pytestconfig.getoption("--corereg-storage") or f"s3://corereg?endpoint={objects.url}&region=us-east-1"


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
