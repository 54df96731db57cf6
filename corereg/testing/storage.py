"""What every storage has to do: `StorageContract`, a class of tests to inherit from.

::

    class TestOurs(StorageContract):
        @pytest.fixture
        def make_storage(self, tmp_path):
            return lambda: OurStorage(tmp_path)

`make_storage` makes one more object on the same place each time it is called: that is how another process sees it.
Every test removes what it has put there, and fails when something is left. What a storage says in its `capabilities` is
tested, what it does not say is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corereg.store.storage import (
    BLOBS,
    KeyMissing,
    State,
    Storage,
    StorageError,
    StorageUnavailable,
    blob_key,
)

KiB = 1024
MiB = 1024 * KiB
LARGEST_PIECE = 4 * MiB

MakeStorage = Callable[[], Storage]

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
# What may happen to an upload: bytes arrive; bytes arrive and the process dies before it has noted that; the upload is
# taken back to a shorter state; another process goes on.
HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["append", "lose"]), st.integers(0, 5000)),
        st.tuples(st.just("shorten"), st.integers(0, 100)),
        st.tuples(st.just("move"), st.just(0)),
    ),
    max_size=12,
)


class StorageContract:
    """Inherit from it and give it `make_storage`."""

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

    # ---- what is written can be read ----

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_blob_comes_back(self, storage: Storage, size: int) -> None:
        data = some_bytes(size)
        async with stored(storage, data) as key:
            assert key == blob_key(digest_of(data)) or "redirect" in storage.capabilities
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

    async def test_an_upload_without_a_write_is_an_empty_blob(self, storage: Storage) -> None:
        upload, state = await started(storage)
        async with committed(storage, upload, state, b"") as key:
            assert await read(storage, key) == b""

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_every_algorithm(self, storage: Storage, algorithm: str) -> None:
        async with stored(storage, some_bytes(10), algorithm=algorithm) as key:
            assert f"/{algorithm}/" in key or "redirect" in storage.capabilities

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

    # ---- uploads go on ----

    async def test_another_process_goes_on(self, storage: Storage, make_storage: MakeStorage) -> None:
        upload, state = await started(storage)
        data = b""
        for size in (1, 300 * KiB, 0, 5 * MiB, 17):
            async with opened(make_storage) as other:
                more = some_bytes(size)
                state = await appended(other, upload, state, len(data), more)
                data += more
        assert await read_upload(storage, upload, state, len(data)) == data
        async with committed(storage, upload, state, data) as key:
            assert await read(storage, key) == data

    async def test_bytes_that_nobody_noted_are_dropped(self, storage: Storage, make_storage: MakeStorage) -> None:
        upload, first = await started(storage)
        state = await appended(storage, upload, first, 0, b"kept ")
        await appended(storage, upload, state, 5, some_bytes(700 * KiB))  # and then the process died
        async with opened(make_storage) as other:
            state = await appended(other, upload, state, 5, b"and kept")
            async with committed(other, upload, state, b"kept and kept") as key:
                assert await read(storage, key) == b"kept and kept"

    async def test_bytes_that_nobody_noted_are_not_committed(self, storage: Storage) -> None:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"kept")
        await appended(storage, upload, state, 4, b"lost")
        async with committed(storage, upload, state, b"kept") as key:
            assert await read(storage, key) == b"kept"

    async def test_back_to_a_smaller_offset(self, storage: Storage) -> None:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"one two ")
        state = await appended(storage, upload, state, 8, b"three")
        state = await appended(storage, upload, state, 4, b"four")
        async with committed(storage, upload, state, b"one four") as key:
            assert await read(storage, key) == b"one four"

    async def test_an_upload_can_be_read(self, storage: Storage) -> None:
        upload, state = await started(storage)
        data = some_bytes(5 * MiB + 1)
        state = await appended(storage, upload, state, 0, data)
        assert await read_upload(storage, upload, state, len(data)) == data
        assert await read_upload(storage, upload, state, 3 * MiB) == data[: 3 * MiB]
        assert await read_upload(storage, upload, state, 0) == b""
        with pytest.raises(KeyMissing):
            await read_upload(storage, upload, state, len(data) + 1)
        await storage.abort(upload, state)

    async def test_fewer_bytes_than_expected(self, storage: Storage) -> None:
        upload, state = await started(storage)
        with pytest.raises(KeyMissing):
            await (await storage.writer(upload, state, 5)).close()
        state = await appended(storage, upload, state, 0, b"abc")
        with pytest.raises(KeyMissing):
            await storage.writer(upload, state, 4)
        with pytest.raises(KeyMissing):
            await storage.commit(upload, state, 4, digest_of(b"abcd"))
        assert await storage.stat(blob_key(digest_of(b"abcd"))) is None
        state = await appended(storage, upload, state, 3, b"d")
        async with committed(storage, upload, state, b"abcd") as key:
            assert await read(storage, key) == b"abcd"

    async def test_commit_takes_the_first_bytes(self, storage: Storage) -> None:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"abcdef")
        async with committed(storage, upload, state, b"abcd") as key:
            assert await read(storage, key) == b"abcd"

    async def test_abort(self, storage: Storage) -> None:
        upload, state = await started(storage)
        await storage.abort(upload, state)
        state = await appended(storage, upload, state, 0, some_bytes(1000))
        assert upload in await uploads(storage)
        await storage.abort(upload, state)
        assert upload not in await uploads(storage)
        await storage.abort(upload, state)
        with pytest.raises(KeyMissing):
            await storage.commit(upload, state, 1000, digest_of(some_bytes(1000)))

    async def test_abort_without_a_state(self, storage: Storage) -> None:
        upload, state = await started(storage)
        await appended(storage, upload, state, 0, some_bytes(1000))
        await storage.abort(upload, {})
        assert upload not in await uploads(storage)

    async def test_uploads_are_listed(self, storage: Storage, make_storage: MakeStorage) -> None:
        begun = [await started(storage) for _ in range(3)]
        states = [await appended(storage, upload, state, 0, some_bytes(5000)) for upload, state in begun]
        async with opened(make_storage) as other:
            found = {stat.key: stat async for stat in other.uploads()}
            assert {upload for upload, _ in begun} <= found.keys()
            for (upload, _), state in zip(begun, states, strict=True):
                assert found[upload].size == 5000
                assert_recent(found[upload].modified)
                await other.abort(upload, state)

    @given(history=HISTORIES)
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,  # the place may be used again: every upload is a new one
            HealthCheck.differing_executors,  # each storage inherits this test
            HealthCheck.too_slow,
        ],
    )
    async def test_any_history(self, make_storage: MakeStorage, history: Iterable[tuple[str, int]]) -> None:
        content = b""
        storage = make_storage()
        await storage.open()
        upload, state = await started(storage)
        for step, amount in history:
            data = some_bytes(amount)
            match step:
                case "append":
                    state = await appended(storage, upload, state, len(content), data)
                    content += data
                case "lose":
                    await appended(storage, upload, state, len(content), data)
                case "shorten":
                    content = content[: len(content) * amount // 100]
                    state = await appended(storage, upload, state, len(content), b"")
                case "move":
                    await storage.close()
                    storage = make_storage()
                    await storage.open()
        assert await read_upload(storage, upload, state, len(content)) == content
        async with committed(storage, upload, state, content) as key:
            assert await read(storage, key) == content
        assert upload not in await uploads(storage)
        await storage.close()

    # ---- commit ----

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

    # ---- what is cut off ----

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

    # ---- listing ----

    async def test_keys_are_listed(self, storage: Storage, make_storage: MakeStorage) -> None:
        async with (
            stored(storage, some_bytes(10)) as first,
            stored(storage, some_bytes(20)) as second,
            opened(make_storage) as other,
        ):
            found = {stat.key: stat async for stat in other.list(BLOBS)}
            assert {first: 10, second: 20}.items() <= {key: stat.size for key, stat in found.items()}.items()
            assert_recent(found[first].modified)
            assert {first, second} <= {stat.key async for stat in other.list()}

    async def test_keys_are_listed_by_their_beginning(self, storage: Storage) -> None:
        async with stored(storage, some_bytes(10)) as key, stored(storage, some_bytes(10)) as other:
            for prefix in (key, key[:-1], key[: len(BLOBS) + 12], f"{key.rpartition('/')[0]}/", BLOBS[:-3], "do"):
                found = {stat.key async for stat in storage.list(prefix)}
                assert key in found
                assert (other in found) == other.startswith(prefix)
            for prefix in (f"{key}/", f"{key}x", "x", "/", "../", "corereg/", "corereg/uploads/", "docker/../"):
                assert [stat async for stat in storage.list(prefix)] == []

    # ---- capabilities ----

    async def test_path(self, storage: Storage) -> None:
        data = some_bytes(1000)
        async with stored(storage, data) as key:
            path = storage.path(key)
            if "path" in storage.capabilities:
                assert path is not None
                assert await anyio.Path(path).read_bytes() == data
                assert Path(path).is_absolute()
            else:
                assert path is None

    async def test_redirect(self, storage: Storage) -> None:
        async with stored(storage, some_bytes(1000)) as key:
            url = await storage.redirect(key, method="GET", filename="blob", expires=60)
            assert (url is not None and "://" in url) == ("redirect" in storage.capabilities)

    async def test_free(self, storage: Storage) -> None:
        free = await storage.free()
        assert free is None or free >= 0


# ---- what tests of storages are made of ----


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
    """The key of the upload, which holds `data`; it is removed at the end."""
    key = await storage.commit(upload, state, len(data), digest_of(data, algorithm))
    try:
        yield key
    finally:
        await storage.delete(key)


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
