"""What the collector looks for, in small windows, so that a million rows take neither memory nor anybody's time.

Every window is one query over a range of a primary key; the event loop has its turn between two of them. Nothing found
here is sure: whoever takes it away asks once more inside the transaction that does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.condemned import HELD, HOLD_LOCK, digest_of, holds
from corereg.store.database import Database, Query, Transaction, now
from corereg.store.schema import (
    blob_links,
    blobs,
    collector_holds,
    condemned,
    manifest_members,
    manifests,
    repositories,
    tags,
)
from corereg.store.storage import Stat, Storage, shown

WINDOW = 500
"""Rows looked at by one query: a few milliseconds of SQLite's, which run in the event loop."""
SECOND = 1_000_000
FOREIGN = "docker/registry/v2/repositories/"
"""Where CNCF Distribution keeps what it knows of its repositories."""

_last_used = sa.case(
    (blob_links.c.used_at > blob_links.c.created_at, blob_links.c.used_at), else_=blob_links.c.created_at
)
_links = (
    sa.select(blob_links.c.repository_id, blob_links.c.digest, _last_used.label("used"))
    .where(
        sa.tuple_(blob_links.c.repository_id, blob_links.c.digest)
        > sa.tuple_(bindparam("repository_id", type_=sa.BigInteger), bindparam("digest", type_=sa.Text))
    )
    .order_by(blob_links.c.repository_id, blob_links.c.digest)
    .limit(WINDOW)
    .subquery()
)
LINKS = Query(
    sa.select(
        _links.c.repository_id,
        _links.c.digest,
        sa.and_(
            _links.c.used < bindparam("before", type_=sa.BigInteger),
            ~sa.exists().where(
                manifest_members.c.repository_id == _links.c.repository_id,
                manifest_members.c.member == _links.c.digest,
            ),
        ),
        sa.select(blobs.c.size).where(blobs.c.digest == _links.c.digest).scalar_subquery(),
    ).order_by(_links.c.repository_id, _links.c.digest)
)
_blobs = (
    sa.select(blobs.c.digest, blobs.c.size, blobs.c.storage_key, blobs.c.created_at, blobs.c.used_at)
    .where(blobs.c.digest > bindparam("digest", type_=sa.Text))
    .order_by(blobs.c.digest)
    .limit(WINDOW)
    .subquery()
)
BLOBS = Query(
    sa.select(
        _blobs.c.digest,
        _blobs.c.size,
        _blobs.c.storage_key,
        sa.and_(
            _blobs.c.created_at < bindparam("before", type_=sa.BigInteger),
            _blobs.c.used_at < bindparam("before", type_=sa.BigInteger),
            ~sa.exists().where(blob_links.c.digest == _blobs.c.digest),
        ),
    ).order_by(_blobs.c.digest)
)
_manifests = (
    sa.select(
        manifests.c.repository_id,
        manifests.c.digest,
        manifests.c.created_at,
        manifests.c.used_at,
        manifests.c.subject,
    )
    .where(
        sa.tuple_(manifests.c.repository_id, manifests.c.digest)
        > sa.tuple_(bindparam("repository_id", type_=sa.BigInteger), bindparam("digest", type_=sa.Text))
    )
    .order_by(manifests.c.repository_id, manifests.c.digest)
    .limit(WINDOW)
    .subquery()
)
_subject = manifests.alias("subject")
_referrer = manifests.alias("referrer")
MANIFESTS = Query(
    sa.select(
        _manifests.c.repository_id,
        _manifests.c.digest,
        sa.and_(
            _manifests.c.created_at < bindparam("before", type_=sa.BigInteger),
            _manifests.c.used_at < bindparam("before", type_=sa.BigInteger),
            ~sa.exists().where(
                tags.c.repository_id == _manifests.c.repository_id, tags.c.digest == _manifests.c.digest
            ),
            ~sa.exists().where(
                manifest_members.c.repository_id == _manifests.c.repository_id,
                manifest_members.c.member == _manifests.c.digest,
            ),
            ~sa.exists().where(
                _subject.c.repository_id == _manifests.c.repository_id, _subject.c.digest == _manifests.c.subject
            ),
            # What goes with it must be as old.
            ~sa.exists().where(
                _referrer.c.repository_id == _manifests.c.repository_id,
                _referrer.c.subject == _manifests.c.digest,
                sa.or_(
                    _referrer.c.created_at >= bindparam("before", type_=sa.BigInteger),
                    _referrer.c.used_at >= bindparam("before", type_=sa.BigInteger),
                ),
            ),
        ),
        sa.select(repositories.c.name).where(repositories.c.id == _manifests.c.repository_id).scalar_subquery(),
    ).order_by(_manifests.c.repository_id, _manifests.c.digest)
)
UNLINK = Query(
    sa.delete(blob_links).where(
        blob_links.c.repository_id == bindparam("repository"),
        blob_links.c.digest == bindparam("digest_"),
        blob_links.c.created_at < bindparam("before"),
        blob_links.c.used_at < bindparam("before"),
        ~sa.exists().where(
            manifest_members.c.repository_id == blob_links.c.repository_id,
            manifest_members.c.member == blob_links.c.digest,
        ),
    )
)
LAST = Query(
    sa.select(
        sa.func.min(blob_links.c.repository_id),
        sa.func.sum(
            sa.case(
                (_last_used >= bindparam("before", type_=sa.BigInteger), 1),
                (
                    sa.exists().where(
                        manifest_members.c.repository_id == blob_links.c.repository_id,
                        manifest_members.c.member == blob_links.c.digest,
                    ),
                    1,
                ),
                else_=0,
            )
        ),
    )
    .select_from(blob_links.join(blobs, blobs.c.digest == blob_links.c.digest))
    .where(
        blobs.c.digest == bindparam("digest"),
        blobs.c.created_at < bindparam("before", type_=sa.BigInteger),
        blobs.c.used_at < bindparam("before", type_=sa.BigInteger),
    )
)
NAME = Query(sa.select(repositories.c.name).where(repositories.c.id == bindparam("repository_id")))


class DeadLink(msgspec.Struct, frozen=True):
    """A blob that its repository serves for no manifest, and its size in bytes."""

    digest: str
    size: int


class Collector:
    """Finds what nothing needs any more."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self.database = database
        self.storage = storage

    async def links(self, before: int) -> AsyncGenerator[tuple[int, list[DeadLink], int]]:
        """(repository id, its dead links within a window, links looked at) for what was last used before `before`."""
        repository_id, digest = 0, ""
        while rows := await self.database.rows(LINKS, repository_id=repository_id, digest=digest, before=before):
            repository_id, digest = rows[-1][0], rows[-1][1]
            found: dict[int, list[DeadLink]] = {}
            for repository, name, dead, size in rows:
                if dead:
                    found.setdefault(repository, []).append(DeadLink(name, size or 0))
            looked_at = len(rows)
            for repository, dead_links in found.items():
                yield repository, dead_links, looked_at
                looked_at = 0
            if looked_at:
                yield repository_id, [], looked_at

    async def blobs(self, before: int) -> AsyncGenerator[tuple[list[tuple[str, str, int]], int]]:
        """((digest, storage key, size) of blobs that no repository serves, blobs looked at), window by window."""
        digest = ""
        while rows := await self.database.rows(BLOBS, digest=digest, before=before):
            digest = rows[-1][0]
            yield [(name, key, size) for name, size, key, dead in rows if dead], len(rows)

    async def untagged(self, before: int) -> AsyncGenerator[tuple[list[tuple[str, str]], int]]:
        """((repository, digest) of manifests without a tag, an index or a subject, which nobody has pushed or asked for
        since `before`, manifests looked at).
        """
        repository_id, digest = 0, ""
        while rows := await self.database.rows(MANIFESTS, repository_id=repository_id, digest=digest, before=before):
            repository_id, digest = rows[-1][0], rows[-1][1]
            yield [(repository, name) for _, name, dead, repository in rows if dead], len(rows)

    async def foreign(self) -> str | None:
        """A key of another registry that keeps its repositories in this storage, or None.

        What it serves, no row of ours may know: before it was adopted all of it, afterwards its copies of manifests.
        """
        async with aclosing(self.storage.list(FOREIGN)) as keys:
            async for stat in keys:
                return stat.key
        return None

    async def orphans(self, before: int) -> AsyncGenerator[tuple[list[str], list[str], int]]:
        """(keys that no row knows and that were written before `before`, those among them that no row can hold, keys
        looked at), window by window.

        A storage that cannot say when a key was written keeps its orphans.
        """
        window: list[Stat] = []
        async with aclosing(self.storage.committed()) as keys:
            async for stat in keys:
                window.append(stat)
                if len(window) == WINDOW:
                    yield *await self._unknown(window, before), len(window)
                    window = []
        if window:
            yield *await self._unknown(window, before), len(window)

    async def _unknown(self, window: Sequence[Stat], before: int) -> tuple[list[str], list[str]]:
        found = [each.key for each in window if each.modified is not None and each.modified * SECOND < before]
        # A file's name may be any bytes; neither database takes those that are no text, not even to be asked for them.
        old = [key for key in found if shown(key) == key]
        nameless = [key for key in found if shown(key) != key]
        named = {key: digest for key in old if (digest := digest_of(key)) is not None}
        others = [key for key in old if key not in named]
        known: set[str] = set()
        if named:
            rows = await self.database.rows(
                sa.select(blobs.c.storage_key).where(blobs.c.digest.in_(list(named.values())))
            )
            known |= {row[0] for row in rows}
        if others:
            elsewhere = sa.literal_column("substr(storage_key, 1, 8)") == sa.literal_column("'corereg/'")
            rows = await self.database.rows(
                sa.select(blobs.c.storage_key).where(blobs.c.storage_key.in_(others), elsewhere)
            )
            known |= {row[0] for row in rows}
        going = await self.database.rows(sa.select(condemned.c.storage_key).where(condemned.c.storage_key.in_(old)))
        known |= {row[0] for row in going}
        return [key for key in old if key not in known], nameless

    async def last_links(self, repository_id: int, dead: Sequence[DeadLink], before: int) -> list[DeadLink]:
        """Of a repository's dead links those whose blob would go with them: no repository has a live one, and this
        repository is the first that has one at all, so that each blob is told once.
        """
        found = []
        for each in dead:
            row = await self.database.row(LAST, digest=each.digest, before=before)
            if row is not None and row[0] == repository_id and not row[1]:
                found.append(each)
        return found

    # ---- inside a transaction ----

    async def unlink(
        self, tx: Transaction, repository_id: int, dead: Sequence[DeadLink], before: int
    ) -> list[DeadLink]:
        """Those that are still dead, now gone."""
        return [
            each
            for each in dead
            if await tx.execute(UNLINK, repository=repository_id, digest_=each.digest, before=before)
        ]

    async def name(self, repository_id: int) -> str | None:
        row = await self.database.row(NAME, repository_id=repository_id)
        return row[0] if row is not None else None

    # ---- holds ----

    async def held(self) -> str | None:
        """For whose sake nothing may be collected now, or None."""
        row = await self.database.row(HELD, at=now())
        return row[0] if row is not None else None

    async def hold(self, tx: Transaction, name: str, until: int) -> None:
        """Once `tx` is committed, no blob is condemned before `until` (or its release)."""
        await self.database.lock(tx, HOLD_LOCK)
        insert = tx.insert(collector_holds).values(name=name, until=until)
        await tx.execute(insert.on_conflict_do_update(index_elements=["name"], set_={"until": insert.excluded.until}))
        await tx.execute(sa.delete(collector_holds).where(~holds), at=now())

    async def release(self, tx: Transaction, name: str) -> None:
        await tx.execute(sa.delete(collector_holds).where(collector_holds.c.name == name))
