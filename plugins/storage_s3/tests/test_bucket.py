"""What only a bucket has to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from types import SimpleNamespace

import httpx2
import msgspec
import pytest

from corereg import BLOBS, STAYING, UPLOADS, KeyMissing, StorageError, StorageUnavailable, blob_key
from corereg.testing.storage import (
    MakeStorage,
    again,
    appended,
    committed,
    digest_of,
    opened,
    read,
    read_upload,
    some_bytes,
    started,
    stored,
    uploads,
)
from corereg_storage_s3 import bucket as bucket_module
from corereg_storage_s3.place import Place
from corereg_storage_s3.storage import S3Storage

from .conftest import REAL, Make, MiB

pytestmark = pytest.mark.anyio

KEPT = frozenset({"list_objects_v2", "list_multipart_uploads", "list_parts"})


@pytest.fixture
async def storage(make_storage: MakeStorage):
    async with opened(make_storage) as storage:
        await _empty(storage)  # of what other tests of this process left at the same place
        yield storage
        await _empty(storage)


async def _empty(storage: S3Storage) -> None:
    await storage.bucket.delete([stat.key async for stat in storage.bucket.list("")])


def watched(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """S3's operations, as they are asked for."""
    seen: list[str] = []
    call = storage.bucket.call

    async def watching(operation: str, key: str, **parameters):
        seen.append(operation)
        return await call(operation, key, **parameters)

    monkeypatch.setattr(storage.bucket, "call", watching)
    return seen


async def everything_in(storage: S3Storage) -> list[str]:
    return [stat.key async for stat in storage.bucket.list("")]


# ---- where bytes lie, and at what cost ----


async def test_a_blob_that_comes_at_once_costs_one_request(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(storage, monkeypatch)
    data = some_bytes(1000)
    upload, state = await started(storage)
    key = await storage.put(upload, state, data, digest_of(data), lambda: None)
    assert seen == ["put_object"]
    assert await everything_in(storage) == [key] == [blob_key(digest_of(data))]


async def test_a_small_blob_costs_three_requests(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(storage, monkeypatch)
    data = some_bytes(1000)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    key = await storage.commit(upload, state, len(data), digest_of(data))
    assert seen == ["put_object", "copy_object", "delete_object"]
    assert key == blob_key(digest_of(data))
    assert await everything_in(storage) == [key]


async def test_a_large_blob_stays_where_it_was_uploaded(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(storage, monkeypatch)
    data = some_bytes(12 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    key = await storage.commit(upload, state, len(data), digest_of(data))
    assert seen == ["create_multipart_upload", *["upload_part"] * 3, "complete_multipart_upload"]
    assert key.startswith(f"{STAYING}{upload}/")
    assert await everything_in(storage) == [key]
    assert await storage.commit(upload, state, len(data), digest_of(data)) == key
    assert await read(storage, key) == data


async def test_another_node_hashes_and_commits_without_a_copy(
    storage: S3Storage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_bytes(12 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    async with opened(make) as other:
        seen = watched(other, monkeypatch)
        assert await read_upload(other, upload, state, len(data)) == data
        key = await other.commit(upload, state, len(data), digest_of(data))
        assert not {"copy_object", "upload_part_copy", "put_object", "upload_part"} & set(seen)
    assert await everything_in(storage) == [key]


async def test_a_bucket_that_another_registry_left(storage: S3Storage) -> None:
    key = blob_key(digest_of(b"layer"))
    await storage.bucket.put(key, b"layer")
    await storage.bucket.put("docker/registry/v2/repositories/demo/_layers/sha256/x/link", b"sha256:x")
    assert [(stat.key, stat.size) async for stat in storage.list(BLOBS)] == [(key, 5)]
    assert [stat.key async for stat in storage.committed()] == [key]
    assert await read(storage, key) == b"layer"
    async with stored(storage, b"layer") as again_there:
        assert again_there == key


# ---- uploads that go on elsewhere ----


async def test_every_chunk_to_another_node(make: Make, storage: S3Storage) -> None:
    upload, state = await started(storage)
    data = b""
    for size in (MiB, MiB, 7 * MiB, 100, 5 * MiB, 13 * MiB, 3, 4 * MiB, 4 * MiB, 1):
        more = some_bytes(size)
        async with opened(make) as node:
            state = await appended(node, upload, state, len(data), more)
        data += more
    assert await read_upload(storage, upload, state, len(data)) == data
    async with committed(storage, upload, state, data) as key:
        assert await read(storage, key) == data
        assert [name for name in await everything_in(storage) if name.startswith(UPLOADS)] == []
        assert upload not in await uploads(storage)
        async with opened(make) as other:
            assert await other.commit(upload, state, len(data), digest_of(data)) == key


async def test_back_into_the_middle_of_a_part(make: Make, storage: S3Storage) -> None:
    data = some_bytes(12 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    more = some_bytes(6 * MiB)
    async with opened(make) as other:
        state = await appended(other, upload, state, 7 * MiB, more)
        whole = data[: 7 * MiB] + more
        assert await read_upload(other, upload, state, len(whole)) == whole
        async with committed(other, upload, state, whole) as key:
            assert await read(storage, key) == whole


async def test_a_writer_that_was_overtaken_writes_for_nobody(make: Make, storage: S3Storage) -> None:
    first, mine, late = some_bytes(11 * MiB), some_bytes(12 * MiB), some_bytes(12 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, first)
    slow = await storage.writer(upload, state, len(first))
    await slow.write(late[: 6 * MiB])
    async with opened(make) as other:
        after = await appended(other, upload, state, len(first), mine)
        await slow.write(late[6 * MiB :])
        await slow.close()
        async with committed(other, upload, after, first + mine) as key:
            assert await read(other, key) == first + mine


@pytest.mark.parametrize("size", [1000, 12 * MiB])
async def test_whoever_comes_too_late_takes_no_blob_away(make: Make, storage: S3Storage, size: int) -> None:
    data = some_bytes(size)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    async with opened(make) as other:
        late = await other.writer(upload, state, len(data))
        key = await storage.commit(upload, state, len(data), digest_of(data))
        await other.abort(upload, state)
        await other.abort(upload, {})
        with suppress(StorageError):
            await late.write(some_bytes(6 * MiB))
        with suppress(StorageError):
            longer = again(await late.close())
            await other.commit(upload, longer, size + 6 * MiB, digest_of(b"another"))
        assert await read(storage, key) == data


# ---- what the dead leave ----


async def test_an_open_multipart_upload_is_found_and_aborted(make: Make, storage: S3Storage) -> None:
    upload, state = await started(storage)
    dead = await storage.writer(upload, state, 0)
    await dead.write(some_bytes(11 * MiB))  # and its process is no more
    async with opened(make) as other:
        (found,) = [stat async for stat in other.uploads() if stat.key == upload]
        assert found.size == 10 * MiB
        await other.abort(upload, {})
        assert upload not in await uploads(other)
        assert [each async for each in other.multiparts.list("")] == []


async def test_a_cancelled_beginning_leaves_no_multipart_upload(storage: S3Storage) -> None:
    for wait in range(6):
        upload, state = await started(storage)
        writer = await storage.writer(upload, state, 0)
        task = asyncio.create_task(writer.write(some_bytes(6 * MiB)))
        await asyncio.sleep(0.002 * wait)
        task.cancel()
        await asyncio.wait([task])
        await storage.abort(upload, again(await writer.close()))
    assert [each async for each in storage.multiparts.list("")] == []


@pytest.mark.parametrize("memory", [0, 3 * MiB, 96 * MiB])
async def test_what_was_gathered_is_given_back(make: Make, memory: int) -> None:
    async with opened(lambda: make(memory=memory)) as storage:
        upload, state = await started(storage)
        data = some_bytes(6 * MiB)
        writers = [await storage.writer(upload, state, 0) for _ in range(3)]
        for writer in writers:
            await writer.write(data)
        task = asyncio.create_task(writers[0].write(data))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        states = [again(await writer.close()) for writer in writers]
        assert await read_upload(storage, upload, states[1], len(data)) == data
        assert storage.room.take(memory)
        await storage.abort(upload, {})


# ---- signed URLs ----


async def test_a_signed_url_gives_the_blob(storage: S3Storage) -> None:
    data = some_bytes(12 * MiB)
    async with stored(storage, data) as key:
        url = await storage.redirect(key, method="GET", filename="sha256:ab", expires=60, size=len(data))
        assert url is not None
        assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url
        assert "X-Amz-Expires=60" in url
        async with httpx2.AsyncClient(trust_env=False) as client:
            whole = await client.get(url)
            part = await client.get(url, headers={"range": "bytes=5242870-5242890"})
        assert whole.content == data
        assert whole.headers["content-disposition"] == 'attachment; filename="sha256_ab"'
        assert whole.headers["content-type"] == "application/octet-stream"
        assert (part.status_code, part.content) == (206, data[5242870:5242891])


@pytest.mark.skipif(REAL not in os.environ, reason="moto lets URLs live for ever")
async def test_a_signed_url_ends(storage: S3Storage) -> None:
    async with stored(storage, b"abc") as key, httpx2.AsyncClient() as client:
        url = await storage.redirect(key, method="GET", filename="x", expires=1)
        assert url is not None
        while (await client.get(url)).status_code == 200:
            await asyncio.sleep(0.2)
        assert (await client.get(url)).status_code == 403


async def test_a_signed_url_is_given_out_again_for_a_while(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a quarter of its time, and never another blob's, or another's name."""
    clock = time.monotonic()
    monkeypatch.setattr(bucket_module, "time", SimpleNamespace(monotonic=lambda: clock))

    async def url(key: str = "a", name: str = "x", expires: int = 40) -> str | None:
        return await storage.redirect(key, method="GET", filename=name, expires=expires)

    monkeypatch.setattr(bucket_module, "KEPT", 3)
    first = await url()
    with signing(storage) as signed:
        clock += 9.9
        assert await url() == first
        assert signed == []
        clock += 0.2
        await url()
        assert await url("b") not in {await url(), await url("a", "y"), await url("a", expires=41)}
        assert signed == [("a", 40), ("b", 40), ("a", 40), ("a", 41)]
        await url(expires=600)
        clock += 59.9
        await url(expires=600)
        clock += 0.2
        await url(expires=600)
        assert signed[4:] == [("a", 600), ("a", 600)]
    assert len(storage.bucket._signed) <= 3
    await storage.close()
    with pytest.raises(StorageUnavailable, match="is not open"):
        await url(expires=600)
    await storage.open()


@contextmanager
def signing(storage: S3Storage) -> Iterator[list[tuple[str, int]]]:
    """What is signed meanwhile: key and time."""
    found: list[tuple[str, int]] = []
    sign = storage.bucket._sign

    async def noted(key: str, expires: int, disposition: str) -> str:
        found.append((key, expires))
        return await sign(key, expires, disposition)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.bucket, "_sign", noted)
        yield found


async def test_when_there_is_a_redirect(make: Make) -> None:
    public = "https://objects.example.com"
    async with opened(lambda: make(redirect_from=1000, public_endpoint=public, redirect_expires=7)) as storage:
        key = blob_key(digest_of(b"x"))

        async def url(size: int | None, method: str = "GET") -> str | None:
            return await storage.redirect(key, method=method, filename="x", expires=60, size=size)

        assert await url(999) is None
        assert await url(1000, method="HEAD") is None
        found = await url(1000)
        assert found is not None
        assert found.startswith(f"{public}/")
        assert "X-Amz-Expires=7&" in found
        assert await url(None) is not None
    async with opened(lambda: make(redirect=False)) as storage:
        assert await storage.redirect(key, method="GET", filename="x", expires=60, size=5000) is None


# ---- what is set wrongly ----


async def test_a_bucket_that_is_not_there(make: Make, place: Place) -> None:
    with pytest.raises(StorageUnavailable, match=r"There is no bucket of s3://no-such-bucket/.*make it"):
        await make(msgspec.structs.replace(place, bucket="no-such-bucket")).open()


async def test_an_address_where_nobody_listens(make: Make, place: Place) -> None:
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await make(msgspec.structs.replace(place, endpoint="http://127.0.0.1:9"), attempts=1).open()


async def test_not_open(make: Make) -> None:
    storage = make()
    for attempt in (
        storage.stat(blob_key(digest_of(b"x"))),
        storage.redirect("a", method="GET", filename="x", expires=1),
    ):
        with pytest.raises(StorageUnavailable, match="is not open"):
            await attempt


async def test_a_state_that_is_none(storage: S3Storage) -> None:
    for state in ({"runs": 1}, {"runs": [["t", 5, 1, 1]]}, {"runs": [["t", 0, 1, 1], ["u", 2, 1, 1]]}):
        with pytest.raises(KeyMissing):
            await storage.commit("upload", state, 1, digest_of(b"x"))


async def test_many_objects_are_listed_and_removed(storage: S3Storage) -> None:
    keys = {f"docker/{number}" for number in range(1005)}
    for number in range(0, 1005, 50):
        await asyncio.gather(
            *(storage.bucket.put(f"docker/{each}", b"") for each in range(number, min(number + 50, 1005)))
        )
    async with aclosing(storage.list("docker/")) as found:
        assert {stat.key async for stat in found} == keys
    await storage.bucket.delete(keys)
    assert await everything_in(storage) == []
