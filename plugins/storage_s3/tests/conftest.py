"""An S3 server: moto's, a process of its own on loopback, or the one COREREG_TEST_S3_URL names."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import uuid4

import msgspec
import pytest

from corereg.testing.storage import MakeStorage
from corereg.testing.storages import ObjectStore
from corereg_storage_s3 import StorageS3
from corereg_storage_s3.place import Place, place_of
from corereg_storage_s3.storage import S3Storage

MiB = 1024 * 1024
SMALL = StorageS3.Settings(access_key="tester", secret_key="nothing to protect", part_size=5 * MiB, attempts=3)
REAL = "COREREG_TEST_S3_URL"
"""``s3://bucket/prefix?endpoint=...``; credentials as Amazon's tools find them. The bucket has to be there."""

Make = Callable[..., S3Storage]


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Place:
    """A bucket, and a prefix that nobody else uses."""
    if url := os.environ.get(REAL):
        found = place_of(url)
        return msgspec.structs.replace(found, prefix=f"{found.prefix}{uuid4().hex}/")
    store: ObjectStore = request.getfixturevalue("object_store")
    return Place(store.bucket, f"{uuid4().hex}/", store.url)


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
