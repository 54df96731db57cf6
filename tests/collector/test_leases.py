"""Who may delete what, and for how long: deaths, failures, holds, and answers that come in the wrong order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
import sqlalchemy as sa

from corereg import Registry, Session, StorageUnavailable, Transaction, now
from corereg.care.holding import Hold
from corereg.care.repair import Repair
from corereg.errors import BadRequest, Precondition
from corereg.session import CollectOptions
from corereg.store import condemned as condemning
from corereg.store.catalog import StoredBlob
from corereg.store.condemned import LEASE, MARGIN, Doomed
from corereg.store.schema import blob_links, blobs, collector_holds, condemned
from corereg.store.work import Silent
from corereg.testing.registry import scratch

from .pushing import check_clean, check_whole, chunks, digest_of, keys_of, pulled, push_blob

pytestmark = pytest.mark.anyio

NOW = CollectOptions(grace=0)
SECOND = 1_000_000
YEAR = 365 * 86400 * SECOND


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path) as opened:
        yield opened


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session()


async def condemn(registry: Registry, data: bytes) -> Doomed:
    """What a collector that is about to delete these bytes holds in its hands."""
    await push_blob(registry.session(), "demo/given-up", data)
    digest = str(digest_of(data))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(blob_links).where(blob_links.c.digest == digest))
        row = await tx.row(sa.select(blobs.c.storage_key).where(blobs.c.digest == digest))
        assert row is not None
        (doomed,) = await registry.house.condemned.condemn(tx, [(digest, row[0])], now() + 1)
    return doomed


async def leases(registry: Registry) -> list[int]:
    return [row[0] for row in await registry.database.rows(sa.select(condemned.c.leased_until))]


async def expire(registry: Registry) -> None:
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(condemned).values(leased_until=now() - 1))


async def ahead(registry: Registry) -> None:
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(condemned).values(leased_until=now() + YEAR))


async def refuses(_key: str) -> None:
    message = "what lies here stays."
    raise StorageUnavailable(message)


async def leave(registry: Registry, doomed: Doomed) -> None:
    """The storage refuses to delete the bytes, and keeps on doing so."""
    with pytest.raises(StorageUnavailable):
        await registry.house.condemned.delete(doomed)


async def test_who_was_overtaken_does_not_say_that_it_is_over(registry: Registry) -> None:
    """One collector is slow, another took its lease over and deletes: a push that came between them would be lost."""
    slow = await condemn(registry, b"slow")
    await expire(registry)
    (mine,) = await registry.house.condemned.expired()
    assert await registry.house.condemned.delete(slow) == 4
    assert await leases(registry) == [mine.until], "the other one is still at it"
    assert await registry.house.condemned.delete(mine) == 0
    await check_clean(registry)


@pytest.mark.parametrize("method", ["stat", "delete"])
async def test_pushes_need_not_wait_long_for_what_a_storage_refused(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    doomed = await condemn(registry, b"stubborn")

    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, method, refuses)
        await leave(registry, doomed)
    (until,) = await leases(registry)
    assert now() < until <= now() + MARGIN, "a deletion that is still under way may come late, but not later"
    await expire(registry)
    upload = await session.start_upload("demo/app")
    await session.finish_upload(upload, digest_of(b"stubborn"), chunks(b"stubborn"))
    assert await pulled(session, "demo/app", b"stubborn")


async def test_what_a_storage_never_deletes_can_be_pushed_again(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket of objects that stay, an immutable file: the bytes are there, and whole."""
    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "delete", refuses)
        await leave(registry, await condemn(registry, b"stays"))
        await expire(registry)
        await push_blob(session, "demo/app", b"stays")
        assert await pulled(session, "demo/app", b"stays")
        assert await leases(registry) == []
        await session.delete_blob("demo/app", digest_of(b"stays"))
        found = await session.collect(Silent(), NOW)
        assert (found.blobs, found.left) == (0, 1)
        await expire(registry)
        assert (await session.collect(Silent(), NOW)).left == 1, "each collection tries again"
        await expire(registry)
    await session.collect(Silent(), NOW)
    await check_clean(registry)


async def test_a_deletion_that_failed_may_still_be_under_way(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent, and its answer was lost: a push waits until nothing of it can come any more."""
    monkeypatch.setattr(condemning, "PATIENCE", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "delete", refuses)
        await leave(registry, await condemn(registry, b"late"))
    before = await leases(registry)
    with pytest.raises(StorageUnavailable, match="is just being removed"):
        await push_blob(session, "demo/app", b"late")
    assert await leases(registry) == before


async def test_a_push_lets_go_of_no_lease_that_another_has_just_taken(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condemning, "PATIENCE", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "delete", refuses)
        await leave(registry, await condemn(registry, b"tried again"))
    await expire(registry)
    rows = registry.database.rows
    taken: list[Doomed] = []

    async def taken_afterwards(statement: Any, /, **parameters: Any) -> Any:
        found = await rows(statement, **parameters)
        if statement is condemning.OF_DIGEST and not taken:
            taken.extend([*await registry.house.condemned.expired()])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(registry.database, "rows", taken_afterwards)
        with pytest.raises(StorageUnavailable, match="is just being removed"):
            await push_blob(session, "demo/app", b"tried again")
    (mine,) = taken
    assert await leases(registry) == [mine.until]
    assert await registry.house.condemned.delete(mine) == len(b"tried again")
    await push_blob(session, "demo/app", b"tried again")
    await check_whole(registry)


async def test_corrupt_bytes_that_stay_are_not_used(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await push_blob(session, "demo/app", b"corrupt")
    row = await registry.database.row(sa.select(blobs.c.digest, blobs.c.size, blobs.c.storage_key))
    assert row is not None
    monkeypatch.setattr(registry.storage, "delete", refuses)
    with pytest.raises(StorageUnavailable):
        await Repair(registry.house, session, tmp_path / "quarantine").put_away(StoredBlob(*row))
    for _ in range(2):
        await expire(registry)
        with pytest.raises(StorageUnavailable, match="what lies here stays"):
            await push_blob(session, "demo/other", b"corrupt")
        with pytest.raises(Precondition, match="is just being deleted"):
            await session.adopt("demo/other", [StoredBlob(*row)], [])


async def test_what_a_storage_never_deletes_can_be_adopted(
    registry: Registry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = await condemn(registry, b"stays")
    blob = StoredBlob(str(doomed.digest), 5, doomed.key)
    monkeypatch.setattr(registry.storage, "delete", refuses)
    await leave(registry, doomed)
    with pytest.raises(Precondition, match="is just being deleted"):
        await session.adopt("demo/app", [blob], [])
    await expire(registry)
    await session.adopt("demo/app", [blob], [])
    assert await leases(registry) == []
    assert await pulled(session, "demo/app", b"stays")


async def test_a_cancelled_deletion_is_given_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = await condemn(registry, b"endless")
    began = asyncio.Event()

    async def hangs(_key: str) -> None:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(registry.storage, "delete", hangs)
    async with anyio.create_task_group() as group:
        group.start_soon(registry.house.condemned.delete, doomed)
        await began.wait()
        group.cancel_scope.cancel()
    (until,) = await leases(registry)
    assert until < doomed.until


async def test_a_lease_of_a_wrong_clock_keeps_nobody_away(registry: Registry, session: Session) -> None:
    """A process died while the clock was a year ahead; then the clock was set right."""
    doomed = await condemn(registry, b"pushed")
    await ahead(registry)
    await push_blob(session, "demo/app", b"pushed")
    assert await pulled(session, "demo/app", b"pushed")
    await condemn(registry, b"collected")
    await ahead(registry)
    await session.collect(Silent(), NOW)
    assert await leases(registry) == []
    still_alive = Doomed(doomed.key, doomed.digest, now() + YEAR)
    assert await registry.house.condemned.delete(still_alive) is None, "its lease has ended for everybody else"
    await check_whole(registry)


async def test_a_lease_of_a_clock_that_differs_a_little_holds(registry: Registry) -> None:
    doomed = await condemn(registry, b"mine")
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(condemned).values(leased_until=doomed.until + MARGIN // 2))
    assert await registry.house.condemned.expired() == []


async def test_a_hold_of_a_wrong_clock_holds_nothing(registry: Registry, session: Session) -> None:
    await push_blob(session, "demo/app", b"free")
    await session.hold_collection("backup", 60)
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(collector_holds).values(until=now() + YEAR))
    assert (await session.collect(Silent(), NOW)).blobs == 1
    await session.hold_collection("adopt", condemning.LONGEST_HOLD // SECOND)
    with pytest.raises(Precondition, match="while adopt holds everything"):
        await session.collect(Silent(), NOW)
    with pytest.raises(BadRequest, match="ask again"):
        await session.hold_collection("for ever", condemning.LONGEST_HOLD // SECOND + 1)


async def test_who_holds_the_collection_asks_again_when_the_clock_was_set_back(
    registry: Registry, session: Session
) -> None:
    hold = Hold(session, "backup", 60)
    await hold.renew()
    hold.until += YEAR
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(collector_holds).values(until=hold.until))
    await hold.renew()
    with pytest.raises(Precondition, match="while backup holds everything"):
        await session.collect(Silent(), NOW)


async def test_more_leftovers_than_one_look_finds_are_all_finished(registry: Registry, session: Session) -> None:
    async with registry.database.transaction() as tx:
        for number in range(230):
            key = f"docker/registry/v2/blobs/sha256/00/00{number:062}/data"
            await tx.execute(
                sa.insert(condemned).values(storage_key=key, digest=f"sha256:00{number:062}", leased_until=0)
            )
    await session.collect(Silent(), NOW)
    assert await leases(registry) == []


async def test_a_hold_that_comes_in_the_middle_keeps_what_is_not_condemned_yet(
    registry: Registry, session: Session
) -> None:
    """The collector has looked for holds already when the backup puts its own up."""
    await push_blob(session, "demo/app", b"held")
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(blob_links))
    row = await registry.database.row(sa.select(blobs.c.digest, blobs.c.storage_key))
    assert row is not None
    await session.hold_collection("backup", 60)
    async with registry.database.transaction() as tx:
        assert await registry.house.condemned.condemn(tx, [(row[0], row[1])], now() + 1) == []
        assert await registry.house.condemned.condemn_orphan(tx, "docker/registry/v2/blobs/sha256/ab/abcd/data") is None
    await session.release_collection("backup")
    assert (await session.collect(Silent(), NOW)).blobs == 1


async def test_a_hold_ends_by_itself(registry: Registry, session: Session) -> None:
    """Whoever put it up has died."""
    await push_blob(session, "demo/app", b"held")
    await session.hold_collection("backup", -1)
    assert (await session.collect(Silent(), NOW)).blobs == 1


async def test_bytes_whose_rows_come_between_two_questions_are_no_orphans(registry: Registry, session: Session) -> None:
    """On PostgreSQL each question sees what was committed before it: the upload's row goes as the blob's comes. Whoever
    asks for the blob first and the upload then sees neither.
    """
    upload = await session.start_upload("demo/app")
    committed = await registry.uploads.finish(upload, digest_of(b"just now"), chunks(b"just now"))

    class Between:
        """A transaction beside which the push commits its rows after the first question about them."""

        def __init__(self, tx: Any) -> None:
            self.tx = tx
            self.asked: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tx, name)

        async def row(self, statement: Any, /, **parameters: Any) -> Any:
            text = str(getattr(statement, "statement", statement))
            table = "uploads" if "FROM uploads" in text else "blobs" if "FROM blobs" in text else ""
            if table:
                self.asked.append(table)
            if len(self.asked) == 2 and table:
                repository = await registry.catalog.ensure_repository(self.tx, "demo/app")
                await registry.catalog.put_blob(self.tx, repository, str(digest_of(b"just now")), 8, committed.key)
                await registry.uploads.remove(self.tx, committed)
            return await self.tx.row(statement, **parameters)

    async with registry.database.transaction() as tx:
        between = Between(tx)
        assert await registry.house.condemned.condemn_orphan(cast("Transaction", between), committed.key) is None
        assert between.asked[0] == "uploads"
    assert len(await keys_of(registry)) == 1
    await check_whole(registry)


def test_a_batch_has_time_before_its_lease_ends() -> None:
    assert LEASE >= 2 * MARGIN
