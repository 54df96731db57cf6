"""What is stored can be read: whole, in ranges, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from corereg.store.storage import BLOBS, KeyMissing, Storage, blob_key
from corereg.testing.storage.steps import (
    LARGEST_PIECE,
    KiB,
    MiB,
    StorageTests,
    committed,
    digest_of,
    read,
    some_bytes,
    started,
    stored,
)

SIZES = (0, 1, 4095, 64 * KiB, 256 * KiB + 1, 1 * MiB, 5 * MiB + 3)
NO_KEYS = ("", "/", "/etc/passwd", "..", "../x", "docker/../../x", "docker//x", "docker/./x", "docker/x\0y", "docker/")
NO_UPLOADS = ("", ".", "..", "../x", "a/b", "/x", "x\0", "x\n", "ä", "x" * 129)
RANGES = (
    (0, 1),
    (0, 3_000_000),
    (1, 2),
    (5, 5),
    (65_535, 65_537),
    (999_999, 2_000_001),
    (2_999_999, 3_000_000),
    (2_999_999, 9_000_000),
    (3_000_000, 3_000_001),
    (9_000_000, 9_000_001),
)


class ReadingContract(StorageTests):
    """What is written can be read, what is not there cannot."""

    # ---- what is written can be read ----

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_comes_back(self, storage: Storage, size: int) -> None:
        data = some_bytes(size)
        async with stored(storage, data) as key:
            assert key == blob_key(digest_of(data)) or not key.startswith(BLOBS)
            assert await read(storage, key) == data
            stat = await storage.stat(key)
            assert stat is not None
            assert (stat.key, stat.size) == (key, size)

    @pytest.mark.parametrize("piece", [1, 7, 1000])
    async def test_small_pieces_are_joined_in_order(self, storage: Storage, piece: int) -> None:
        data = some_bytes(3000 * piece)
        async with stored(storage, data, piece=piece) as key:
            assert await read(storage, key) == data

    async def test_the_buffer_is_the_callers_again(self, storage: Storage) -> None:
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        desk = bytearray(64 * KiB)
        data = b""
        for number in range(20):
            desk[:] = bytes([number]) * len(desk)
            data += desk
            await writer.write(memoryview(desk))
        desk[:] = bytes(len(desk))
        async with committed(storage, upload, await writer.close(), data) as key:
            assert await read(storage, key) == data

    async def test_an_empty_write_changes_nothing(self, storage: Storage) -> None:
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        await writer.write(b"")
        await writer.write(b"abc")
        await writer.write(b"")
        async with committed(storage, upload, await writer.close(), b"abc") as key:
            assert await read(storage, key) == b"abc"

    async def test_appending_is_writing(self, storage: Storage) -> None:
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        if writer.append is None:
            await writer.close()
            await storage.abort(upload, state)
            pytest.skip("nothing of this storage blocks")
        pieces = [some_bytes(size) for size in (1, MiB, 3, 64 * KiB, 5)]
        for number, piece in enumerate(pieces):
            if number % 2:
                await asyncio.to_thread(writer.append, piece)
            else:
                await writer.write(piece)
        data = b"".join(pieces)
        async with committed(storage, upload, await writer.close(), data) as key:
            assert await read(storage, key) == data

    async def test_an_upload_without_a_write_is_an_empty_blob(self, storage: Storage) -> None:
        upload, state = await started(storage)
        async with committed(storage, upload, state, b"") as key:
            assert await read(storage, key) == b""

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_every_algorithm(self, storage: Storage, algorithm: str) -> None:
        async with stored(storage, some_bytes(10), algorithm=algorithm) as key:
            assert f"/{algorithm}/" in key or not key.startswith(BLOBS)

    # ---- ranges ----

    @pytest.mark.parametrize("bounds", RANGES, ids=str)
    async def test_ranges(self, storage: Storage, bounds: tuple[int, int]) -> None:
        data = some_bytes(3_000_000)
        async with stored(storage, data) as key:
            assert await read(storage, key, *bounds) == data[slice(*bounds)]

    async def test_from_the_middle_to_the_end(self, storage: Storage) -> None:
        data = some_bytes(3_000_000)
        async with stored(storage, data) as key:
            assert await read(storage, key, 1_234_567) == data[1_234_567:]

    async def test_pieces_are_small_enough_to_hold(self, storage: Storage) -> None:
        async with stored(storage, some_bytes(12 * MiB)) as key:
            sizes = [len(piece) async for piece in storage.read(key)]
            assert 0 < min(sizes) <= max(sizes) <= LARGEST_PIECE

    async def test_a_reader_may_leave_early(self, storage: Storage) -> None:
        data = some_bytes(6 * MiB)
        async with stored(storage, data) as key:
            for _ in range(50):
                async with aclosing(storage.read(key)) as pieces:
                    async for piece in pieces:
                        assert data.startswith(piece)
                        break

    async def test_many_read_at_once(self, storage: Storage) -> None:
        data = some_bytes(3_000_000)
        async with stored(storage, data) as key:
            starts = range(0, 3_000_000, 150_000)
            found = await asyncio.gather(*(read(storage, key, start) for start in starts))
            assert all(part == data[start:] for part, start in zip(found, starts, strict=True))

    # ---- what is not there ----

    async def test_a_missing_key_shows_with_the_first_piece(self, storage: Storage) -> None:
        pieces = storage.read(blob_key(digest_of(some_bytes(20))))
        with pytest.raises(KeyMissing):
            await anext(pieces)

    async def test_a_missing_key(self, storage: Storage) -> None:
        key = blob_key(digest_of(some_bytes(20)))
        assert await storage.stat(key) is None
        await storage.delete(key)

    @pytest.mark.parametrize("key", NO_KEYS)
    async def test_what_is_no_key(self, storage: Storage, key: str) -> None:
        with pytest.raises(KeyMissing):
            await read(storage, key)
        with pytest.raises(KeyMissing):
            await storage.stat(key)
        with pytest.raises(KeyMissing):
            await storage.delete(key)

    @pytest.mark.parametrize("upload", NO_UPLOADS)
    async def test_what_is_no_upload(self, storage: Storage, upload: str) -> None:
        with pytest.raises(KeyMissing):
            await storage.begin(upload)
        _, state = await started(storage)
        with pytest.raises(KeyMissing):
            await storage.writer(upload, state, 0)
        with pytest.raises(KeyMissing):
            await storage.commit(upload, state, 0, digest_of(b""))
        with pytest.raises(KeyMissing):
            await storage.abort(upload, state)

    async def test_folders_of_keys_are_no_keys(self, storage: Storage) -> None:
        async with stored(storage, some_bytes(10)) as key:
            folder = key.rpartition("/")[0]
            assert await storage.stat(folder) is None
            with pytest.raises(KeyMissing):
                await read(storage, folder)

    async def test_delete(self, storage: Storage) -> None:
        data = some_bytes(100)
        async with stored(storage, data) as key:
            await storage.delete(key)
            assert await storage.stat(key) is None
            with pytest.raises(KeyMissing):
                await read(storage, key)
            await storage.delete(key)
            async with stored(storage, data) as again:
                assert await read(storage, again) == data
