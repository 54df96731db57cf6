"""Small blobs that are stored in one call."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from corereg.store.storage import BLOBS, KeyMissing, Storage, blob_key
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

SIZES = (0, 1, 300 * KiB + 1, 1 * MiB)


class Wrong(Exception):
    """What whoever looks at the digest raises: nothing of the storage's own."""


def right() -> None:
    """The digest is what it should be."""


class PuttingContract(StorageTests):
    """A blob that comes whole is there whole, or not at all."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_put_at_once_comes_back(self, storage: Storage, make_storage: MakeStorage, size: int) -> None:
        data = some_bytes(size)
        upload, state = await started(storage)
        key = await storage.put(upload, state, data, digest_of(data), right)
        async with opened(make_storage) as other:
            assert await read(other, key) == data
            assert upload not in await uploads(other)
            stat = await other.stat(key)
            assert stat is not None
            assert stat.size == size
            await other.abort(upload, state)
            assert await read(other, key) == data, "the upload is gone, the blob is not its"
        await storage.delete(key)

    async def test_nobody_reads_before_the_check(self, storage: Storage) -> None:
        """The check is asked once, and nothing is there while it is asked, nor after it has refused."""
        data = some_bytes(70 * KiB)
        upload, state = await started(storage)
        loop = asyncio.get_running_loop()
        asked = 0

        async def look() -> None:
            assert await storage.stat(blob_key(digest_of(data))) is None
            with pytest.raises(KeyMissing):
                await read(storage, blob_key(digest_of(data)))

        def check() -> None:
            nonlocal asked
            asked += 1
            with suppress(RuntimeError):
                if asyncio.get_running_loop() is loop:  # it may be asked in the event loop, too
                    raise Wrong
            asyncio.run_coroutine_threadsafe(look(), loop).result(20)
            raise Wrong

        with pytest.raises(Wrong):
            await storage.put(upload, state, data, digest_of(data), check)
        assert asked == 1
        await look()
        state = await appended(storage, upload, state, 0, b"another content")
        async with committed(storage, upload, state, b"another content") as key:
            assert await read(storage, key) == b"another content"

    async def test_a_refused_upload_can_be_put_again(self, storage: Storage) -> None:
        data = some_bytes(2000)
        upload, state = await started(storage)

        def check() -> None:
            raise Wrong

        with pytest.raises(Wrong):
            await storage.put(upload, state, b"something else", digest_of(data), check)
        key = await storage.put(upload, state, data, digest_of(data), right)
        assert await read(storage, key) == data
        await storage.delete(key)

    async def test_bytes_that_nobody_noted_are_not_put(self, storage: Storage) -> None:
        upload, state = await started(storage)
        await appended(storage, upload, state, 0, some_bytes(5000))  # and then the process died
        key = await storage.put(upload, state, b"kept", digest_of(b"kept"), right)
        assert await read(storage, key) == b"kept"
        await storage.abort(upload, state)  # what the dead left goes, the blob stays
        assert await read(storage, key) == b"kept"
        assert upload not in await uploads(storage)
        await storage.delete(key)

    async def test_the_same_digest_put_again_and_at_once(self, storage: Storage, make_storage: MakeStorage) -> None:
        data = some_bytes(700 * KiB)
        async with stored(storage, data) as key, opened(make_storage) as other:
            begun = [(place, *await started(place)) for place in (storage, other) * 3]
            keys = await asyncio.gather(
                *(place.put(upload, state, data, digest_of(data), right) for place, upload, state in begun)
            )
            assert [await read(other, each) for each in {key, *keys}] == [data] * len({key, *keys})
            assert {upload for _, upload, _ in begun}.isdisjoint(await uploads(storage))
            for each in {*keys} - {key}:
                await storage.delete(each)

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_every_algorithm_put_at_once(self, storage: Storage, algorithm: str) -> None:
        data = some_bytes(10)
        upload, state = await started(storage)
        key = await storage.put(upload, state, data, digest_of(data, algorithm), right)
        assert f"/{algorithm}/" in key or not key.startswith(BLOBS)
        await storage.delete(key)

    async def test_a_cancelled_put_leaves_nothing_running(self, storage: Storage) -> None:
        data = some_bytes(100 * KiB)
        upload, state = await started(storage)
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def check() -> None:
            begun.set()
            go_on.wait(20)
            ended.set()

        task = asyncio.create_task(storage.put(upload, state, data, digest_of(data), check))
        assert await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        asyncio.get_running_loop().call_later(0.02, go_on.set)
        await asyncio.wait([task])
        assert ended.is_set()
        key = await storage.put(upload, state, data, digest_of(data), right)
        assert await read(storage, key) == data
        await storage.delete(key)
