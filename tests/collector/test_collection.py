"""What a collection takes, what it leaves, and what it says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from corereg import (
    Action,
    BlobUnknown,
    Denied,
    Identity,
    Operation,
    Refusal,
    Registry,
    Session,
    Stopped,
    StorageUnavailable,
    Transaction,
    hookimpl,
    now,
)
from corereg.config import GCConfig
from corereg.errors import BadRequest, Precondition
from corereg.oci.errors import BlobUploadUnknown, ManifestUnknown, ManyErrors, RangeInvalid
from corereg.session import Collected, CollectOptions
from corereg.store.condemned import LEASE
from corereg.store.condemned import digest_of as digest_of_key
from corereg.store.schema import blob_links, blobs, condemned, uploads
from corereg.store.upload_rows import Committed
from corereg.store.work import Silent
from corereg.testing.registry import scratch

from .pushing import (
    INDEX,
    check_clean,
    check_whole,
    chunks,
    digest_of,
    hexes,
    image_of,
    index_of,
    keys_of,
    pulled,
    push_blob,
    push_image,
    put,
)

pytestmark = pytest.mark.anyio

NOW = CollectOptions(grace=0)


class Notes(Silent):
    """Keeps the lines, and stops at the check of a chosen number."""

    def __init__(self, stop_at: int = -1) -> None:
        self.lines: list[str] = []
        self.checks = 0
        self.stop_at = stop_at

    def log(self, line: str) -> None:
        self.lines.append(line)

    async def check(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Stopped


class Policy:
    """Counts what is deleted, and may keep a repository's manifests."""

    name = "policy"

    def __init__(self) -> None:
        self.deleted: list[tuple[str, str | None]] = []
        self.keeps = ""

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        if operation.kind == "manifest.delete" and operation.repository == self.keeps:
            return Refusal("these are kept")
        return None

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        if operation.kind == "blob.delete":
            self.deleted.append((str(operation.repository), operation.digest))


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
async def registry(tmp_path: Path, policy: Policy) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, policy) as opened:
        yield opened


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session()


async def collect(session: Session, **options: Any) -> Collected:
    return await session.collect(Silent(), CollectOptions(**{"grace": 0, **options}))


async def test_what_an_image_needs_stays_and_the_rest_goes(registry: Registry, session: Session) -> None:
    await push_image(session, "demo/app", "v1", b"config", b"layer")
    await push_blob(session, "demo/app", b"never named")
    found = await collect(session)
    assert (found.links, found.blobs, found.size, found.left) == (1, 1, len(b"never named"), 0)
    await check_clean(registry, b"config", b"layer")
    assert await pulled(session, "demo/app", b"layer")
    again = await collect(session)
    assert again == Collected()


async def test_within_the_grace_period_everything_stays(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"just pushed")
    assert await session.collect(Silent()) == Collected()
    assert await keys_of(registry) == hexes(b"just pushed")


async def _age(registry: Registry) -> None:
    """Everything is a day old."""
    async with registry.database.transaction() as tx:
        old = now() - 86400 * 1_000_000
        for table in (blobs, blob_links):
            await tx.execute(sa.update(table).values(created_at=old, used_at=0))


@pytest.mark.parametrize("use", ["head", "mount", "push again", "push elsewhere"])
async def test_what_was_used_of_late_stays_in_its_grace(registry: Registry, session: Session, use: str) -> None:
    digest = await push_blob(session, "demo/app", b"old")
    await push_blob(session, "demo/other", b"idle")
    await _age(registry)
    match use:
        case "head":
            await session.blob("demo/app", digest, head=True)
        case "mount":
            await session.mount("demo/new", digest, "demo/app")
        case "push again":
            await push_blob(session, "demo/app", b"old")
        case "push elsewhere":
            await push_blob(session, "demo/new", b"old")
    found = await session.collect(Silent())
    assert found.blobs == 1
    assert await keys_of(registry) == hexes(b"old")
    where = "demo/app" if use in {"head", "push again"} else "demo/new"
    assert await pulled(session, where, b"old")


async def test_a_head_writes_once_in_half_a_grace_period_and_not_each_time(
    registry: Registry, session: Session
) -> None:
    digest = await push_blob(session, "demo/app", b"old")
    await _age(registry)
    await session.blob("demo/app", digest, head=True)
    used = sa.select(blob_links.c.used_at)
    first = await registry.database.row(used)
    await session.blob("demo/app", digest, head=True)
    assert await registry.database.row(used) == first
    assert first is not None
    assert first[0] > 0


async def test_indexes_keep_their_children_and_subjects_their_referrers(registry: Registry, session: Session) -> None:
    child = await push_image(session, "demo/app", None, b"child config", b"child layer")
    index = index_of(child)
    await put(session, "demo/app", "multi", index, INDEX)
    signed = await push_image(session, "demo/app", "v1", b"c", b"l")
    signature = await push_image(session, "demo/app", None, b"{}", b"signature", subject=signed)
    alone = await push_image(session, "demo/app", None, b"a config", b"a layer")
    found = await collect(session, delete_untagged=True)
    assert found.manifests == 1
    for body in (child, index, signed, signature):
        await session.manifest("demo/app", digest_of(body))
    with pytest.raises(ManifestUnknown):
        await session.manifest("demo/app", digest_of(alone))
    await collect(session)
    await check_whole(registry)
    await check_clean(registry, b"child config", b"child layer", b"c", b"l", b"{}", b"signature")


async def test_untagged_stay_where_nobody_asked(registry: Registry, session: Session) -> None:
    alone = await push_image(session, "demo/app", None, b"config", b"layer")
    await collect(session)
    await session.manifest("demo/app", digest_of(alone))
    await check_whole(registry)


async def test_what_a_policy_keeps_is_left_and_said(registry: Registry, session: Session, policy: Policy) -> None:
    policy.keeps = "demo/kept"
    await push_image(session, "demo/kept", None, b"config", b"layer")
    notes = Notes()
    found = await session.collect(notes, CollectOptions(grace=0, delete_untagged=True))
    assert (found.manifests, found.left) == (0, 1)
    assert any("these are kept" in line for line in notes.lines)
    await check_whole(registry)


async def test_whoever_counts_hears_of_each_blob_and_the_journal_of_the_whole(
    registry: Registry, session: Session, policy: Policy
) -> None:
    for number in range(5):
        await push_blob(session, "demo/app", b"%d" % number)
    await collect(session)
    assert sorted(policy.deleted) == sorted(("demo/app", str(digest_of(b"%d" % number))) for number in range(5))
    told = [event for event in await registry.journal.events() if event.kind in {"blob.unlink", "blob.collect"}]
    assert [(each.kind, each.size, each.details["blobs"]) for each in told] == [
        ("blob.unlink", 5, 5),
        ("blob.collect", 5, 5),
    ]


async def test_a_dry_run_says_what_a_real_one_does_and_touches_nothing(registry: Registry, session: Session) -> None:
    await push_image(session, "demo/app", "v1", b"config", b"layer")
    await push_image(session, "demo/app", None, b"untagged config", b"untagged layer")
    for repository in ("demo/app", "demo/other"):
        await push_blob(session, repository, b"dead in two places")
    await push_blob(session, "demo/app", b"dead here, alive there")
    await push_image(session, "demo/other", "v1", b"dead here, alive there")
    upload = await session.start_upload("demo/gone")
    key = await registry.storage.commit(
        upload.id, await _written(registry, upload.id, b"orphan"), len(b"orphan"), str(digest_of(b"orphan"))
    )
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(uploads))
    before = await keys_of(registry)
    notes = Notes()
    dry = await session.collect(notes, CollectOptions(grace=0, dry_run=True))
    assert await keys_of(registry) == before
    assert any(key in line for line in notes.lines)
    assert any(str(digest_of(b"dead in two places")) in line for line in notes.lines)
    real = await collect(session)
    assert (dry.links, dry.blobs, dry.orphans, dry.size) == (real.links, real.blobs, real.orphans, real.size)
    assert (real.links, real.blobs, real.orphans) == (3, 1, 1)
    await check_whole(registry)


async def _written(registry: Registry, upload: str, data: bytes) -> Any:
    writer = await registry.storage.writer(upload, {}, 0)
    await writer.write(data)
    return await writer.close()


async def test_bytes_that_no_row_knows_go_but_not_those_of_an_upload_that_may_come_back(
    registry: Registry, session: Session
) -> None:
    upload = await session.start_upload("demo/app")
    await registry.storage.commit(
        upload.id, await _written(registry, upload.id, b"orphan"), len(b"orphan"), str(digest_of(b"orphan"))
    )
    async with registry.database.transaction() as tx:  # its process is at work on the rows
        await tx.execute(
            sa.update(uploads).values(committing=str(digest_of(b"orphan")), leased_until=now() + 60_000_000, writer="x")
        )
    assert (await collect(session)).orphans == 0
    async with registry.database.transaction() as tx:  # it has died
        await tx.execute(sa.update(uploads).values(leased_until=now() - 1))
    found = await collect(session)
    assert (found.orphans, found.size) == (1, len(b"orphan"))
    assert await keys_of(registry) == set()


@pytest.mark.corereg_files
async def test_bytes_of_another_registry_in_the_same_storage_stay(
    registry: Registry, session: Session, tmp_path: Path
) -> None:
    """Before it is adopted no row knows any of them, and a collection by schedule comes at night."""
    upload = await session.start_upload("demo/app")
    await registry.storage.commit(
        upload.id, await _written(registry, upload.id, b"theirs"), len(b"theirs"), str(digest_of(b"theirs"))
    )
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(uploads))
    folder = tmp_path / "storage/docker/registry/v2/repositories/app/_layers"
    folder.mkdir(parents=True)
    (folder / "link").write_text("sha256:ab")
    notes = Notes()
    assert (await session.collect(notes, NOW)).orphans == 0
    assert await keys_of(registry) == hexes(b"theirs")
    assert any("corereg adopt" in line for line in notes.lines)
    (folder / "link").unlink()
    assert (await collect(session)).orphans == 1


async def test_a_process_so_slow_that_its_lease_ended_cannot_record_bytes_that_are_gone(
    registry: Registry, session: Session
) -> None:
    """It has committed the bytes, stands still, and goes on after a collection took them for orphans."""
    upload = await session.start_upload("demo/app")
    committed = await registry.uploads.finish(upload, digest_of(b"slow"), chunks(b"slow"))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(uploads).values(leased_until=now() - 1))
    assert (await collect(session)).orphans == 1
    with pytest.raises(RangeInvalid):
        await _record(registry, committed)
    await check_whole(registry)


async def test_bytes_whose_request_may_be_repeated_stay_for_a_lease_though_nobody_used_the_blob_for_long(
    registry: Registry, session: Session
) -> None:
    """The blob was there already, old and unused, when a push of the same bytes could not write its rows."""
    await push_blob(session, "demo/given-up", b"again")
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(blob_links))
    upload = await session.start_upload("demo/app")
    await registry.uploads.keep(await registry.uploads.finish(upload, digest_of(b"again"), chunks(b"again")))
    assert (await collect(session)).blobs == 0
    again = await session.upload("demo/app", upload.id)
    await session.finish_upload(again, digest_of(b"again"), None)
    assert await pulled(session, "demo/app", b"again")
    await check_whole(registry)


async def test_bytes_of_a_request_that_nobody_repeats_go_and_a_late_one_starts_again(
    registry: Registry, session: Session
) -> None:
    upload = await session.start_upload("demo/app")
    await registry.uploads.keep(await registry.uploads.finish(upload, digest_of(b"late"), chunks(b"late")))
    assert (await collect(session)).orphans == 0
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(uploads).values(leased_until=now() - 1))
    assert (await collect(session)).orphans == 1
    with pytest.raises(BlobUploadUnknown):
        await session.finish_upload(await session.upload("demo/app", upload.id), digest_of(b"late"), None)
    await check_whole(registry)


async def _record(registry: Registry, committed: Committed) -> None:
    async with registry.database.transaction() as tx:
        repository = await registry.catalog.ensure_repository(tx, "demo/app")
        await registry.catalog.put_blob(tx, repository, str(committed.digest), committed.size, committed.key)
        await registry.uploads.remove(tx, committed)


async def test_a_push_of_what_is_being_deleted_waits_and_then_stores_it(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"again")
    digest = str(digest_of(b"again"))
    async with registry.database.transaction() as tx:
        row = await tx.row(sa.select(blobs.c.storage_key))
        assert row is not None
        await tx.execute(sa.delete(blob_links))
        (doomed,) = await registry.house.condemned.condemn(tx, [(digest, row[0])], now() + 1)
    upload = await session.start_upload("demo/app")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corereg.store.condemned.PATIENCE", 0.05)
        with pytest.raises(StorageUnavailable, match="push it again in a moment"):
            await session.finish_upload(upload, digest_of(b"again"), chunks(b"again"))
    async with registry.database.transaction() as tx:  # whoever deletes has died over it
        await tx.execute(sa.update(condemned).values(leased_until=now() - 1))
    await session.finish_upload(upload, digest_of(b"again"), chunks(b"again"))
    assert doomed.until > now()
    assert await pulled(session, "demo/app", b"again")
    await check_whole(registry)


async def test_what_a_dead_collector_left_is_finished_by_the_next(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"left")
    digest = str(digest_of(b"left"))
    async with registry.database.transaction() as tx:
        row = await tx.row(sa.select(blobs.c.storage_key))
        assert row is not None
        await tx.execute(sa.delete(blob_links))
        await registry.house.condemned.condemn(tx, [(digest, row[0])], now() + 1)
    assert (await collect(session)).size == 0, "the other one is still alive"
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(condemned).values(leased_until=now() - 1))
    found = await collect(session)
    assert found.size == len(b"left")
    await check_clean(registry)


async def test_a_mount_of_what_is_condemned_is_no_mount(registry: Registry, session: Session) -> None:
    digest = await push_blob(session, "demo/app", b"going")
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(blob_links))
        await registry.house.condemned.condemn(tx, [(str(digest), "k")], now() + 1)
    assert await session.mount("demo/new", digest, "demo/app") is None


async def test_nothing_is_deleted_when_the_lease_is_near_its_end(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"slow")
    async with registry.database.transaction() as tx:
        row = await tx.row(sa.select(blobs.c.storage_key))
        assert row is not None
        await tx.execute(sa.delete(blob_links))
        (doomed,) = await registry.house.condemned.condemn(tx, [(str(digest_of(b"slow")), row[0])], now() + 1)
    late = type(doomed)(doomed.key, doomed.digest, doomed.until - LEASE)
    assert await registry.house.condemned.delete(late) is None
    assert await keys_of(registry) == hexes(b"slow")


async def test_a_storage_that_refuses_leaves_it_for_the_next_collection(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push_blob(session, "demo/app", b"stubborn")

    async def refuses(key: str) -> None:
        message = f"{key}: the store is away."
        raise StorageUnavailable(message)

    notes = Notes()
    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "delete", refuses)
        found = await session.collect(notes, NOW)
    assert (found.blobs, found.size, found.left) == (0, 0, 1)
    assert any("the store is away" in line for line in notes.lines)
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(condemned).values(leased_until=now() - 1))
    assert (await collect(session)).size == len(b"stubborn")
    await check_clean(registry)


async def test_a_stopped_collection_goes_on_where_it_was(registry: Registry, session: Session) -> None:
    for number in range(3):
        await push_blob(session, f"demo/{number}", b"%d" % number)
    with pytest.raises(Stopped):
        await session.collect(Notes(stop_at=3), NOW)
    await collect(session)
    await check_clean(registry)


async def test_nothing_is_collected_while_a_backup_holds_it(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"held")
    await session.hold_collection("backup 7", 60)
    with pytest.raises(Precondition, match="backup 7"):
        await collect(session)
    await session.release_collection("backup 7")
    assert (await collect(session)).blobs == 1


async def test_collecting_wants_a_right(registry: Registry) -> None:
    somebody = registry.session(Identity(name="somebody", subject="user:7"))
    with pytest.raises(Denied):
        await somebody.collect(Silent(), NOW)
    with pytest.raises(Denied):
        await somebody.hold_collection("mine", 60)


async def test_a_manifest_that_comes_too_late_is_told_so(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"config")
    await collect(session)
    with pytest.raises(ManyErrors):
        await put(session, "demo/app", "v1", image_of(b"config"))
    with pytest.raises(BlobUnknown):
        await session.blob("demo/app", digest_of(b"config"))


async def test_it_runs_as_a_job(tmp_path: Path) -> None:
    async with scratch(tmp_path, gc=GCConfig(grace=0)) as registry:
        session = registry.session()
        await push_blob(session, "demo/app", b"dead")
        started = await session.start_job("GARBAGE_COLLECTION", needs=Action("garbage-collection", "create"))
        with anyio.fail_after(30):
            while not (found := await registry.history.execution(started.execution_id)) or not found.ended:
                await anyio.sleep(0.02)
        assert found.status == "Success"
        (event,) = [each for each in await registry.journal.events() if each.kind == "job.end"]
        assert event.details["result"]["size"] == len(b"dead")
        with pytest.raises(BadRequest, match="workers"):
            await session.start_job("GARBAGE_COLLECTION", {"workers": 11}, needs=Action("garbage-collection", "create"))


async def test_a_blob_key_that_is_no_digest_is_none() -> None:
    assert digest_of_key("docker/registry/v2/blobs/sha256/ab/abcd/data") == "sha256:abcd"
    assert digest_of_key("docker/registry/v2/blobs/sha256/ab/xxcd/data") is None
    assert digest_of_key("corereg/blobs/abc") is None


async def test_bytes_of_an_upload_that_cannot_be_removed_keep_nothing_else(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to another user, or are write-protected."""
    await push_blob(session, "demo/app", b"unused")
    upload = await session.start_upload("demo/app")
    await session.append(upload, chunks(b"orphan"), start=None, length=None)
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(uploads))
    real = registry.storage.uploads

    async def long_ago() -> AsyncIterator[Any]:
        async for stat in real():
            yield msgspec.structs.replace(stat, modified=0)

    async def refuses(name: str, _state: Any) -> None:
        message = f"{name}: access is refused."
        raise StorageUnavailable(message)

    monkeypatch.setattr(registry.storage, "uploads", long_ago)
    monkeypatch.setattr(registry.storage, "abort", refuses)
    found = await collect(session)
    assert (found.uploads, found.left, found.blobs) == (0, 1, 1)


def no_text(folder: Path, name: bytes) -> None:
    """An old file whose name is no UTF-8."""
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (1, 1))


@pytest.mark.corereg_files
async def test_names_that_are_no_text_stay_and_stop_nothing(registry: Registry, session: Session) -> None:
    """A file's name may be any bytes; no row can hold these, and nobody can ask a database for them."""
    await push_blob(session, "demo/app", b"dead")
    folder = registry.config.data / "storage" / "docker" / "registry" / "v2" / "blobs" / "sha256" / "ab"
    for name in (b"caf\xe9.txt", b"ab\xe9/data"):
        no_text(folder, name)
    for dry_run in (True, False):
        notes = Notes()
        found = await session.collect(notes, CollectOptions(grace=0, dry_run=dry_run))
        assert (found.blobs, found.orphans, found.left) == (1, 0, 2)
        told = sorted(line for line in notes.lines if "its name is no text" in line)
        assert len(told) == 2
        assert "/ab/ab\\udce9/data stays" in told[0]
        assert "/ab/caf\\udce9.txt stays" in told[1]
