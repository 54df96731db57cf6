"""What tests of storages are made of: bytes, and the steps of their way."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from corereg.store.storage import BLOBS, State, Storage

KiB = 1024
MiB = 1024 * KiB
LARGEST_PIECE = 4 * MiB

MakeStorage = Callable[[], Storage]


def some_bytes(size: int) -> bytes:
    """`size` bytes that nobody has had before."""
    return random.randbytes(size)  # noqa: S311 - not a secret


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest, ``sha256:...``."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def again(state: State) -> State:
    """The state as the database gives it back."""
    back: dict[str, Any] = json.loads(json.dumps(state))
    return back


def assert_recent(modified: float | None) -> None:
    """Within a minute, allowing for clocks that differ, or unknown."""
    assert modified is None or abs(modified - time.time()) < 60


@asynccontextmanager
async def opened(make_storage: MakeStorage) -> AsyncIterator[Storage]:
    """One more storage object on the same place, open."""
    storage = make_storage()
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def started(storage: Storage) -> tuple[str, State]:
    """A new upload and its state."""
    upload = str(uuid4())
    return upload, again(await storage.begin(upload))


async def appended(
    storage: Storage, upload: str, state: State, offset: int, data: bytes, *, piece: int = 64 * KiB
) -> State:
    """Append `data` in one request; the new state."""
    writer = await storage.writer(upload, state, offset)
    for start in range(0, len(data), piece):
        await writer.write(data[start : start + piece])
    return again(await writer.close())


@asynccontextmanager
async def committed(
    storage: Storage, upload: str, state: State, data: bytes, algorithm: str = "sha256"
) -> AsyncIterator[str]:
    """The key of the upload, which holds `data`; it is removed at the end, and what dead writers left of the upload."""
    key = await storage.commit(upload, state, len(data), digest_of(data, algorithm))
    try:
        yield key
    finally:
        await storage.delete(key)
        await storage.abort(upload, {})


@asynccontextmanager
async def stored(
    storage: Storage, data: bytes, *, piece: int = 64 * KiB, algorithm: str = "sha256"
) -> AsyncIterator[str]:
    """The key under which `data` was stored; it is removed at the end."""
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data, piece=piece)
    async with committed(storage, upload, state, data, algorithm) as key:
        yield key


async def read(storage: Storage, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """The bytes from `start` to `stop`, in one piece."""
    async with aclosing(storage.read(key, start, stop)) as pieces:
        return b"".join([piece async for piece in pieces])


async def read_upload(storage: Storage, upload: str, state: State, size: int) -> bytes:
    """The first `size` bytes of the upload, in one piece."""
    async with aclosing(storage.read_upload(upload, state, size)) as pieces:
        return b"".join([piece async for piece in pieces])


async def uploads(storage: Storage) -> set[str]:
    """The ids of all unfinished uploads."""
    return {stat.key async for stat in storage.uploads()}


async def everything(storage: Storage) -> set[str]:
    """All keys and all unfinished uploads."""
    return {stat.key async for stat in storage.list(BLOBS)} | await uploads(storage)


class StorageTests:
    """What all parts of the contract share: a storage, which every test leaves as it found it."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """asyncio only, as corereg itself."""
        return "asyncio"

    @pytest.fixture
    def make_storage(self) -> MakeStorage:
        """One more storage object on the same place, not yet opened."""
        raise NotImplementedError

    @pytest.fixture
    async def storage(self, make_storage: MakeStorage) -> AsyncIterator[Storage]:
        """An open storage, that has to be left as it was found."""
        async with opened(make_storage) as storage:
            before = await everything(storage)
            yield storage
            left = await everything(storage) - before
            for name in left:  # the next test shall not suffer
                await (storage.delete(name) if name.startswith(BLOBS) else storage.abort(name, {}))
            assert not left, "the test has left something behind"
