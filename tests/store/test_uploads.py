"""The upload state machine: who may write, what is kept, who continues."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from corereg import Digest, Registry, StorageFull
from corereg.oci.errors import BlobUploadUnknown, DigestInvalid, RangeInvalid, SizeInvalid
from corereg.store import uploads as module
from corereg.store.schema import uploads as table
from corereg.store.uploads import Upload, Uploads
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


async def test_a_second_writer_gets_416_and_no_byte_is_mixed_in(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    gate, held = anyio.Event(), anyio.Event()

    async def first() -> None:
        done = await registry.uploads.append(upload, slowly(gate, b"a" * 100_000, b"a" * 100_000))
        assert done.received == 200_000
        held.set()

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await anyio.wait_all_tasks_blocked()
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
        await anyio.wait_all_tasks_blocked()
        await registry.uploads.cancel(upload)
        gate.set()
    assert [each async for each in registry.storage.uploads()] == []


async def test_a_full_disk_keeps_what_was_acknowledged(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"kept"))
    real = registry.storage.writer

    async def full(*arguments: Any) -> Any:
        writer = await real(*arguments)

        async def write(data: bytes) -> None:
            message = "no room left"
            raise StorageFull(message) from OSError(errno.ENOSPC, message)

        monkeypatch.setattr(writer, "write", write)
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
    assert await registry.uploads.purge(orphan_age=-1.0) == 2
    assert [each.key async for each in registry.storage.uploads()] == [new.id]
    with pytest.raises(BlobUploadUnknown):
        await registry.uploads.find(old.id, WHERE, WHO)
    assert (await registry.uploads.append(new, chunks(b"er"))).received == 5


async def test_a_crash_between_bytes_and_rows_asks_the_client_to_start_again(registry: Registry) -> None:
    upload = await registry.uploads.start(WHERE, WHO)
    upload = await registry.uploads.append(upload, chunks(b"x"))
    await registry.uploads.finish(upload, Digest.of(b"x"))  # ... and the process dies before the rows
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(leased_until=0))
    again = await another_process(registry).find(upload.id, WHERE, WHO)
    with pytest.raises(BlobUploadUnknown):
        await another_process(registry).finish(again, Digest.of(b"x"))


async def test_pieces_shrink_when_many_receive(registry: Registry) -> None:
    registry.uploads._receiving = 1000

    async def small() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 16384

    sizes = [piece.size async for piece in registry.uploads._pieces(small())]
    assert max(sizes) <= module.SMALLEST_PIECE + 16384
    registry.uploads._receiving = 1
    sizes = [piece.size async for piece in registry.uploads._pieces(small())]
    assert max(sizes) == module.LARGEST_PIECE
