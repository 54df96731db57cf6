"""The upload state machine: who may write, what is kept, who continues."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from corereg import Digest, Registry, StorageFull, StorageUnavailable
from corereg.oci.errors import BlobUploadUnknown, DigestInvalid, RangeInvalid, SizeInvalid
from corereg.store import uploads as module
from corereg.store.database import DatabaseUnavailable
from corereg.store.schema import uploads as table
from corereg.store.upload_rows import Purged, Upload
from corereg.store.uploads import Uploads
from corereg.testing.registry import scratch

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("every_database")]

WHO = "user:alice"
WHERE = "demo/app"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path) as opened:
        yield opened


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def slowly(gate: anyio.Event, *pieces: bytes) -> AsyncIterator[bytes]:
    yield pieces[0]
    await gate.wait()
    for piece in pieces[1:]:
        yield piece


class Gone(Exception):
    """The client has left."""


async def broken(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise Gone


def another_process(registry: Registry) -> Uploads:
    """An Uploads that shares database and storage, but has seen no byte."""
    return Uploads(registry.database, registry.storage)


async def content(registry: Registry, key: str) -> bytes:
    return b"".join([piece async for piece in registry.storage.read(key)])


async def state_of(registry: Registry, upload: Upload) -> Any:
    return await registry.database.row(
        sa.select(table.c.received, table.c.writer, table.c.leased_until).where(table.c.id == upload.id)
    )


async def claimed(registry: Registry, upload: Upload) -> None:
    """Returns when a request writes to the upload: on PostgreSQL its claim takes a way over the network."""
    with anyio.fail_after(20):
        while (await state_of(registry, upload))[1] is None:
            await anyio.sleep(0.005)


async def test_a_second_writer_gets_416_and_no_byte_is_mixed_in(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    gate, held = anyio.Event(), anyio.Event()

    async def first() -> None:
        done = await registry.uploads.append(upload, slowly(gate, b"a" * 100_000, b"a" * 100_000))
        assert done.received == 200_000
        held.set()

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        while (await state_of(registry, upload))[1] is None:
            await anyio.lowlevel.checkpoint()
        for other in (registry.uploads, another_process(registry)):
            with pytest.raises(RangeInvalid, match="another request is writing"):
                await other.append(upload, chunks(b"b" * 100_000))
            with pytest.raises(RangeInvalid):
                await other.finish(upload, Digest.of(b"b"), chunks(b"b"))
        gate.set()
        await held.wait()
    whole = b"a" * 200_000
    upload = await registry.uploads.find(upload.id, WHERE, WHO)
    done = await registry.uploads.finish(upload, Digest.of(whole))
    assert await content(registry, done.key) == whole


async def test_a_process_that_did_not_see_the_first_bytes_continues(registry: Registry) -> None:
    whole = b"".join(hashlib.sha256(bytes([n])).digest() * 5000 for n in range(4))
    pieces = [whole[start : start + 200_001] for start in range(0, len(whole), 200_001)]
    upload = await registry.uploads.start(WHERE, WHO)
    for piece in pieces[:-1]:
        upload = await another_process(registry).append(upload, chunks(piece), start=upload.received)
    done = await another_process(registry).finish(upload, Digest.of(whole), chunks(pieces[-1]), start=upload.received)
    assert await content(registry, done.key) == whole


async def test_a_hash_of_an_older_state_is_not_believed(registry: Registry) -> None:
    """This process hashed the first bytes, another one appended: what we remember is stale."""
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"one"))
    upload = await another_process(registry).append(upload, chunks(b"two"))
    upload = await registry.uploads.append(upload, chunks(b"three"))
    done = await registry.uploads.finish(upload, Digest.of(b"onetwothree"))
    assert await content(registry, done.key) == b"onetwothree"


@pytest.mark.parametrize("begun_with", ["sha256", "sha512"])
@pytest.mark.parametrize("closed_with", ["sha256", "sha512"])
async def test_the_algorithm_asked_at_the_end_counts(registry: Registry, begun_with: str, closed_with: str) -> None:
    upload = await registry.uploads.start(WHERE, WHO, begun_with)
    digest = Digest.of(b"content", closed_with)
    done = await registry.uploads.finish(upload, digest, chunks(b"con", b"tent"))
    assert done.digest == digest
    assert await content(registry, done.key) == b"content"


async def test_what_arrived_before_the_client_left_is_kept(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    with pytest.raises(Gone):
        await registry.uploads.append(upload, broken(b"x" * 10, b"y" * 70_000))
    found = await registry.uploads.find(upload.id, WHERE, WHO)
    assert found.received == 70_010
    assert (await state_of(registry, upload))[1] is None, "and nobody holds it"
    done = await registry.uploads.finish(found, Digest.of(b"x" * 10 + b"y" * 70_000 + b"z"), chunks(b"z"), start=70_010)
    assert done.size == 70_011


async def test_a_broken_promise_of_length_keeps_the_bytes_and_the_upload(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    with pytest.raises(SizeInvalid):
        await registry.uploads.append(upload, chunks(b"abc"), length=5)
    assert (await registry.uploads.find(upload.id, WHERE, WHO)).received == 3


async def test_a_writer_that_died_gives_the_upload_up_when_its_lease_ends(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    dead = Uploads(registry.database, registry.storage, lease=0)
    await dead._claim(upload, None)
    await anyio.sleep(0.01)
    assert (await registry.uploads.append(upload, chunks(b"x"))).received == 1


async def test_a_writer_that_died_while_the_clock_was_wrong_holds_nothing(registry: Registry) -> None:
    """Until NTP has set it right, a clock may be a year ahead, and with it the end of a lease."""
    year = 365 * 86400 * module.SECOND
    begun = [await registry.uploads.start(WHERE, WHO) for _ in range(3)]
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(writer="dead", leased_until=module.now() + year))
        await tx.execute(sa.update(table).where(table.c.id == begun[2].id).values(updated_at=1))
    assert (await registry.uploads.append(begun[0], chunks(b"x"))).received == 1
    assert (await registry.uploads.finish(begun[1], Digest.of(b"x"), chunks(b"x"))).size == 1
    assert await registry.uploads.purge() == Purged(dropped=1, left=0)


async def test_a_node_whose_clock_is_a_little_ahead_keeps_its_claim(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    until = module.now() + 30 * module.SECOND + module.CLOCKS
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(writer="alive", leased_until=until, updated_at=1))
    with pytest.raises(RangeInvalid):
        await registry.uploads.append(upload, chunks(b"x"))
    assert await registry.uploads.purge() == Purged(dropped=0, left=0)


async def test_a_long_transfer_keeps_its_lease(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALLEST_PIECE", 1)
    monkeypatch.setattr(module, "LARGEST_PIECE", 1)
    slow = Uploads(registry.database, registry.storage, lease=1)

    async def trickle() -> AsyncIterator[bytes]:
        for _ in range(15):
            await anyio.sleep(0.1)
            yield b"x"

    upload = await slow.start(WHERE, WHO)
    async with anyio.create_task_group() as group:
        group.start_soon(slow.append, upload, trickle())
        await anyio.sleep(1.3)
        with pytest.raises(RangeInvalid):
            await registry.uploads.append(upload, chunks(b"y"))


async def test_a_wrong_digest_ends_the_upload(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    with pytest.raises(DigestInvalid, match=str(Digest.of(b"abc"))):
        await registry.uploads.finish(upload, Digest.of(b"abd"), chunks(b"abc"))
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(upload.id, WHERE, WHO)
    assert [each async for each in registry.storage.uploads()] == []


async def test_an_upload_cancelled_while_it_receives_is_gone_for_its_writer(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    gate = anyio.Event()

    async def writer() -> None:
        with pytest.raises(BlobUploadUnknown):
            await registry.uploads.append(upload, slowly(gate, b"a", b"b"))

    async with anyio.create_task_group() as group:
        group.start_soon(writer)
        while (await state_of(registry, upload))[1] is None:
            await anyio.lowlevel.checkpoint()
        await registry.uploads.cancel(upload)
        gate.set()
    assert [each async for each in registry.storage.uploads()] == []


async def test_a_full_disk_keeps_what_was_acknowledged(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"kept"))
    real = registry.storage.writer

    async def full(*arguments: Any) -> Any:
        writer = await real(*arguments)

        def append(data: bytes) -> None:
            message = "no room left"
            raise StorageFull(message) from OSError(errno.ENOSPC, message)

        async def write(data: bytes) -> None:
            append(data)

        monkeypatch.setattr(writer, "write", write)
        monkeypatch.setattr(writer, "append", writer.append and append)
        return writer

    monkeypatch.setattr(registry.storage, "writer", full)
    with pytest.raises(StorageFull):
        await registry.uploads.append(upload, chunks(b"lost" * 100_000))
    monkeypatch.undo()
    found = await registry.uploads.find(upload.id, WHERE, WHO)
    assert found.received == 4
    done = await registry.uploads.finish(found, Digest.of(b"kept, and on"), chunks(b", and on"))
    assert await content(registry, done.key) == b"kept, and on"


async def test_expired_uploads_and_orphaned_bytes_are_purged_and_living_ones_are_not(registry: Registry) -> None:
    old = await registry.uploads.start(WHERE, WHO)
    old = await registry.uploads.append(old, chunks(b"old"))
    new = await registry.uploads.start(WHERE, WHO)
    new = await registry.uploads.append(new, chunks(b"new"))
    orphan = await registry.uploads.start(WHERE, WHO)
    orphan = await registry.uploads.append(orphan, chunks(b"orphan"))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(table).where(table.c.id == orphan.id))
        await tx.execute(sa.update(table).where(table.c.id == old.id).values(updated_at=1))
    assert await registry.uploads.purge(orphan_age=-1.0) == Purged(dropped=2, left=0)
    assert [each.key async for each in registry.storage.uploads()] == [new.id]
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(old.id, WHERE, WHO)
    assert (await registry.uploads.append(new, chunks(b"er"))).received == 5


@pytest.mark.parametrize("way", ["went on", "goes on"])
async def test_an_upload_taken_up_again_while_others_expire_is_kept(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A storage may take its time over each of the uploads that were found to be old."""
    old = [await registry.uploads.start(WHERE, WHO) for _ in range(2)]
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(updated_at=1))
    abort, gate = registry.storage.abort, anyio.Event()
    kept: list[Upload] = []

    async with anyio.create_task_group() as group:

        async def slow(upload: str, state: Any) -> None:
            monkeypatch.undo()
            kept.extend(each for each in old if each.id != upload)
            if way == "went on":
                await registry.uploads.append(kept[0], chunks(b"new"))
            else:
                group.start_soon(registry.uploads.append, kept[0], slowly(gate, b"n", b"ew"))
                await claimed(registry, kept[0])
            await abort(upload, state)

        monkeypatch.setattr(registry.storage, "abort", slow)
        assert await registry.uploads.purge() == Purged(dropped=1, left=0)
        gate.set()
    found = await registry.uploads.find(kept[0].id, WHERE, WHO)
    assert (await registry.uploads.finish(found, Digest.of(b"newer"), chunks(b"er"))).size == 5


async def test_bytes_that_cannot_be_removed_keep_nobody_from_the_rest(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = [await registry.uploads.start(WHERE, WHO) for _ in range(3)]
    for each in begun:
        await registry.uploads.append(each, chunks(b"orphan"))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(table))
    abort, stubborn = registry.storage.abort, begun[1].id

    async def refuses(upload: str, state: Any) -> None:
        if upload == stubborn:
            message = "it belongs to another user"
            raise StorageUnavailable(message)
        await abort(upload, state)

    monkeypatch.setattr(registry.storage, "abort", refuses)
    assert await registry.uploads.purge(orphan_age=-1.0) == Purged(dropped=2, left=1)
    assert [each.key async for each in registry.storage.uploads()] == [stubborn]
    assert f"{stubborn}, which no row knows, are left: it belongs to another user" in caplog.text


async def test_a_crash_between_bytes_and_rows_asks_the_client_to_start_again(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"x"))
    await registry.uploads.finish(upload, Digest.of(b"x"))  # ... and the process dies before the rows
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(leased_until=0))
    again = await another_process(registry).find(upload.id, WHERE, WHO)
    with pytest.raises(BlobUploadUnknown):
        await another_process(registry).finish(again, Digest.of(b"x"))


# ---- bytes that are durable, and rows that could not be written ----


async def kept(registry: Registry, data: bytes) -> Upload:
    """An upload whose last request could not write its rows, as the next request finds it."""
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(data))
    await registry.uploads.keep(await registry.uploads.finish(upload, Digest.of(data)))
    return await registry.uploads.find(upload.id, WHERE, WHO)


@pytest.mark.parametrize("again", [b"", b"tent", b"content"], ids=["nothing", "the last chunk", "all"])
async def test_a_last_request_that_is_repeated_finds_the_bytes_where_they_were_stored(
    registry: Registry, again: bytes
) -> None:
    upload = await kept(registry, b"content")
    assert (upload.received, (await state_of(registry, upload))[1]) == (7, None)
    done = await another_process(registry).finish(upload, Digest.of(b"content"), chunks(again), length=len(again))
    assert (done.digest, done.size) == (Digest.of(b"content"), 7)
    assert await content(registry, done.key) == b"content"
    async with registry.database.transaction() as tx:
        await registry.uploads.remove(tx, done)
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(upload.id, WHERE, WHO)


async def test_nothing_is_appended_to_an_upload_whose_bytes_are_stored(registry: Registry) -> None:
    upload = await kept(registry, b"content")
    with pytest.raises(RangeInvalid, match="close it with their digest"):
        await registry.uploads.append(upload, chunks(b"more"), start=7)
    with pytest.raises(SizeInvalid, match="all 7 bytes"):
        await registry.uploads.finish(upload, Digest.of(b"content"), chunks(b"content", b"more"))
    assert (await registry.uploads.finish(upload, Digest.of(b"content"))).size == 7


async def test_stored_bytes_are_not_given_out_under_another_digest(registry: Registry) -> None:
    upload = await kept(registry, b"content")
    with pytest.raises(DigestInvalid, match=str(Digest.of(b"content"))):
        await registry.uploads.finish(upload, Digest.of(b"another"))
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(upload.id, WHERE, WHO)


async def test_who_found_the_upload_before_its_bytes_were_stored_looks_again(registry: Registry) -> None:
    """Otherwise the bytes would be looked for where they no longer are, and the upload given up."""
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"content"))
    await registry.uploads.keep(await registry.uploads.finish(upload, Digest.of(b"content")))
    for late in (registry.uploads.finish(upload, Digest.of(b"content")), registry.uploads.append(upload, chunks(b"x"))):
        with pytest.raises(RangeInvalid, match="ask for its status"):
            await late
    upload = await registry.uploads.find(upload.id, WHERE, WHO)
    assert (await registry.uploads.finish(upload, Digest.of(b"content"))).size == 7


async def test_stored_bytes_that_were_collected_meanwhile_are_sent_again(registry: Registry) -> None:
    upload = await kept(registry, b"content")
    assert upload.stored is not None
    await registry.storage.delete(upload.stored.key)
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.finish(upload, Digest.of(b"content"))
    assert await registry.database.row(sa.select(table.c.id)) is None


async def test_a_claim_is_given_back_when_the_database_is_there_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.1)
    upload = await registry.uploads.start(WHERE, WHO)
    done = await registry.uploads.finish(upload, Digest.of(b"content"), chunks(b"content"), length=7)
    real, away, tries = registry.database.execute, True, 0

    async def execute(statement: Any, /, **parameters: Any) -> int:
        nonlocal tries
        tries += statement is module.KEEP
        if statement is module.KEEP and away:
            message = "the database is being moved"
            raise DatabaseUnavailable(message)
        return await real(statement, **parameters)

    monkeypatch.setattr(registry.database, "execute", execute)
    await registry.uploads.keep(done)
    assert (await state_of(registry, upload))[1] == done.claimant, "nothing could be written yet"
    with anyio.fail_after(20):
        while tries < 3:
            await anyio.sleep(0.02)
        away = False
        while (await state_of(registry, upload))[1] is not None:
            await anyio.sleep(0.02)
    upload = await registry.uploads.find(upload.id, WHERE, WHO)
    assert (await registry.uploads.finish(upload, Digest.of(b"content"))).key == done.key


@pytest.mark.parametrize("last", [False, True], ids=["chunk", "last request"])
async def test_a_claim_that_is_cut_off_is_given_back(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, *, last: bool
) -> None:
    """The database may have taken it all the same, while whoever waited for the answer is gone."""
    upload = await registry.uploads.start(WHERE, WHO)
    real, at_once = registry.database.transaction, registry.database.execute

    @asynccontextmanager
    async def transaction(**options: Any) -> AsyncIterator[Any]:
        async with real(**options) as tx:
            yield tx
        monkeypatch.undo()
        raise asyncio.CancelledError

    async def execute(statement: Any, /, **parameters: Any) -> int:
        await at_once(statement, **parameters)
        monkeypatch.undo()
        raise asyncio.CancelledError

    monkeypatch.setattr(registry.database, "transaction", transaction)
    monkeypatch.setattr(registry.database, "execute", execute)
    with pytest.raises(asyncio.CancelledError):
        await registry.uploads._claim(upload, None, Digest.of(b"x") if last else None)
    assert (await state_of(registry, upload))[:2] == (0, None)


@pytest.mark.parametrize("step", ["read_upload", "commit"])
async def test_a_claim_does_not_end_while_bytes_are_hashed_or_made_durable(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"content"))
    renewing = Uploads(registry.database, registry.storage, lease=1)
    began, gate = anyio.Event(), anyio.Event()
    commit, read = registry.storage.commit, registry.storage.read_upload

    async def slow_commit(*arguments: Any) -> str:
        began.set()
        await gate.wait()
        return await commit(*arguments)

    async def slow_read(*arguments: Any) -> AsyncIterator[bytes]:
        began.set()
        await gate.wait()
        async for piece in read(*arguments):
            yield piece

    monkeypatch.setattr(registry.storage, step, slow_commit if step == "commit" else slow_read)
    done: list[Any] = []

    async def first() -> None:
        done.append(await renewing.finish(upload, Digest.of(b"content")))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await began.wait()
        begun = (await state_of(registry, upload))[2]
        with anyio.fail_after(20):
            while (await state_of(registry, upload))[2] < begun + 2 * module.SECOND:
                await anyio.sleep(0.02)
        gate.set()
    assert (await state_of(registry, upload))[1] == done[0].claimant
    assert list(renewing._beside) == [done[0].claimant], "until the rows are written"
    async with registry.database.transaction() as tx:
        await renewing.remove(tx, done[0])
    assert not renewing._beside


async def test_whoever_was_overtaken_takes_nothing_along(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    done = await registry.uploads.finish(upload, Digest.of(b"content"), chunks(b"content"), length=7)
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(leased_until=0))
    again = await another_process(registry).append(upload, chunks(b"con"))
    with pytest.raises(RangeInvalid):
        async with registry.database.transaction() as tx:
            await registry.uploads.remove(tx, done)
    await registry.uploads.refuse(upload, done)
    await registry.uploads.keep(done)
    assert await registry.uploads.find(upload.id, WHERE, WHO) == again
    assert (await registry.uploads.finish(again, Digest.of(b"content"), chunks(b"tent"), start=3)).size == 7


# ---- small blobs that come whole with the last request ----


class Watched:
    """Which of the two ways a storage was asked to go."""

    def __init__(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ways: list[str] = []
        for name in ("put", "commit"):
            monkeypatch.setattr(registry.storage, name, self._watched(name, getattr(registry.storage, name)))

    def _watched(self, name: str, real: Any) -> Any:
        async def call(*arguments: Any) -> Any:
            self.ways.append(name)
            return await real(*arguments)

        return call


@pytest.fixture
def watched(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(registry, monkeypatch)


async def test_a_small_blob_is_put_in_one_call_whatever_it_is_hashed_with(registry: Registry, watched: Watched) -> None:
    for number, algorithm in enumerate(("sha256", "sha512")):
        data = bytes([number]) * 1_000_000
        upload = await registry.uploads.start(WHERE, WHO)
        done = await registry.uploads.finish(
            upload, Digest.of(data, algorithm), chunks(data[:1], data[1:]), length=len(data)
        )
        assert (done.size, done.digest.algorithm) == (len(data), algorithm)
        assert await content(registry, done.key) == data
        async with registry.database.transaction() as tx:
            await registry.uploads.remove(tx, done)
        with pytest.raises(BlobUploadUnknown):
            await registry.uploads.find(upload.id, WHERE, WHO)
    assert watched.ways == ["put", "put"]
    assert registry.uploads._held == 0


@pytest.mark.parametrize("case", ["begun", "large", "unannounced", "many"])
async def test_other_blobs_go_piece_by_piece(registry: Registry, watched: Watched, case: str) -> None:
    data = b"x" * (module.LARGEST_PIECE + 1 if case == "large" else 100_000)
    upload = await registry.uploads.start(WHERE, WHO)
    if case == "begun":
        upload = await registry.uploads.append(upload, chunks(data[:1]))
    if case == "many":
        registry.uploads._held = module.BUDGET - 99_999
    rest = data[upload.received :]
    length = None if case == "unannounced" else len(rest)
    done = await registry.uploads.finish(upload, Digest.of(data), chunks(rest), length=length)
    assert await content(registry, done.key) == data
    assert watched.ways == ["commit"]


async def test_a_wrong_digest_of_a_small_blob_leaves_nothing(registry: Registry, watched: Watched) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    with pytest.raises(DigestInvalid, match=str(Digest.of(b"abc"))):
        await registry.uploads.finish(upload, Digest.of(b"abd"), chunks(b"abc"), length=3)
    assert watched.ways == ["put"]
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(upload.id, WHERE, WHO)
    assert [each async for each in registry.storage.uploads()] == []
    assert [each async for each in registry.storage.list()] == []


@pytest.mark.parametrize("way", ["less", "more", "gone"])
async def test_a_small_blob_that_is_not_what_was_announced_is_kept_as_far_as_it_came(
    registry: Registry, watched: Watched, way: str
) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    pieces = {
        "less": chunks(b"a" * 10, b"b" * 70_000),
        "more": chunks(b"a" * 10, b"b" * 70_000, b"c" * 10_000, b"d"),
        "gone": broken(b"a" * 10, b"b" * 70_000),
    }[way]
    sent = b"a" * 10 + b"b" * 70_000 + (b"c" * 10_000 + b"d" if way == "more" else b"")
    with pytest.raises(Gone if way == "gone" else SizeInvalid):
        await registry.uploads.finish(upload, Digest.of(sent), pieces, length=75_000)
    assert watched.ways == []
    assert registry.uploads._held == 0
    found = await registry.uploads.find(upload.id, WHERE, WHO)
    assert found.received == len(sent)
    assert (await state_of(registry, upload))[1] is None, "and nobody holds it"
    done = await registry.uploads.finish(found, Digest.of(sent + b"z"), chunks(b"z"), start=len(sent), length=1)
    assert await content(registry, done.key) == sent + b"z"


async def test_a_second_writer_gets_416_while_a_small_blob_comes(registry: Registry) -> None:
    data = b"a" * 2000
    upload = await registry.uploads.start(WHERE, WHO)
    gate = anyio.Event()
    committed: list[Any] = []

    async def first() -> None:
        pieces = slowly(gate, data[:1000], data[1000:])
        committed.append(await registry.uploads.finish(upload, Digest.of(data), pieces, length=2000))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await claimed(registry, upload)
        for other in (registry.uploads, another_process(registry)):
            with pytest.raises(RangeInvalid, match="another request is writing"):
                await other.finish(upload, Digest.of(b"b"), chunks(b"b"), length=1)
            with pytest.raises(RangeInvalid, match="another request is writing"):
                await other.append(upload, chunks(b"b"), length=1)
        gate.set()
    assert await content(registry, committed[0].key) == data


async def test_a_request_that_is_cut_off_while_a_small_blob_comes_gives_the_upload_up(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    never = anyio.Event()
    task = asyncio.create_task(registry.uploads.finish(upload, Digest.of(b"ab"), slowly(never, b"a", b"b"), length=2))
    await claimed(registry, upload)
    task.cancel()
    await asyncio.wait([task])
    assert registry.uploads._held == 0
    assert (await state_of(registry, upload))[:2] == (0, None)
    done = await registry.uploads.finish(upload, Digest.of(b"ab"), chunks(b"a", b"b"), length=2)
    assert done.size == 2


async def test_a_small_blob_that_comes_slowly_is_still_its_senders(registry: Registry) -> None:
    """The lease is looked at before the bytes are stored: somebody else may have taken the upload over meanwhile."""
    hasty = Uploads(registry.database, registry.storage, lease=0)
    upload = await hasty.start(WHERE, WHO)
    gate = anyio.Event()

    async def first() -> None:
        with pytest.raises(RangeInvalid, match="taken over"):
            await hasty.finish(upload, Digest.of(b"ab"), slowly(gate, b"a", b"b"), length=2)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await claimed(registry, upload)
        await anyio.sleep(0.01)
        done = await registry.uploads.finish(upload, Digest.of(b"cd"), chunks(b"cd"), length=2)
        gate.set()
    async with registry.database.transaction() as tx:
        await registry.uploads.remove(tx, done)
    assert [each.key async for each in registry.storage.list()] == [done.key]


async def test_a_full_disk_leaves_a_small_upload_at_its_beginning(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await registry.uploads.start(WHERE, WHO)

    async def full(*arguments: Any) -> str:
        message = "no room left"
        raise StorageFull(message)

    with monkeypatch.context() as patch:
        patch.setattr(registry.storage, "put", full)
        with pytest.raises(StorageFull):
            await registry.uploads.finish(upload, Digest.of(b"abc"), chunks(b"abc"), length=3)
    assert registry.uploads._held == 0
    assert (await state_of(registry, upload))[:2] == (0, None)
    done = await registry.uploads.finish(upload, Digest.of(b"abc"), chunks(b"abc"), length=3)
    assert await content(registry, done.key) == b"abc"


async def test_a_small_blob_larger_than_the_limit_is_refused(registry: Registry) -> None:
    strict = Uploads(registry.database, registry.storage, limit=1000)
    upload = await strict.start(WHERE, WHO)
    with pytest.raises(SizeInvalid, match="limited to 1000"):
        await strict.finish(upload, Digest.of(b"x" * 1001), chunks(b"x" * 1001), length=1001)


async def test_a_crash_after_a_small_blob_is_stored_lets_the_client_close_it_again(registry: Registry) -> None:
    """Its bytes are there, its row too: what was said about it is lost, and it can be said once more."""
    upload = await registry.uploads.start(WHERE, WHO)
    first = await registry.uploads.finish(upload, Digest.of(b"x"), chunks(b"x"), length=1)  # ... and no rows
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(leased_until=0))
    again = await another_process(registry).find(upload.id, WHERE, WHO)
    done = await another_process(registry).finish(again, Digest.of(b"x"), chunks(b"x"), length=1)
    assert done.key == first.key
    assert await content(registry, done.key) == b"x"


async def test_pieces_shrink_when_many_receive(registry: Registry) -> None:
    registry.uploads._receiving = 1000

    async def small() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 16384

    sizes = [len(piece) async for piece in registry.uploads._pieces(small())]
    assert max(sizes) <= module.SMALLEST_PIECE + 16384
    registry.uploads._receiving = 1
    sizes = [len(piece) async for piece in registry.uploads._pieces(small())]
    assert module.LARGEST_PIECE - module.FRAMES <= max(sizes) <= module.LARGEST_PIECE


async def test_the_largest_piece_goes_on_as_it_came_with_or_without_the_frames_of_chunks(registry: Registry) -> None:
    registry.uploads._receiving = 1
    for size in (module.LARGEST_PIECE, module.LARGEST_PIECE - module.FRAMES):
        whole = bytes(size)
        pieces = [piece async for piece in registry.uploads._pieces(chunks(whole, whole))]
        assert [piece is whole for piece in pieces] == [True, True]  # nothing was joined, and so copied
