"""The same where the bytes are objects in a bucket, and between a bucket and a folder."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from corereg import Registry, blob_key
from corereg.care.fsck import Checked, FsckOptions, fsck
from corereg.store.work import Silent
from corereg.testing.registry import scratch
from corereg.testing.storages import KEYS, SIGNED, ObjectStore

from .test_backup import PEOPLE, back_up, bring_back, push, refill, rows, whole

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]


class Bucket:
    """A place in a bucket, and registries that keep their bytes there."""

    def __init__(self, store: ObjectStore) -> None:
        prefix = uuid4().hex
        self.url = store.place.replace("?", f"/{prefix}?", 1)
        self.address = f"{store.url}/{store.bucket}/{prefix}"

    def registry(self, folder: Path) -> Registry:
        folder.mkdir(exist_ok=True)
        table = {**KEYS, "redirect": False}
        return scratch(folder, "storage_s3", people=PEOPLE, storage=self.url, tables={"storage_s3": table})


@pytest.fixture
def bucket(object_store: ObjectStore) -> Bucket:
    return Bucket(object_store)


async def look(registry: Registry, folder: Path, *, repair: bool = False) -> Checked:
    options = FsckOptions(rehash=True, repair=repair, quarantine=folder)
    return await fsck(registry.house, registry.session(), registry.schemas, Silent(), options)


async def test_what_fsck_finds_in_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    async with bucket.registry(tmp_path / "data") as registry:
        lost, spoilt = await push(registry, "lost"), await push(registry, "spoilt")
        assert (await look(registry, tmp_path / "away")).problems == {}
        await registry.storage.delete(blob_key(lost))
        async with httpx2.AsyncClient(trust_env=False) as store:
            body = b"x" * 5000
            answer = await store.put(f"{bucket.address}/{blob_key(spoilt)}", content=body, headers=SIGNED)
        answer.raise_for_status()
        found = await look(registry, tmp_path / "away", repair=True)
        assert found.problems["bytes-missing"] == found.problems["corrupt"] == 1
        (kept,) = (tmp_path / "away").iterdir()
        assert kept.read_bytes() == body
        again = await look(registry, tmp_path / "away")
        assert again.problems == {"member-missing": 2}, "the images miss them until somebody pushes them anew"


async def test_a_backup_of_a_bucket_becomes_a_folder_and_a_bucket_again(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    first, second = Bucket(object_store), Bucket(object_store)
    async with first.registry(tmp_path / "one") as one:
        await push(one, "t0")
        await back_up(one, tmp_path / "first")
        before = await rows(one)

    await bring_back(tmp_path / "two", tmp_path / "first")
    async with scratch(tmp_path / "two", people=PEOPLE) as two:
        assert await rows(two) == before
        await push(two, "t1")
        await back_up(two, tmp_path / "second")
        before = await rows(two)

    await refill(second.registry(tmp_path / "three"), tmp_path / "second")
    async with second.registry(tmp_path / "three") as three:
        assert await rows(three) == before
        assert await whole(three) == ["t0", "t1"]
        assert (await look(three, tmp_path / "away")).problems == {}
