"""The upload state machine: started -> receiving -> committed | cancelled | expired.

State lies in the database, bytes in the storage. One request at a time may write to an upload: it claims the row (a
lease, so that a process that died gives it up by itself), streams, and writes back how far it came. A second writer
gets 416.

The claim is renewed for as long as the bytes are hashed and made durable. When the rows cannot be written after that,
the upload's own row remembers where the bytes lie: the repeated request only has to write the rows.

The hash runs beside the bytes and stays in the process that computed it. A process that did not see every byte reads
them again when the upload is closed. Memory is bounded: all transfers of a process share `BUDGET` bytes of pieces, and
as many of small blobs that come whole with the last request: those are gathered, and hashed and stored in one go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

import anyio
import msgspec

from corereg.oci.digest import Digest
from corereg.oci.errors import BlobUploadUnknown, DigestInvalid, RangeInvalid, SizeInvalid
from corereg.store.condemned import OF_DIGEST, Condemned, blob_lock
from corereg.store.database import Database, DatabaseError, DatabaseFull, Transaction, now
from corereg.store.gathering import Gathered, check, wrong
from corereg.store.pieces import Receipt, RunningHash, keep
from corereg.store.repeated import Repeated
from corereg.store.storage import KeyMissing, Storage, StorageError, StorageFull, Writer
from corereg.store.threads import Threads
from corereg.store.upload_rows import (
    ANNOUNCE,
    CLAIM,
    CLOCKS,
    EXPIRE,
    EXPIRED,
    EXTEND,
    FIND,
    INSERT,
    KEEP,
    RELEASE,
    REMOVE,
    REMOVE_CLAIMED,
    Committed,
    Purged,
    Stored,
    Upload,
    encode,
    upload_of,
)

log = logging.getLogger(__name__)

SECOND = 1_000_000
BUDGET = 8 * 1024 * 1024
LARGEST_PIECE = 1024 * 1024
SMALLEST_PIECE = 64 * 1024
FRAMES = 64 * 1024
"""Bytes that the largest piece may lack: a server reads a mebibyte, and takes the frames of chunks out of it."""
KEEPERS = 8
"""Threads that hash, and write where a writer lets them: several, for a disk makes some of them wait."""
HASHES_KEPT = 4096
AGAIN = 2.0
"""Seconds for, and between, tries to give a claim back while the database is away."""


class Uploads:
    """All uploads of one registry."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        lease: int = 30,
        expire: int = 7 * 86400,
        limit: int | None = None,
    ) -> None:
        self.database = database
        self.storage = storage
        self.limit = limit
        self._condemned = Condemned(database, storage)
        self._lease = lease * SECOND
        self._expire = expire * SECOND
        self._hashes: OrderedDict[str, RunningHash] = OrderedDict()
        self._threads = Threads(KEEPERS, "keep")
        self._beside: dict[str, Repeated] = {}
        """What is done for each claimant beside its last request."""
        self._receiving = 0
        self._held = 0
        """Bytes of bodies that are held whole, at most `BUDGET`."""
        self._process = f"{os.getpid()}-{secrets.token_hex(4)}"

    async def start(self, repository: str, subject: str, algorithm: str = "sha256") -> Upload:
        """A new upload of 0 bytes, whose content will be hashed with `algorithm`."""
        upload = str(uuid.uuid4())
        state = dict(await self.storage.begin(upload))
        await self.database.execute(
            INSERT,
            id=upload,
            repository=repository,
            subject=subject,
            algorithm=algorithm,
            state=encode(state),
            at=now(),
        )
        return Upload(upload, repository, subject, algorithm, 0, state)

    async def find(self, upload: str, repository: str, subject: str) -> Upload:
        """The upload, for the one who began it, in the repository it was begun for; else raises BlobUploadUnknown."""
        row = await self.database.row(FIND, id=upload)
        if row is None or row[1] != repository or row[2] != subject:
            raise BlobUploadUnknown
        return upload_of(row)

    async def append(
        self, upload: Upload, chunks: AsyncIterator[bytes], *, start: int | None = None, length: int | None = None
    ) -> Upload:
        """Append `chunks`. `start` is where the client says they begin (None: at the end), `length` how many bytes it
        promised. What arrived before a failure is kept, so that the client can go on from there.

        Raises RangeInvalid (416) for a wrong start or a second writer, SizeInvalid for a broken promise.
        """
        if upload.stored is not None:
            message = "all bytes of this upload are stored; close it with their digest"
            raise RangeInvalid(message)
        claimant = await self._claim(upload, start)
        return await self._receive(upload, claimant, chunks, length=length)

    async def finish(
        self,
        upload: Upload,
        digest: Digest,
        chunks: AsyncIterator[bytes] | None = None,
        *,
        start: int | None = None,
        length: int | None = None,
    ) -> Committed:
        """Append the last chunk, if there is one, check the digest and make the bytes durable.

        The caller writes the rows, `remove` among them, in its transaction; when it cannot, it says so with `refuse` or
        `keep`. A wrong digest raises DigestInvalid, and the upload is gone.
        """
        if upload.stored is not None:
            return await self._finish_stored(upload, upload.stored, digest, chunks)
        claimant = await self._claim(upload, start, digest)
        claimed = now()
        if chunks is not None and length != 0:
            if length is not None and self._may_hold(upload, length):
                self._held += length
                try:
                    body = await self._gather(upload, claimant, chunks, length)
                    if body.whole:
                        put = self._put(upload, digest, claimant, claimed, body.joined())
                        return await self._finished(upload, digest, claimant, length, put)
                finally:
                    self._held -= length
                chunks = body.again()
            upload = await self._receive(upload, claimant, chunks, length=length, keep_claim=True)
        commit = self._commit(upload, digest, claimant, claimed)
        return await self._finished(upload, digest, claimant, upload.received, commit)

    async def _finish_stored(
        self, upload: Upload, stored: Stored, digest: Digest, chunks: AsyncIterator[bytes] | None
    ) -> Committed:
        """The last request once more: its rows could not be written the first time. What it brings is there already."""
        left = upload.received
        if chunks is not None:
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    message = f"all {upload.received} bytes of this upload are stored, and more came"
                    raise SizeInvalid(message)
        claimant = await self._claim(upload, None, digest)
        return await self._finished(upload, digest, claimant, upload.received, self._found(upload, stored, digest))

    async def _found(self, upload: Upload, stored: Stored, digest: Digest) -> str:
        """The key of stored bytes. Long after their grace period the collector may have taken them."""
        if str(digest) != stored.digest:
            raise wrong(stored.digest, digest)
        stat = await self.storage.stat(stored.key)
        if stat is None or stat.size != upload.received:
            message = f"{stored.key} is no longer there"
            raise KeyMissing(message)
        return stored.key

    async def _finished(
        self, upload: Upload, digest: Digest, claimant: str, size: int, durable: Awaitable[str]
    ) -> Committed:
        """What was committed, once `durable` has said where it lies; else the claim is given back.

        However long that takes, the claim does not end: it is renewed until the caller writes the rows.
        """
        self._beside[claimant] = Repeated(partial(self._renew, upload.id, claimant), max(self._lease / 3 / SECOND, 0.1))
        key: str | None = None
        try:
            key = await durable
        except KeyMissing:
            # A crash between the commit of the bytes and of the rows left the row behind, or what was stored has been
            # collected since: start again.
            await self._discard(upload)
            raise BlobUploadUnknown from None
        except DigestInvalid:
            await self._discard(upload)
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._release(upload, claimant)
            raise
        finally:
            if key is None:
                self._leave(claimant)
        self._hashes.pop(upload.id, None)
        return Committed(upload.id, digest, size, key, claimant)

    async def _commit(self, upload: Upload, digest: Digest, claimant: str, claimed: int) -> str:
        found = await self._digest(upload, digest.algorithm)
        if found != digest:
            raise wrong(found, digest)
        await self._hold(upload, claimant, claimed)
        return await self.storage.commit(upload.id, upload.state, upload.received, str(digest))

    async def _put(self, upload: Upload, digest: Digest, claimant: str, claimed: int, data: bytes) -> str:
        """The whole blob at once: the storage looks at the digest on the way, in the thread that writes."""
        await self._hold(upload, claimant, claimed)
        return await self.storage.put(upload.id, upload.state, data, str(digest), partial(check, data, digest))

    async def _hold(self, upload: Upload, claimant: str, claimed: int) -> None:
        if now() - claimed > self._lease // 3:
            await self._extend(upload.id, claimant)

    # ---- small blobs, held whole ----

    def _may_hold(self, upload: Upload, length: int) -> bool:
        """Whether a body of `length` bytes, the first of its upload, is small enough to be gathered before it is
        written, with all others that are being gathered.
        """
        small = length <= (LARGEST_PIECE if self.limit is None else min(self.limit, LARGEST_PIECE))
        return small and upload.received == 0 and self._held + length <= BUDGET

    async def _gather(self, upload: Upload, claimant: str, chunks: AsyncIterator[bytes], length: int) -> Gathered:
        body = Gathered(length)
        try:
            await body.take(chunks)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._release(upload, claimant)
            raise
        return body

    async def remove(self, tx: Transaction, committed: Committed) -> None:
        """The upload has become a blob: forget it, inside the transaction that records the blob."""
        self._leave(committed.claimant)
        if not await tx.execute(REMOVE_CLAIMED, upload=committed.upload, claimant=committed.claimant):
            raise RangeInvalid

    async def refuse(self, upload: Upload, committed: Committed) -> None:
        """The blob is not wanted: forget the upload, unless another request has taken it over."""
        self._leave(committed.claimant)
        if await self.database.execute(REMOVE_CLAIMED, upload=upload.id, claimant=committed.claimant):
            await self._abort(upload)

    async def keep(self, committed: Committed) -> None:
        """The rows could not be written: give the claim back, and remember where the bytes lie, so that the request can
        be repeated. While the database is away that is tried again beside everything else.
        """
        self._leave(committed.claimant)
        self._beside[committed.claimant] = Repeated(partial(self._keep, committed), AGAIN)
        with anyio.move_on_after(AGAIN, shield=True), suppress(DatabaseError):
            await self._keep(committed)

    async def _keep(self, committed: Committed) -> bool:
        at = now()
        await self.database.execute(
            KEEP,
            upload=committed.upload,
            claimant=committed.claimant,
            size=committed.size,
            digest=str(committed.digest),
            key=committed.key,
            at=at,
            until=at + self._lease,
        )
        self._leave(committed.claimant)
        return False

    async def cancel(self, upload: Upload) -> None:
        """Forget the upload and its bytes. A request that is still writing to it will find nothing to write back to."""
        await self._discard(upload)

    async def purge(self, orphan_age: float = 3600.0) -> Purged:
        """Drop uploads untouched for longer than the config allows, and bytes no row knows of that are older than
        `orphan_age` seconds. What the storage refuses to remove is tried again the next time.
        """
        dropped = left = 0
        old = now() - self._expire
        for row in await self.database.rows(EXPIRED, old=old, **self.moment()):
            dropped += await self._expired(upload_of(row), old)
        async for stat in self.storage.uploads():
            if stat.modified is not None and stat.modified * SECOND > now() - orphan_age * SECOND:
                continue
            if await self.database.row(FIND, id=stat.key) is not None:
                continue
            try:
                await self.storage.abort(stat.key, {})
            except StorageError as error:
                log.warning("the bytes of the upload %s, which no row knows, are left: %s", stat.key, error)
                left += 1
            else:
                dropped += 1
        return Purged(dropped, left)

    async def _expired(self, upload: Upload, old: int) -> bool:
        """Drop the upload, unless somebody went on with it since it was looked for: its turn may come minutes later."""
        if not await self.database.execute(EXPIRE, upload=upload.id, old=old, **self.moment()):
            return False
        await self._abort(upload)
        return True

    def close(self) -> None:
        """Let the threads end, and what is done beside the requests."""
        for claimant in list(self._beside):
            self._leave(claimant)
        self._threads.close()

    # ---- claim, receive, release ----

    async def _claim(self, upload: Upload, start: int | None, digest: Digest | None = None) -> str:
        """Claim the upload, with `digest` for its last request: then no bytes of that digest are being deleted."""
        claimant = f"{self._process}-{secrets.token_hex(4)}"
        if start is not None and start != upload.received:
            raise self._out_of_order(upload, start)
        moment = self.moment()
        claim = {
            "upload": upload.id,
            "expected": upload.received,
            "stored": upload.stored.digest if upload.stored is not None else None,
            "claimant": claimant,
            "until": moment["at"] + self._lease,
            **moment,
        }
        try:
            if digest is None:
                claimed = await self.database.execute(CLAIM, **claim)
            else:
                claimed = await self._announce(str(digest), claim)
        except asyncio.CancelledError:  # perhaps after the commit: then it is ours, and nobody would know
            with anyio.CancelScope(shield=True), suppress(DatabaseError):
                await self._release(upload, claimant)
            raise
        if not claimed:
            message = "another request is writing to this upload; ask for its status and go on from there"
            raise RangeInvalid(message)
        return claimant

    def moment(self) -> dict[str, int]:
        """Now, and the latest that a lease given by now may end: what `ENDED` asks for."""
        at = now()
        return {"at": at, "beyond": at + self._lease + CLOCKS}

    async def _announce(self, digest: str, claim: Mapping[str, Any]) -> int:
        if claimed := await self._announced(digest, claim):
            return claimed
        if await self.database.row(OF_DIGEST, digest=digest) is None:
            return 0
        await self._condemned.gone(digest)
        return await self._announced(digest, claim)

    async def _announced(self, digest: str, claim: Mapping[str, Any]) -> int:
        if self.database.dialect == "sqlite":  # whoever writes is alone there
            return await self.database.execute(ANNOUNCE, digest=digest, **claim)
        async with self.database.transaction(durable=False) as tx:
            await self.database.lock(tx, blob_lock(digest))
            return await tx.execute(ANNOUNCE, digest=digest, **claim)

    @staticmethod
    def _out_of_order(upload: Upload, start: int) -> RangeInvalid:
        return RangeInvalid(f"the chunk starts at {start}, the upload goes on at {upload.received}")

    async def _renew(self, upload: str, claimant: str) -> bool:
        """Let the lease begin anew; whether it was still ours."""
        at = now()
        return bool(
            await self.database.execute(EXTEND, upload=upload, claimant=claimant, at=at, until=at + self._lease)
        )

    def _leave(self, claimant: str) -> None:
        """Do nothing more beside this claimant's request."""
        if (repeated := self._beside.pop(claimant, None)) is not None:
            repeated.stop()

    async def _extend(self, upload: str, claimant: str) -> None:
        if not await self._renew(upload, claimant):
            message = "this upload was taken over by another request"
            raise RangeInvalid(message)

    async def _release(self, upload: Upload, claimant: str) -> bool:
        """Write back how far the upload came; whether it was still ours."""
        return bool(
            await self.database.execute(
                RELEASE,
                upload=upload.id,
                claimant=claimant,
                count=upload.received,
                new=encode(upload.state),
                at=now(),
            )
        )

    async def _receive(
        self,
        upload: Upload,
        claimant: str,
        chunks: AsyncIterator[bytes],
        *,
        length: int | None,
        keep_claim: bool = False,
    ) -> Upload:
        running = self._resume_hash(upload)
        self._receiving += 1
        receipt = Receipt(upload.received)
        writer: Writer | None = None
        whole = full = False
        known = True
        try:
            writer = await self.storage.writer(upload.id, upload.state, upload.received)
            await self._stream(upload, claimant, chunks, writer, running, receipt)
            if length is not None and receipt.received - upload.received != length:
                message = f"{length} bytes were announced, {receipt.received - upload.received} came"
                raise SizeInvalid(message)
            whole = True
        except KeyMissing:
            await self._discard(upload)
            raise BlobUploadUnknown from None
        except (StorageFull, DatabaseFull):
            full = True
            raise
        finally:
            self._receiving -= 1
            with anyio.CancelScope(shield=True):
                try:
                    if writer is not None:
                        upload = await self._close(writer, upload, receipt, give_back=full)
                except StorageError:
                    whole = False
                    raise
                finally:
                    if not (whole and keep_claim):
                        known = await self._release(upload, claimant)
        if not keep_claim and not known:
            if await self.database.row(FIND, id=upload.id) is None:
                await self._discard(upload)  # cancelled while it was receiving, and its file was opened after that
            raise BlobUploadUnknown
        if running is not None and running.offset == upload.received:
            self._remember(upload.id, running)
        return upload

    async def _close(self, writer: Writer, upload: Upload, receipt: Receipt, *, give_back: bool) -> Upload:
        """The upload with all that its writer took; with nothing of it when the room ran out.

        What was acknowledged before stays. The rest must not fill the disk until the upload expires.
        """
        try:
            state = dict(await writer.close())
        except StorageFull:
            await self._give_back(upload)
            raise
        except KeyMissing:
            await self._discard(upload)
            raise BlobUploadUnknown from None
        if give_back:
            await self._give_back(upload)
            return upload
        return msgspec.structs.replace(upload, received=receipt.received, state=state)

    async def _give_back(self, upload: Upload) -> None:
        """Drop what lies beyond the acknowledged bytes: that is what a writer does when it begins."""
        await (await self.storage.writer(upload.id, upload.state, upload.received)).close()

    async def _stream(
        self,
        upload: Upload,
        claimant: str,
        chunks: AsyncIterator[bytes],
        writer: Writer,
        running: RunningHash | None,
        receipt: Receipt,
    ) -> None:
        """Receive the next piece while the last one is hashed and written."""
        extended = now()
        busy: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._pieces(chunks)) as pieces:
                async for piece in pieces:
                    if busy is not None:
                        await busy
                        busy = None
                    self._check_limit(receipt.received + len(piece))
                    busy = asyncio.create_task(keep(piece, writer, running, receipt))
                    if now() - extended > self._lease // 3:
                        extended = now()
                        await self._extend(upload.id, claimant)
            if busy is not None:
                await busy
                busy = None
        finally:
            if busy is not None:
                with anyio.CancelScope(shield=True):
                    # A thread is at work on the file: no cancellation may close it under its hands.
                    while not busy.done():
                        with suppress(asyncio.CancelledError):
                            await asyncio.wait([busy])
                if not busy.cancelled():
                    busy.exception()  # the first failure is the one that is told

    def _check_limit(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            message = f"blobs here are limited to {self.limit} bytes"
            raise SizeInvalid(message)

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Gather what the server hands over into pieces worth a thread hop, smaller when many are receiving.

        They are joined: the copy costs less than threads that wait for the interpreter after each chunk that they hash
        or write.
        """
        held: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                if not chunk:
                    continue
                held.append(chunk)
                size += len(chunk)
                if size >= max(SMALLEST_PIECE, min(LARGEST_PIECE - FRAMES, BUDGET // (2 * self._receiving))):
                    yield b"".join(held)
                    held, size = [], 0
        except Exception:
            if held:  # the client is gone, what it sent is not
                yield b"".join(held)
            raise
        if held:
            yield b"".join(held)

    # ---- hashes ----

    def _remember(self, upload: str, running: RunningHash) -> None:
        self._hashes[upload] = running
        self._hashes.move_to_end(upload)
        while len(self._hashes) > HASHES_KEPT:
            self._hashes.popitem(last=False)

    def _resume_hash(self, upload: Upload) -> RunningHash | None:
        """The hash over all that was received so far, if this process computed it."""
        running = self._hashes.pop(upload.id, None)
        if running is not None and running.offset == upload.received:
            return running
        return RunningHash(upload.algorithm, self._threads) if upload.received == 0 else None

    async def _digest(self, upload: Upload, algorithm: str) -> Digest:
        running = self._resume_hash(upload)
        if running is None or running.algorithm != algorithm:
            running = RunningHash(algorithm, self._threads)
            async for chunk in self.storage.read_upload(upload.id, upload.state, upload.received):
                await running.update(chunk)
            if running.offset != upload.received:
                message = f"the storage holds {running.offset} of {upload.received} bytes of this upload"
                raise KeyMissing(message)
        return Digest(f"{algorithm}:{running.hash.hexdigest()}")

    async def _discard(self, upload: Upload) -> None:
        with anyio.CancelScope(shield=True):
            await self.database.execute(REMOVE, upload=upload.id)
            await self._abort(upload)

    async def _abort(self, upload: Upload) -> None:
        """Forget the bytes of an upload whose row is gone."""
        self._hashes.pop(upload.id, None)
        with suppress(StorageError):  # bytes without a row are reaped by the next purge
            await self.storage.abort(upload.id, upload.state)
