"""A check finds each kind of damage, and nothing where there is none; a repair mends what can be mended."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg import Digest, Registry, asgi, now
from corereg.care.fsck import Checked, FsckOptions
from corereg.care.fsck import fsck as look
from corereg.store.schema import blob_links, blobs, manifest_members, manifests, uploads
from corereg.store.storage import blob_key
from corereg.store.work import Silent
from corereg.testing.client import EMPTY, Credentials, RegistryClient, blob, expect, image
from corereg.testing.registry import Person, scratch

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]
PASSWORD = "a Password for tests only 1"
LAYER = b"a layer"
DIGEST = str(Digest.of(LAYER))


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """With an image, library/app:1, of the one layer."""
    async with scratch(tmp_path, people={"admin": Person(PASSWORD)}) as registry:
        await push(registry)
        yield registry


async def push(registry: Registry, repository: str = "library/app") -> None:
    layer = blob(LAYER)
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        await client.push(repository, "1", image(EMPTY, [layer]), EMPTY, layer)


async def fsck(registry: Registry, *, repair: bool = False, rehash: bool = False) -> Checked:
    options = FsckOptions(repair=repair, rehash=rehash, quarantine=registry.config.data / "quarantine")
    return await look(registry.house, registry.session(), registry.schemas, Silent(), options)


async def damage(registry: Registry, *statements: sa.Executable) -> None:
    """What no session would do."""
    async with registry.database.transaction() as tx:
        for statement in statements:
            await tx.execute(statement)


def place(registry: Registry) -> Path:
    path = registry.storage.path(blob_key(DIGEST))
    assert path is not None
    return Path(path)


def stray(registry: Registry) -> Path:
    """Bytes that no row knows."""
    path = Path(registry.storage.path(blob_key(str(Digest.of(b"stray")))) or "")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"stray")
    return path


async def events(registry: Registry) -> list[str]:
    return [each.kind for each in await registry.journal.events(limit=1000)]


async def test_nothing_is_wrong_where_nothing_is(registry: Registry) -> None:
    found = await fsck(registry, rehash=True)
    assert (found.problems, found.unrepaired) == ({}, 0)
    assert (found.blobs, found.rehashed, found.manifests) == (2, 2, 1)
    assert "fsck.repair" not in await events(registry)


async def test_vanished_bytes_and_a_push_that_makes_it_whole(registry: Registry) -> None:
    place(registry).unlink()
    found = await fsck(registry)
    assert found.problems == {"bytes-missing": 1}
    assert found.unrepaired == 1, "nothing is mended that nobody asked for"
    assert await registry.catalog.blob("library/app", DIGEST) is not None

    lines: list[str] = []

    class Listening(Silent):
        def log(self, line: str) -> None:
            lines.append(line)

    options = FsckOptions(repair=True)
    found = await look(registry.house, registry.session(), registry.schemas, Listening(), options)
    assert any("library/app:1@sha256:" in line and "broken without it" in line for line in lines)
    assert "fsck.repair" in await events(registry)
    assert (await fsck(registry)).problems == {"member-missing": 1}
    await push(registry)
    assert (await fsck(registry, rehash=True)).problems == {}


async def test_a_flipped_bit_is_seen_by_reading_and_put_away(registry: Registry) -> None:
    flipped = bytes([LAYER[0] ^ 1]) + LAYER[1:]
    place(registry).write_bytes(flipped)
    assert (await fsck(registry)).problems == {}, "only reading shows it"
    found = await fsck(registry, rehash=True, repair=True)
    assert (found.problems, found.unrepaired) == ({"corrupt": 1, "member-missing": 1}, 1), "the image misses it now"
    assert not place(registry).exists()
    (kept,) = (registry.config.data / "quarantine").iterdir()
    assert kept.read_bytes() == flipped
    assert kept.stat().st_mode & 0o777 == 0o600
    await push(registry)
    assert (await fsck(registry, rehash=True)).problems == {}


async def test_a_blob_that_is_too_short(registry: Registry) -> None:
    place(registry).write_bytes(LAYER[:3])
    assert (await fsck(registry)).problems == {"size": 1}
    await fsck(registry, repair=True)
    assert (await fsck(registry)).problems == {"member-missing": 1}
    await push(registry)
    assert (await fsck(registry)).problems == {}


async def test_a_row_with_a_wrong_size(registry: Registry) -> None:
    await damage(registry, sa.update(blobs).where(blobs.c.digest == DIGEST).values(size=99))
    found = await fsck(registry, repair=True)
    assert (found.problems, found.unrepaired) == ({"size": 1}, 0)
    assert (await fsck(registry)).problems == {}
    assert place(registry).read_bytes() == LAYER


async def test_a_lost_link_is_made_again(registry: Registry) -> None:
    await damage(registry, sa.delete(blob_links).where(blob_links.c.digest == DIGEST))
    assert (await fsck(registry)).problems == {"unlinked": 1}
    assert (await fsck(registry, repair=True)).unrepaired == 0
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        assert await client.pull_blob("library/app", DIGEST) == LAYER


async def test_lost_rows_of_members_are_written_again(registry: Registry) -> None:
    before = sorted(map(tuple, await registry.database.rows(sa.select(manifest_members))))
    await damage(registry, sa.delete(manifest_members))
    assert (await fsck(registry, repair=True)).problems == {"member-row": 1}
    assert sorted(map(tuple, await registry.database.rows(sa.select(manifest_members)))) == before


async def test_a_changed_manifest_cannot_be_mended_here(registry: Registry) -> None:
    await damage(registry, sa.update(manifests).values(body=b"{}"))
    found = await fsck(registry, repair=True)
    assert (found.problems, found.unrepaired) == ({"manifest": 1}, 1)


@pytest.mark.parametrize("lease", [0, 365 * 86400], ids=["idle", "held by one that died while its clock was ahead"])
async def test_an_upload_whose_bytes_are_gone(registry: Registry, lease: int) -> None:
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        location = await client.start_upload("library/app")
        expect(await client.request("PATCH", location, content=b"a chunk"), 202)
    (upload,) = [stat.key async for stat in registry.storage.uploads()]
    assert (await fsck(registry)).problems == {}
    async with registry.database.transaction() as tx:  # but of one whose bytes are stored already
        await tx.execute(sa.update(uploads).values(stored_digest=DIGEST, stored_key=blob_key(DIGEST)))
    await registry.storage.abort(upload, {})
    assert (await fsck(registry)).problems == {}
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(uploads).values(stored_digest=None, stored_key=None))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(uploads).values(leased_until=now() + lease * 1_000_000 if lease else 0))
    assert (await fsck(registry, repair=True)).problems == {"upload": 1}
    assert await registry.database.rows(sa.select(uploads.c.id)) == []


async def test_bytes_without_a_row_are_a_note_when_they_are_old(registry: Registry) -> None:
    path = stray(registry)
    found = await fsck(registry)
    assert (found.notes["young bytes without a row"], found.notes["bytes without a row"]) == (1, 0)
    os.utime(path, (0, 0))
    found = await fsck(registry)
    assert (found.notes["bytes without a row"], found.orphaned_size, found.problems) == (1, 5, {})
    assert await registry.storage.stat(blob_key(str(Digest.of(b"stray")))), "the collector's work, not this one's"


async def test_a_push_meanwhile_is_no_problem(registry: Registry) -> None:
    """Rows are read before the storage is listed: whatever comes or goes between is looked at again."""

    class Busy(Silent):
        number = 0

        async def check(self) -> None:
            self.number += 1
            if self.number % 50 == 0:
                layer = blob(os.urandom(100))
                async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
                    await client.push("library/app", f"t{self.number}", image(EMPTY, [layer]), EMPTY, layer)

    options = FsckOptions(rehash=True)
    found = await look(registry.house, registry.session(), registry.schemas, Busy(), options)
    assert found.problems == {}


async def test_pages_end_where_the_table_ends(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corereg.care.fsck.ROWS", 1)
    monkeypatch.setattr("corereg.care.fsck.MANIFESTS", 1)
    await push(registry, "library/other")
    found = await fsck(registry)
    assert (found.manifests, found.problems) == (2, {})


def no_text(folder: Path, name: bytes) -> None:
    """An old file whose name is no UTF-8."""
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (1, 1))


async def test_names_that_are_no_text_are_strange_bytes(registry: Registry) -> None:
    """A file's name may be any bytes, and no database can be asked for it."""
    no_text(place(registry).parents[2], b"ab/ab\xe9/data")
    found = await fsck(registry)
    assert found.problems == {}
    assert found.notes["bytes without a row"] == 1
