"""What a collection may be told: untagged manifests, a time limit, how long deleted things are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from corereg import Operation, Refusal, Registry, Tag, Transaction, hookimpl, now
from corereg.config import GCConfig
from corereg.oci.errors import ManifestUnknown
from corereg.oci.manifest import Manifest
from corereg.session import Collected, CollectOptions, collection
from corereg.session.artifacts import Artifacts
from corereg.store import catalog
from corereg.store.database import DatabaseFull
from corereg.store.listing import Listing
from corereg.store.schema import blob_links, blobs, manifests, trash
from corereg.store.work import Silent
from corereg.testing.registry import scratch

from .pushing import (
    INDEX,
    check_clean,
    check_whole,
    digest_of,
    index_of,
    keys_of,
    pulled,
    push_blob,
    push_image,
    put,
)

pytestmark = pytest.mark.anyio

HOUR = 3_600_000_000


class Lines(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


class Ledger:
    """Counts what repositories serve, as quotas do; `refuses` to let anything go."""

    name = "ledger"

    def __init__(self) -> None:
        self.held: dict[tuple[str | None, str | None], int] = {}
        self.refuses = False

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        if operation.kind == "blob.push" and operation.new:
            self.held[operation.repository, operation.digest] = operation.size or 0
        if operation.kind == "blob.delete":
            if self.refuses:
                return Refusal("nothing goes today")
            del self.held[operation.repository, operation.digest]
        return None


@asynccontextmanager
async def opened(folder: Path, *plugins: object, **gc: Any) -> AsyncIterator[Registry]:
    async with scratch(folder, *plugins, gc=GCConfig(**gc)) as registry:
        yield registry


async def collect(registry: Registry, **options: Any) -> Collected:
    return await registry.session().collect(Silent(), CollectOptions(**options))


async def later(registry: Registry, microseconds: int) -> None:
    """Let time pass: whatever happened is so much longer ago."""
    async with registry.database.transaction() as tx:
        for table in (blobs, blob_links, manifests):
            await tx.execute(
                sa.update(table).values(
                    created_at=table.c.created_at - microseconds,
                    used_at=sa.case((table.c.used_at > 0, table.c.used_at - microseconds), else_=0),
                )
            )
        await tx.execute(sa.update(trash).values(deleted_at=trash.c.deleted_at - microseconds))


async def test_what_is_tagged_at_the_last_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the manifest and its deletion somebody gives it a tag."""
    async with opened(tmp_path, grace=0) as registry:
        body = await push_image(registry.session(), "demo/app", None, b"config")
        delete = Artifacts.delete_artifact

        async def tagged_first(*arguments: Any, **options: Any) -> None:
            await registry.session().create_tag("demo/app", digest_of(body), Tag("v1"))
            await delete(*arguments, **options)

        monkeypatch.setattr(Artifacts, "delete_artifact", tagged_first)
        found = await collect(registry, delete_untagged=True)
        assert (found.manifests, found.left) == (0, 1)
        assert (await registry.session().manifest("demo/app", Tag("v1"))).body == body
        await check_whole(registry)


@pytest.mark.parametrize("how", ["put", "head", "head of the tag", "copy"])
async def test_an_untagged_manifest_that_was_used_stays(tmp_path: Path, how: str) -> None:
    """Its index is on its way: whoever was told a moment ago that the manifest is here names it next."""
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", "v1" if how == "head of the tag" else None, b"config")
        await push_image(session, "demo/base", "v1", b"config")
        await later(registry, 3 * HOUR)
        match how:
            case "put":
                await put(session, "demo/app", None, body)
            case "head":
                await session.manifest("demo/app", digest_of(body), head=True)
            case "head of the tag":
                await session.manifest("demo/app", Tag("v1"), head=True)
                await session.delete_manifest("demo/app", Tag("v1"))
            case "copy":
                await session.copy_artifact("demo/base", digest_of(body), "demo/app")
        assert (await collect(registry, delete_untagged=True, dry_run=True)).manifests == 0
        assert (await collect(registry, delete_untagged=True)).manifests == 0
        await put(session, "demo/app", "whole", index_of(body), INDEX)
        await session.delete_manifest("demo/app", digest_of(index_of(body)))
        await later(registry, 3 * HOUR)
        assert (await collect(registry, delete_untagged=True)).manifests == 1


async def test_the_head_of_a_young_manifest_writes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, grace=7200) as registry:
        body = await push_image(registry.session(), "demo/app", None, b"config")
        await registry.session().manifest("demo/app", digest_of(body), head=True)
        assert await registry.database.rows(sa.text("SELECT used_at FROM manifests")) == [(0,)]


async def test_the_head_of_what_is_old_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, or read-only, stops pushes; clients begin a pull with a HEAD."""
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", "v1", b"config")
        await later(registry, 3 * HOUR)

        async def full(*arguments: Any, **parameters: Any) -> int:
            raise DatabaseFull("no room is left")

        monkeypatch.setattr(registry.database, "execute", full)
        assert (await session.manifest("demo/app", Tag("v1"), head=True)).size == len(body)
        assert (await session.blob("demo/app", digest_of(b"config"), head=True)).size == len(b"config")


@pytest.mark.parametrize("how", ["put", "head"])
async def test_what_is_used_at_the_last_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Between the look at the manifest and its deletion somebody pushes it again, or asks for it."""
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", None, b"config")
        await later(registry, 3 * HOUR)
        keep = Artifacts._keep  # the last thing before the row goes

        async def used_first(*arguments: Any, **options: Any) -> None:
            await keep(*arguments, **options)
            tx = arguments[1].tx
            if how == "head":
                await tx.execute(catalog.USE_MANIFEST, repository="demo/app", digest_=str(digest_of(body)), at=now())
            else:
                repository_id = await registry.catalog.ensure_repository(tx, "demo/app")
                await registry.catalog.put_manifest(tx, repository_id, digest_of(body), Manifest.parse(body, None))

        monkeypatch.setattr(Artifacts, "_keep", used_first)
        found = await collect(registry, delete_untagged=True)
        assert (found.manifests, found.left) == (0, 1)
        assert (await session.manifest("demo/app", digest_of(body))).body == body
        await check_whole(registry)


async def test_a_head_in_the_moment_of_the_deletion_hears_that_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", None, b"config")
        await later(registry, 3 * HOUR)
        look = registry.catalog.manifest_head

        async def gone_afterwards(*arguments: Any) -> Any:
            found = await look(*arguments)
            monkeypatch.undo()
            assert (await collect(registry, delete_untagged=True)).manifests == 1
            return found

        monkeypatch.setattr(registry.catalog, "manifest_head", gone_afterwards)
        with pytest.raises(ManifestUnknown):
            await session.manifest("demo/app", digest_of(body), head=True)


async def test_a_young_signature_keeps_an_old_untagged_image(tmp_path: Path) -> None:
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", None, b"config")
        await later(registry, 3 * HOUR)
        signature = await push_image(session, "demo/app", None, b"signed", subject=body)
        for dry_run in (True, False):
            assert (await collect(registry, delete_untagged=True, dry_run=dry_run)).manifests == 0
        await session.manifest("demo/app", digest_of(signature))
        await later(registry, 3 * HOUR)
        assert (await collect(registry, delete_untagged=True)).manifests == 1


async def test_an_untagged_image_with_a_tagged_signature_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, grace=0) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", None, b"config")
        await push_image(session, "demo/app", "signature", b"signed", subject=body)
        assert (await collect(registry, delete_untagged=True)).manifests == 0
        await session.manifest("demo/app", digest_of(body))


async def test_untagged_manifests_come_back_until_their_blobs_go(tmp_path: Path) -> None:
    """The rule deletes as anybody does: into the trash, and the blobs stay for the grace period."""
    async with opened(tmp_path, grace=7200) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", None, b"config", b"layer")
        await later(registry, 3 * HOUR)
        assert (await collect(registry, delete_untagged=True)).manifests == 1
        with pytest.raises(ManifestUnknown):
            await session.manifest("demo/app", digest_of(body))
        (trashed,), _ = await session.trash(Listing())
        await session.restore(trashed.id)
        assert await pulled(session, "demo/app", b"layer")


async def test_deleted_things_are_kept_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    """Longer than the grace period, and pushes of the same blob do not shorten it."""
    async with opened(tmp_path, grace=7200, keep_deleted=86400) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", "v1", b"config", b"layer")
        await put(session, "demo/app", "v1", body)
        await session.delete_manifest("demo/app", digest_of(body))
        await push_blob(session, "demo/app", b"layer")
        await later(registry, 23 * HOUR)
        found = await collect(registry)
        assert (found.links, found.blobs, found.trash) == (0, 0, 0)
        (trashed,), _ = await session.trash(Listing())
        await session.restore(trashed.id)
        await session.delete_repository("demo/app")
        await later(registry, 23 * HOUR)
        assert (await collect(registry)).blobs == 0
        await later(registry, 2 * HOUR)
        found = await collect(registry)
        assert (found.blobs, found.trash) == (2, 1)
        await check_clean(registry)


async def test_emptying_the_trash_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, grace=0) as registry:
        session = registry.session()
        body = await push_image(session, "demo/app", "v1", b"config")
        await session.delete_manifest("demo/app", digest_of(body))
        await collect(registry)
        await collect(registry)
        told = [each.details for each in await registry.journal.events() if each.kind == "trash.empty"]
        assert told == [{"deleted": 1}]


async def test_a_time_limit_ends_it_and_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path, grace=0) as registry:
        for number in range(5):
            await push_blob(registry.session(), f"demo/{number}", b"%d" % number)
        times = iter([now() + 1, now() + 2])
        with monkeypatch.context() as patch:
            patch.setattr(collection, "now", lambda: next(times, now() + 100_000_000))
            found = await collect(registry, time_limit=60)
        assert not found.complete
        assert len(await keys_of(registry)) == 5
        rest = await collect(registry, time_limit=60)
        assert (rest.blobs, rest.complete) == (5, True)
        await check_clean(registry)


async def test_what_repositories_give_up_is_counted_and_told_in_one(tmp_path: Path) -> None:
    """Whoever counts hears of each blob, the journal of the whole: a line for each would be a million lines."""
    ledger = Ledger()
    async with opened(tmp_path, ledger, grace=0) as registry:
        for number in range(7):
            await push_blob(registry.session(), "demo/app", b"blob %d" % number)
        await push_image(registry.session(), "demo/app", "v1", b"kept")
        await collect(registry)
        assert ledger.held == {("demo/app", str(digest_of(b"kept"))): 4}
        told = [each for each in await registry.journal.events() if each.kind in {"blob.unlink", "blob.delete"}]
        assert [(each.kind, each.size, each.details) for each in told] == [("blob.unlink", 42, {"blobs": 7})]


async def test_who_counts_may_refuse_and_nothing_is_half_done(tmp_path: Path) -> None:
    ledger = Ledger()
    async with opened(tmp_path, ledger, grace=0) as registry:
        await push_blob(registry.session(), "demo/app", b"dead")
        ledger.refuses = True
        found = await collect(registry)
        assert (found.links, found.blobs, found.left) == (0, 0, 1)
        assert await pulled(registry.session(), "demo/app", b"dead")
        ledger.refuses = False
        assert (await collect(registry)).blobs == 1


async def test_a_dry_run_names_some_and_counts_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "LISTED", 3)
    async with opened(tmp_path, grace=0) as registry:
        session = registry.session()
        for number in range(9):
            await push_blob(session, "demo/app", b"blob %d" % number)
        await push_blob(session, "demo/other", b"used of late")
        await session.delete_blob("demo/other", digest_of(b"used of late"))
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(blobs).where(blobs.c.used_at > 0).values(used_at=now() + HOUR))
        work = Lines()
        found = await session.collect(work, CollectOptions(dry_run=True))
        assert (found.links, found.blobs, found.size) == (9, 9, 54)
        assert len([line for line in work.lines if line.startswith("blob sha256:")]) == 3
        assert "more than 3; from here on they are only counted" in work.lines
        taken = await collect(registry)
        assert (taken.links, taken.blobs, taken.size) == (9, 9, 54)
