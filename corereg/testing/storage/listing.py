"""Lists of keys, and what a storage says that it can do."""

from __future__ import annotations

from pathlib import Path

import anyio

from corereg.store.storage import BLOBS, Storage
from corereg.testing.storage.steps import (
    MakeStorage,
    MiB,
    StorageTests,
    appended,
    assert_recent,
    opened,
    some_bytes,
    started,
    stored,
)


class ListingContract(StorageTests):
    """Keys are listed; capabilities are told truly."""

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

    async def test_what_is_committed_is_listed(self, storage: Storage, make_storage: MakeStorage) -> None:
        sizes = (10, 12 * MiB)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, some_bytes(6 * MiB))
        async with (
            stored(storage, some_bytes(sizes[0])) as small,
            stored(storage, some_bytes(sizes[1])) as large,
            opened(make_storage) as other,
        ):
            found = {stat.key: stat.size async for stat in other.committed()}
            assert (found[small], found[large]) == sizes
            assert upload not in " ".join(found)
        await storage.abort(upload, state)
        assert not {small, large} & {stat.key async for stat in storage.committed()}

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
