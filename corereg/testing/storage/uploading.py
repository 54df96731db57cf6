"""Uploads: they go on, whoever begins them anew."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corereg.store.storage import KeyMissing, Storage, blob_key
from corereg.testing.storage.steps import (
    KiB,
    MakeStorage,
    MiB,
    StorageTests,
    appended,
    assert_recent,
    committed,
    digest_of,
    opened,
    read,
    read_upload,
    some_bytes,
    started,
    uploads,
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


class UploadingContract(StorageTests):
    """An upload goes on from what was noted, in this process or another one."""

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
            await storage.abort(upload, state)  # what dead writers left goes, the blob stays
            assert upload not in await uploads(storage)
            assert await read(storage, key) == content
        await storage.close()
