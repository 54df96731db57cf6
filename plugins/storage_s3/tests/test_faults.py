"""A store that fails, refuses, is cut off or says nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from corereg import STAYING, StorageUnavailable, blob_key
from corereg.testing.storage import appended, digest_of, opened, read, some_bytes, started, stored, uploads
from corereg.testing.storages import ObjectStore
from corereg_storage_s3.place import Place
from corereg_storage_s3.storage import S3Storage

from .conftest import Make, MiB
from .proxy import Proxy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(object_store: ObjectStore) -> AsyncIterator[Proxy]:
    async with Proxy(object_store.url) as proxy:
        yield proxy


@pytest.fixture
async def storage(make: Make, place: Place, proxy: Proxy) -> AsyncIterator[S3Storage]:
    """A place of its own: the tests look at all that is in it, and the contract's leave blobs in theirs."""
    where = Place(place.bucket, f"{place.prefix}{uuid4().hex}/", proxy.address)
    async with opened(lambda: make(where, read_timeout=2, access_key="a", secret_key="b")) as storage:
        yield storage
        proxy.faults.clear()
        for upload in await uploads(storage):  # one whose beginning was answered to nobody, say
            await storage.abort(upload, {})
        assert [each async for each in storage.multiparts.list("")] == []
        await storage.bucket.delete([stat.key async for stat in storage.bucket.list("")])


async def read_into(found: bytearray, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        found += piece


@pytest.fixture(autouse=True)
def bucket(place: Place) -> None:
    """`place` has made it, unless it is a real one."""
    if place.endpoint is None or "127.0.0.1" not in place.endpoint:
        pytest.skip("faults are put before moto only")


@pytest.mark.parametrize("fault", [500, 503, "lose"])
@pytest.mark.parametrize("size", [1000, 12 * MiB])
async def test_a_push_survives_one_failure_of_every_request(
    storage: S3Storage, proxy: Proxy, fault: int | str, size: int
) -> None:
    data = some_bytes(size)
    for request in ("^PUT .*copy-source", "^PUT ", "^POST .*uploads", "^POST .*uploadId", "^DELETE", "^GET"):
        proxy.spoil(f"(?is){request}", fault)
    async with stored(storage, data) as key:
        assert await read(storage, key) == data
        assert [stat.key async for stat in storage.committed()] == [key]


async def test_a_commit_whose_answer_was_lost_is_made_once(storage: S3Storage, proxy: Proxy) -> None:
    data = some_bytes(12 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data)
    proxy.spoil("^POST .*uploadId", "lose")
    key = await storage.commit(upload, state, len(data), digest_of(data))
    assert key.startswith(STAYING)
    assert await read(storage, key) == data
    assert [stat.key async for stat in storage.committed()] == [key]


@pytest.mark.parametrize("fault", ["cut", "silent"])
async def test_a_stream_that_is_cut_goes_on_where_it_was(storage: S3Storage, proxy: Proxy, fault: str) -> None:
    data = some_bytes(3 * MiB)
    async with stored(storage, data) as key:
        proxy.spoil("^GET", fault, 2)
        assert await read(storage, key) == data
        assert await read(storage, key, 100_000, 2 * MiB) == data[100_000 : 2 * MiB]
    ranges = [head for head in proxy.seen if head.startswith("GET") and "range: bytes=" in head.lower()]
    assert len(ranges) == 3


async def test_a_stream_that_always_breaks_never_ends_as_if_it_were_whole(storage: S3Storage, proxy: Proxy) -> None:
    data = some_bytes(3 * MiB)
    async with stored(storage, data) as key:
        proxy.spoil("^GET", "cut", 1)
        proxy.spoil("^GET", "lose", 100)
        found = bytearray()
        with pytest.raises(StorageUnavailable, match=r"corereg-tests/.*/data"):
            await read_into(found, storage.read(key))
        assert found == data[: len(found)]
        assert len(found) < len(data)
        proxy.faults.clear()


@pytest.mark.parametrize(("status", "sentence"), [(503, "asks to be left alone"), (403, "Access to .* is refused")])
async def test_a_store_that_goes_on_refusing(storage: S3Storage, proxy: Proxy, status: int, sentence: str) -> None:
    key = blob_key(digest_of(b"x"))
    proxy.spoil("", status, 100)
    with pytest.raises(StorageUnavailable, match=sentence) as caught:
        await read(storage, key)
    assert f"s3://corereg-tests/{storage.bucket.place.prefix}{key}" in str(caught.value)


async def test_a_part_that_cannot_be_sent_is_not_lost(storage: S3Storage, proxy: Proxy) -> None:
    """The store fails for longer than one writer tries; the upload stands where it stood, and goes on."""
    data = some_bytes(11 * MiB)
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, data[: 6 * MiB])
    proxy.spoil("^PUT", 503, 100)
    writer = await storage.writer(upload, state, 6 * MiB)
    with pytest.raises(StorageUnavailable):
        await writer.write(data[6 * MiB :] * 2)
    with pytest.raises(StorageUnavailable):
        await writer.close()
    proxy.faults.clear()
    state = await appended(storage, upload, state, 6 * MiB, data[6 * MiB :])
    key = await storage.commit(upload, state, len(data), digest_of(data))
    assert await read(storage, key) == data
