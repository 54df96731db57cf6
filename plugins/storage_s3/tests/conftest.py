"""An S3 server: moto's, a process of its own on loopback, or the one COREREG_TEST_S3_URL names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx2
import msgspec
import pytest

from corereg.testing.storage import MakeStorage
from corereg_storage_s3 import StorageS3
from corereg_storage_s3.place import Place, place_of
from corereg_storage_s3.storage import S3Storage

MiB = 1024 * 1024
SMALL = StorageS3.Settings(access_key="tester", secret_key="nothing to protect", part_size=5 * MiB, attempts=3)
REAL = "COREREG_TEST_S3_URL"
"""``s3://bucket/prefix?endpoint=...``; credentials as Amazon's tools find them. The bucket has to be there."""

Make = Callable[..., S3Storage]


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto's S3 server."""
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            pytest.fail(f"moto's server did not start: {said}")
        listener = threading.Thread(target=process.stderr.read)  # or the pipe fills, and the server waits
        listener.start()
        yield found.group()
        process.kill()
        listener.join()


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket, and a prefix that nobody else uses."""
    if url := os.environ.get(REAL):
        found = place_of(url)
        return msgspec.structs.replace(found, prefix=f"{found.prefix}{uuid4().hex}/")
    moto: str = request.getfixturevalue("moto")
    httpx2.put(f"{moto}/bucket", headers=SIGNED, trust_env=False).raise_for_status()
    return Place("bucket", f"{uuid4().hex}/", moto)


SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
}
"""moto looks for a signature and does not verify it."""


@pytest.fixture(scope="session")
def settings() -> StorageS3.Settings:
    """Small parts, so that small blobs come in several."""
    if REAL in os.environ:
        return msgspec.structs.replace(SMALL, access_key=None, secret_key=None)
    return SMALL


@pytest.fixture(scope="session")
def make(place: Place, settings: StorageS3.Settings) -> Make:
    """A storage on the place; its settings can be changed by name."""

    def made(where: Place = place, **changes: object) -> S3Storage:
        return S3Storage(where, msgspec.structs.replace(settings, **changes))

    return made


@pytest.fixture(scope="session")
def make_storage(make: Make) -> MakeStorage:
    return make
