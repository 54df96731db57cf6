"""Commits: all or nothing, once or again, however many at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from corereg.store.storage import KeyMissing, Storage, blob_key
from corereg.testing.storage.steps import (
    KiB,
    MakeStorage,
    MiB,
    StorageTests,
    appended,
    committed,
    digest_of,
    opened,
    read,
    some_bytes,
    started,
    stored,
    uploads,
)


class CommittingContract(StorageTests):
    """A blob is there whole when it is committed, and not before."""

    async def test_nobody_reads_before_the_commit(self, storage: Storage) -> None:
        data = some_bytes(100)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        assert await storage.stat(blob_key(digest_of(data))) is None
        with pytest.raises(KeyMissing):
            await read(storage, f"corereg/uploads/{upload}")
        assert upload not in " ".join([stat.key async for stat in storage.list()])
        async with committed(storage, upload, state, data):
            assert upload not in await uploads(storage)

    async def test_a_commit_can_be_repeated(self, storage: Storage, make_storage: MakeStorage) -> None:
        data = some_bytes(5000)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        async with committed(storage, upload, state, data) as key, opened(make_storage) as other:
            assert await other.commit(upload, state, len(data), digest_of(data)) == key
            assert await read(storage, key) == data

    async def test_the_same_digest_twice(self, storage: Storage) -> None:
        data = some_bytes(300 * KiB)
        async with stored(storage, data) as key:
            before = await storage.stat(key)
            await anyio.sleep(0.01)
            async with stored(storage, data) as again:
                assert await read(storage, again) == data
                after = await storage.stat(again)
                assert before is not None
                assert after is not None
                assert before.modified is None or after.modified is None or before.modified <= after.modified

    async def test_the_same_digest_twice_at_once(self, storage: Storage, make_storage: MakeStorage) -> None:
        data = some_bytes(2 * MiB)
        async with opened(make_storage) as other:
            begun = [(place, *await started(place)) for place in (storage, other) * 4]
            ready = [
                (place, upload, await appended(place, upload, state, 0, data, piece=100 * KiB))
                for place, upload, state in begun
            ]
            keys = await asyncio.gather(
                *(place.commit(upload, state, len(data), digest_of(data)) for place, upload, state in ready)
            )
            assert [await read(other, key) for key in set(keys)] == [data] * len(set(keys))
            for key in set(keys):
                await storage.delete(key)

    async def test_readers_see_all_or_nothing(self, storage: Storage, make_storage: MakeStorage) -> None:
        data = some_bytes(9 * MiB)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        key = blob_key(digest_of(data))
        done = anyio.Event()
        seen: list[bytes] = []

        async def watch(place: Storage) -> None:
            while not done.is_set():
                with suppress(KeyMissing):
                    seen.append(await read(place, key))
                await anyio.lowlevel.checkpoint()

        async with opened(make_storage) as other, anyio.create_task_group() as tasks:
            for place in (storage, other, other):
                tasks.start_soon(watch, place)
            async with committed(storage, upload, state, data) as where:
                assert await read(other, where) == data
                done.set()
        assert all(found == data for found in seen)

    async def test_many_uploads_at_once(self, storage: Storage) -> None:
        async def one(number: int) -> None:
            data = some_bytes(200_000 + number)
            async with stored(storage, data, piece=50_000) as key:
                assert await read(storage, key) == data

        await asyncio.gather(*(one(number) for number in range(30)))
