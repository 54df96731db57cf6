"""What was deleted, until the collector takes it: exact bytes and tags, who deleted it, and when."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.database import Database, Query, Row, Transaction, now
from corereg.store.listing import Fields, Listing, page
from corereg.store.schema import manifests, trash
from corereg.store.scopes import covered, within

KEEP = Query(
    sa.insert(trash).from_select(
        [
            "batch",
            "repository",
            "kind",
            "digest",
            "media_type",
            "size",
            "body",
            "tags",
            "deleted_at",
            "deleted_by",
            "lacking",
        ],
        sa.select(
            bindparam("batch", type_=sa.Text),
            bindparam("repository", type_=sa.Text),
            sa.literal_column("'manifest'"),
            manifests.c.digest,
            manifests.c.media_type,
            manifests.c.size,
            manifests.c.body,
            bindparam("tags", type_=sa.Text),
            bindparam("at", type_=sa.BigInteger),
            bindparam("by", type_=sa.Text),
            bindparam("lacking", type_=sa.Text),
        ).where(
            manifests.c.repository_id == bindparam("repository_id", type_=sa.BigInteger),
            manifests.c.digest == bindparam("digest", type_=sa.Text),
        ),
    )
)
KEEP_TAG = Query(
    sa.insert(trash).values(
        batch=bindparam("batch"),
        repository=bindparam("repository"),
        kind="tag",
        digest=bindparam("digest"),
        media_type="",
        size=0,
        tags=bindparam("tags"),
        deleted_at=bindparam("at"),
        deleted_by=bindparam("by"),
    )
)
FIELDS: Fields = {
    "id": trash.c.id,
    "repository": trash.c.repository,
    "kind": trash.c.kind,
    "digest": trash.c.digest,
    "deleted_by": trash.c.deleted_by,
    "deleted_at": trash.c.deleted_at,
}
_SHOWN = (
    trash.c.id,
    trash.c.batch,
    trash.c.repository,
    trash.c.kind,
    trash.c.digest,
    trash.c.media_type,
    trash.c.size,
    trash.c.tags,
    trash.c.deleted_at,
    trash.c.deleted_by,
)


class Trashed(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted manifest with its tags, or a deleted tag of the manifest `digest`. What was deleted together has one
    `batch`. `body`, and the blobs that its repository did not serve (`lacking`), are there only for a restoration.
    `deleted_at` is in microseconds since 1970, UTC.
    """

    id: int
    batch: str
    repository: str
    kind: Literal["manifest", "tag"]
    digest: str
    media_type: str
    size: int
    tags: tuple[str, ...]
    deleted_at: int
    deleted_by: str
    body: bytes = b""
    lacking: tuple[str, ...] = ()


class Trash:
    """The deleted things of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @staticmethod
    def batch() -> str:
        """A name for what is deleted together."""
        return secrets.token_hex(8)

    async def keep(
        self,
        tx: Transaction,
        repository_id: int,
        repository: str,
        digest: str,
        *,
        tags: Sequence[str],
        lacking: Sequence[str],
        by: str,
        batch: str,
    ) -> None:
        """Inside `tx`, before the manifest is deleted; `lacking` are its blobs that the repository does not serve."""
        await tx.execute(
            KEEP,
            batch=batch,
            repository=repository,
            repository_id=repository_id,
            digest=digest,
            tags=_encode(tags),
            at=now(),
            by=by,
            lacking=_encode(lacking) if lacking else None,
        )

    async def keep_tag(self, tx: Transaction, repository: str, digest: str, tag: str, *, by: str) -> None:
        """Inside `tx`: a tag was deleted, its manifest stays."""
        await tx.execute(
            KEEP_TAG, batch=self.batch(), repository=repository, digest=digest, tags=_encode([tag]), at=now(), by=by
        )

    async def page(self, listing: Listing, scopes: Any) -> tuple[list[Trashed], int]:
        """One page of what lies in repositories that `scopes` cover, the latest first; and how many there are."""
        select = sa.select(*_SHOWN).where(covered(self.database, trash.c.repository, scopes))
        rows, total = await page(self.database, select, listing, FIELDS, trash.c.id.desc())
        return [_trashed(row) for row in rows], total

    async def find(self, id_: int) -> Trashed | None:
        row = await self.database.row(sa.select(*_SHOWN).where(trash.c.id == id_))
        return _trashed(row) if row is not None else None

    async def together(self, source: Database | Transaction, batch: str, repository: str) -> list[Trashed]:
        """With their bytes, all that was deleted together in a repository, what others need first."""
        rows = await source.rows(
            sa.select(*_SHOWN, trash.c.body, trash.c.lacking)
            .where(trash.c.batch == batch, trash.c.repository == repository)
            .order_by(trash.c.id.desc())
        )
        return [_trashed(row[:-2], row[-2] or b"", row[-1]) for row in rows]

    async def drop(self, tx: Transaction, ids: Sequence[int]) -> int:
        return await tx.execute(sa.delete(trash).where(trash.c.id.in_(ids)))

    async def empty(self, tx: Transaction, before: int, limit: int) -> int:
        """Inside `tx`: forget for good what was deleted before that moment, at most `limit`; how many."""
        old = sa.select(trash.c.id).where(trash.c.deleted_at < before).order_by(trash.c.deleted_at).limit(limit)
        return await tx.execute(sa.delete(trash).where(trash.c.id.in_(old)))

    @staticmethod
    async def forget(tx: Transaction, namespace: str) -> int:
        """Inside `tx`: forget for good what was deleted in the namespace's repositories; how many."""
        return await tx.execute(sa.delete(trash).where(within(trash.c.repository, namespace)))

    async def count(self, before: int) -> int:
        row = await self.database.row(sa.select(sa.func.count()).select_from(trash).where(trash.c.deleted_at < before))
        return int(row[0]) if row else 0


def _encode(words: Sequence[str]) -> str:
    return msgspec.json.encode([str(word) for word in words]).decode()


def _trashed(row: Row, body: bytes = b"", lacking: str | None = None) -> Trashed:
    id_, batch, repository, kind, digest, media_type, size, tags, deleted_at, deleted_by = row
    return Trashed(
        id=id_,
        batch=batch,
        repository=repository,
        kind=kind,
        digest=digest,
        media_type=media_type,
        size=size,
        tags=tuple(msgspec.json.decode(tags)),
        deleted_at=deleted_at,
        deleted_by=deleted_by,
        body=body,
        lacking=tuple(msgspec.json.decode(lacking)) if lacking else (),
    )
