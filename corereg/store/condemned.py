"""Bytes that are being deleted, and how pushes keep out of their way.

A push and the collector must not pass one another: the push would say "stored" of bytes that are deleted a moment
later. So each puts up a flag before it looks for the other's, both under one lock by digest. The push writes the digest
into its upload (``uploads.committing``), and goes on only when no row of `condemned` has it; the collector writes such
a row, and goes on only when no upload has the flag. The bytes are deleted after that, then the row.

The row is a lease. The collector deletes nothing when it has ended; whoever meets it later takes it over and ends the
work. A row goes only with the lease it was deleted under: one who took it over may still be deleting.

What a storage refuses to delete (a bucket of objects that stay, an immutable file, a right that is missing) must not
keep its digest from being pushed for ever: the bytes are there, and whole. So a deletion that failed is noted in its
row (`usable`), and once the lease has ended a push lets go of the row instead of trying to delete in its turn. The
bytes are an orphan then, which the push uses or writes over. Nothing deletes them behind its back. A failure may be an
answer that was lost, so the lease ends `MARGIN` after it; by then whatever was sent has arrived, which is all that
anybody relies on who takes a lease over. And whoever takes it over at the same moment changes the lease, while a push
lets go only of the one that it has seen. The next collection tries again: it finds the row, or the orphan. Bytes that
are known to be corrupt (`corereg.care.repair`) are never let go of: they have to be deleted first.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.database import Database, Query, Transaction, now
from corereg.store.schema import blob_links, blobs, collector_holds, condemned, uploads
from corereg.store.storage import BLOBS, STAYING, Stat, Storage, StorageUnavailable

SECOND = 1_000_000
LEASE = 120 * SECOND
"""Microseconds one batch may take to be deleted; so long pushes of its digests are put off when its process dies."""
MARGIN = 60 * SECOND
"""No deletion begins so shortly before the lease ends, and none that failed is repeated so soon: it would still be
under way."""
LONGEST = LEASE + MARGIN
"""No lease lies further ahead, however the clocks of nodes differ. One that does was made while a clock was wrong, and
has ended: it would keep everybody away for as long as that clock was ahead.
"""
LONGEST_HOLD = 7 * 86400 * SECOND
"""Microseconds that a hold of the collector may last; what lies further ahead is none, as above."""
ONE = 15 * SECOND
"""Microseconds one deletion may take to begin: a push that ends what somebody left takes no longer lease than that."""
PATIENCE = 10.0
"""Seconds a push waits for the deletion of the bytes it brings."""

CORRUPT, LEFT = 0, 1
"""`condemned.usable`: never to be used, and left as it was by a deletion that failed."""

OF_DIGEST = Query(
    sa.select(condemned.c.storage_key, condemned.c.leased_until, condemned.c.usable).where(
        condemned.c.digest == bindparam("digest")
    )
)
_ended = sa.or_(
    condemned.c.leased_until < bindparam("at"),
    condemned.c.leased_until > bindparam("at", type_=sa.BigInteger) + sa.literal_column(str(LONGEST)),
)
_mine = sa.and_(condemned.c.storage_key == bindparam("key"), condemned.c.leased_until == bindparam("lease"))
DROP = Query(sa.delete(condemned).where(_mine))
GIVE_UP = Query(
    sa.update(condemned)
    .where(_mine)
    .values(
        leased_until=bindparam("until"),
        usable=sa.func.coalesce(condemned.c.usable, sa.literal_column(str(LEFT), sa.Integer)),
    )
)
UNUSED_BLOB = Query(
    sa.delete(blobs).where(
        blobs.c.digest == bindparam("digest_"),
        blobs.c.created_at < bindparam("before"),
        blobs.c.used_at < bindparam("before"),
        ~sa.exists().where(blob_links.c.digest == blobs.c.digest),
        ~sa.exists().where(uploads.c.committing == blobs.c.digest),
    )
)
CONDEMN = Query(
    sa.insert(condemned).values(
        storage_key=bindparam("key"),
        digest=bindparam("digest"),
        leased_until=bindparam("until"),
        usable=bindparam("usable"),
    )
)
holds = sa.and_(
    collector_holds.c.until > bindparam("at"),
    collector_holds.c.until <= bindparam("at", type_=sa.BigInteger) + sa.literal_column(str(LONGEST_HOLD + MARGIN)),
)
"""Whether a row of `collector_holds` holds anything ``:at`` that time."""
HELD = Query(sa.select(collector_holds.c.name).where(holds).limit(1))
KNOWN_BLOB = Query(sa.select(blobs.c.storage_key).where(blobs.c.digest == bindparam("digest")))
KNOWN_KEY = Query(sa.select(condemned.c.storage_key).where(condemned.c.storage_key == bindparam("key")))
COMMITTING = Query(sa.select(uploads.c.id).where(uploads.c.committing == bindparam("digest")))
# A process that died while it committed, or is so slow that its lease has ended: it will find that its claim is gone.
FENCE = Query(
    sa.update(uploads)
    .where(uploads.c.committing == bindparam("digest"), uploads.c.leased_until < bindparam("at"))
    .values(writer=sa.null(), committing=sa.null())
)
EXPIRED = Query(sa.select(condemned.c.storage_key, condemned.c.digest).where(_ended).limit(100))
TAKE = Query(
    sa.update(condemned)
    .where(condemned.c.storage_key == bindparam("key"), _ended)
    .values(leased_until=bindparam("until"))
)


class Doomed(msgspec.Struct, frozen=True):
    """Bytes that this process may delete before `until`."""

    key: str
    digest: str | None
    until: int


def blob_lock(digest: str) -> str:
    """The name of the lock under which a push and the collector look for one another."""
    return f"corereg blob {digest}"


HOLD_LOCK = "corereg collector hold"
"""Held while blobs are condemned and while a hold is put up: after that nothing is condemned before it ends."""


def digest_of(key: str) -> str | None:
    """The digest that a key is made of: ``docker/registry/v2/blobs/sha256/ab/ab12.../data`` -> ``sha256:ab12...``."""
    parts = key.removeprefix(BLOBS).split("/") if key.startswith(BLOBS) else []
    if len(parts) != 4 or parts[3] != "data" or not parts[2].startswith(parts[1]) or not key.isascii():
        return None
    return f"{parts[0]}:{parts[2]}"


def upload_of(key: str) -> str | None:
    """The upload that left a blob at a key of its own: ``corereg/blobs/<upload id>/...``; None for other keys."""
    return key.removeprefix(STAYING).partition("/")[0] if key.startswith(STAYING) else None


class Condemned:
    """Condemn, delete, and wait until it is done."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self.database = database
        self.storage = storage

    # ---- the collector's side ----

    async def condemn(self, tx: Transaction, candidates: Sequence[tuple[str, str]], before: int) -> list[Doomed]:
        """Inside `tx`: of the blobs (digest, storage key) those that nobody serves, commits or used since `before`.

        Their rows are gone with the transaction; the caller deletes the bytes. None while a hold is up.
        """
        at = now()
        found: list[Doomed] = []
        if await self._held(tx, at):
            return found
        for digest, key in sorted(candidates):
            await self.database.lock(tx, blob_lock(digest))
            await tx.execute(FENCE, digest=digest, at=at)
            if await tx.execute(UNUSED_BLOB, digest_=digest, before=before):
                await tx.execute(CONDEMN, key=key, digest=digest, until=at + LEASE, usable=None)
                found.append(Doomed(key, digest, at + LEASE))
        return found

    async def condemn_orphan(self, tx: Transaction, key: str) -> Doomed | None:
        """Inside `tx`: bytes that no row knows; None when one does, or an upload is about to, or a hold is up."""
        at = now()
        digest = digest_of(key)
        if await self._held(tx, at):
            return None
        await self.database.lock(tx, blob_lock(digest or key))
        if digest is not None:
            await tx.execute(FENCE, digest=digest, at=at)
        # In this order: an upload that has gone since the first question has its blob's row before the second.
        if await self._arriving(tx, key, digest) or await self._known(tx, key, digest):
            return None
        await tx.execute(CONDEMN, key=key, digest=digest, until=at + LEASE, usable=None)
        return Doomed(key, digest, at + LEASE)

    async def _held(self, tx: Transaction, at: int) -> bool:
        await self.database.lock(tx, HOLD_LOCK)
        return await tx.row(HELD, at=at) is not None

    async def _arriving(self, tx: Transaction, key: str, digest: str | None) -> bool:
        """Whether an upload may be about to record these bytes."""
        if digest is not None:
            return await tx.row(COMMITTING, digest=digest) is not None
        # The upload that has left them there: its commit may be under way, or be repeated.
        upload = upload_of(key)
        return upload is not None and await tx.row(sa.select(uploads.c.id).where(uploads.c.id == upload)) is not None

    async def _known(self, tx: Transaction, key: str, digest: str | None) -> bool:
        if await tx.row(KNOWN_KEY, key=key) is not None:
            return True
        if digest is not None:
            known = await tx.row(KNOWN_BLOB, digest=digest)
            return known is not None and known[0] == key
        return await tx.row(sa.select(blobs.c.digest).where(blobs.c.storage_key == key, _elsewhere())) is not None

    async def delete(self, doomed: Doomed, *, younger_than: int | None = None) -> int | None:
        """Delete the bytes; how many there were, or None when they were left: the lease is near its end, or, with
        `younger_than`, they have been written since.
        """
        if not _lasts(doomed.until - MARGIN):
            return None
        try:
            stat = await self.storage.stat(doomed.key)
            if stat is not None and younger_than is not None and _written(stat) >= younger_than:
                size = None
            elif not _lasts(doomed.until - MARGIN):
                return None
            else:
                await self.storage.delete(doomed.key)
                size = stat.size if stat is not None else 0
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.database.execute(GIVE_UP, key=doomed.key, lease=doomed.until, until=now() + MARGIN)
            raise
        await self.database.execute(DROP, key=doomed.key, lease=doomed.until)
        return size

    async def expired(self) -> list[Doomed]:
        """Some of what processes left that died over it, now this one's."""
        found = []
        for key, digest in await self.database.rows(EXPIRED, at=now()):
            at = now()
            if await self.database.execute(TAKE, key=key, at=at, until=at + LEASE):
                found.append(Doomed(key, digest, at + LEASE))
        return found

    # ---- the push's side ----

    async def gone(self, digest: str) -> None:
        """Return when no bytes of that digest are being deleted any more. Raises StorageUnavailable after a while."""
        with anyio.move_on_after(PATIENCE):
            while rows := await self.database.rows(OF_DIGEST, digest=digest):
                for key, until, usable in rows:
                    at = now()
                    lease = at + MARGIN + ONE
                    if _lasts(until):
                        continue
                    if usable == LEFT:
                        await self.database.execute(DROP, key=key, lease=until)
                    elif await self.database.execute(TAKE, key=key, at=at, until=lease):
                        await self.delete(Doomed(key, digest, lease))
                await anyio.sleep(0.02)
            return
        message = (
            f"{digest} is just being removed from the storage by the garbage collection; push it again in a moment."
        )
        raise StorageUnavailable(message)

    async def key_of(self, tx: Transaction, digest: str) -> str | None:
        """Inside `tx`: bytes of that digest that are being deleted, or None; what could not be deleted is let go of."""
        for key, until, usable in await tx.rows(OF_DIGEST, digest=digest):
            if usable != LEFT or _lasts(until) or not await tx.execute(DROP, key=key, lease=until):
                return str(key)
        return None


def _lasts(until: int) -> bool:
    """Whether a lease has not ended."""
    at = now()
    return at < until <= at + LONGEST


def _written(stat: Stat) -> float:
    """When the bytes were written, in microseconds since 1970; long ago where the storage does not know."""
    return 0 if stat.modified is None else stat.modified * SECOND


def _elsewhere() -> sa.ColumnElement[bool]:
    """The words of the index over keys that are not made of a digest."""
    return sa.literal_column("substr(storage_key, 1, 8)") == sa.literal_column("'corereg/'")
