"""The bucket keeps the contract."""

from __future__ import annotations

import pytest

from corereg.testing.storage import MakeStorage, StorageContract


class TestBucket(StorageContract):
    """With signed URLs."""

    @pytest.fixture
    def make_storage(self, make) -> MakeStorage:
        return make


class TestBucketWithoutMemory(StorageContract):
    """Without signed URLs; every part is gathered in a temporary file."""

    @pytest.fixture
    def make_storage(self, make) -> MakeStorage:
        return lambda: make(redirect=False, memory=0)
