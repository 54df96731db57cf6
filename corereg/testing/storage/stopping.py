"""What is cut off: cancelled reads and writes, writers that were overtaken."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import pytest

from corereg.store.storage import Storage, StorageError, StorageUnavailable
from corereg.testing.storage.steps import (
    MakeStorage,
    MiB,
    StorageTests,
    again,
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


class StoppingContract(StorageTests):
    """What was stopped half-way harms nothing."""

    @pytest.mark.parametrize("cancel", ["anyio", "asyncio"])
    async def test_a_cancelled_write(self, storage: Storage, cancel: str) -> None:
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        await writer.write(b"kept ")
        lost = bytearray(some_bytes(20 * MiB))
        if cancel == "anyio":
            with anyio.move_on_after(0.001):
                await writer.write(lost)
        else:
            task = asyncio.create_task(writer.write(lost))
            await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
        lost[:] = bytes(len(lost))
        state = await appended(storage, upload, again(await writer.close()), 5, b"and kept")
        async with committed(storage, upload, state, b"kept and kept") as key:
            assert await read(storage, key) == b"kept and kept"

    async def test_a_cancelled_commit_can_be_repeated(self, storage: Storage) -> None:
        data = some_bytes(9 * MiB)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        task = asyncio.create_task(storage.commit(upload, state, len(data), digest_of(data)))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        async with committed(storage, upload, state, data) as key:
            assert await read(storage, key) == data

    async def test_a_cancelled_read(self, storage: Storage) -> None:
        data = some_bytes(9 * MiB)
        async with stored(storage, data) as key:
            for _ in range(20):
                task = asyncio.create_task(read(storage, key))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            assert await read(storage, key) == data

    async def test_an_overtaken_writer_changes_nothing(self, storage: Storage, make_storage: MakeStorage) -> None:
        upload, state = await started(storage)
        slow = await storage.writer(upload, state, 0)
        await slow.write(some_bytes(5 * MiB))
        async with opened(make_storage) as other:
            try:
                state = await appended(other, upload, state, 0, b"quick")
            except StorageUnavailable:  # it holds the upload as long as it lives
                await slow.close()
                state = await appended(other, upload, state, 0, b"quick")
            async with committed(other, upload, state, b"quick") as key:
                with suppress(StorageError):
                    await slow.write(some_bytes(5 * MiB))
                with suppress(StorageError):
                    await slow.close()
                assert await read(other, key) == b"quick"
            await other.abort(upload, state)

    async def test_an_abort_under_a_writer(self, storage: Storage) -> None:
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        await writer.write(some_bytes(MiB))
        await storage.abort(upload, state)
        with suppress(StorageError):
            await writer.write(some_bytes(MiB))
        with suppress(StorageError):
            await writer.close()
        await storage.abort(upload, state)
        assert upload not in await uploads(storage)
