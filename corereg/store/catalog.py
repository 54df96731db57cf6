"""Repositories, tags, manifests, blob links, referrers: the rows behind the protocol.

Reads answer from one indexed query each. Writes take the transaction they are part of. Nothing here asks who is asking:
that is the Session's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql

from corereg.access import Grant, scopes_of
from corereg.oci.digest import Digest
from corereg.oci.manifest import Descriptor, Manifest
from corereg.oci.names import Tag
from corereg.store.condemned import blob_lock
from corereg.store.database import Database, Query, Row, Transaction, now
from corereg.store.schema import blob_links, blobs, manifest_members, manifests, repositories, tags
from corereg.store.scopes import covered


class StoredManifest(msgspec.Struct, frozen=True):
    """A manifest as it lies in a repository. `body` is empty where only the head was asked for.

    `used` is when the repository last had to do with it (pushed, asked for with HEAD), where that was looked up.
    """

    digest: str
    media_type: str
    size: int
    body: bytes = b""
    used: int = 0


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob a repository may serve: its size in bytes and the key it lies under.

    `used` is when the repository last had to do with it (pushed, mounted, asked for), where that was looked up.
    """

    digest: str
    size: int
    key: str
    used: int = 0


class Page(msgspec.Struct, frozen=True):
    """One page of a list of names, and whether more follow."""

    names: list[str]
    more: bool


class Missing(msgspec.Struct, frozen=True):
    """What a manifest names and its repository does not have, and members whose size is another than it says."""

    digests: list[str]
    sizes: list[tuple[str, int, int]]
    """(digest, size the manifest says, size that is stored)"""


_repository = repositories.c.name == bindparam("repository")

REPOSITORY_ID = Query(sa.select(repositories.c.id).where(_repository))

_by_tag = (
    sa.select(manifests.c.digest, manifests.c.media_type, manifests.c.size)
    .select_from(
        repositories.join(tags, tags.c.repository_id == repositories.c.id).join(
            manifests,
            sa.and_(manifests.c.repository_id == tags.c.repository_id, manifests.c.digest == tags.c.digest),
        )
    )
    .where(_repository, tags.c.name == bindparam("reference"))
)
_by_digest = (
    sa.select(manifests.c.digest, manifests.c.media_type, manifests.c.size)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(_repository, manifests.c.digest == bindparam("reference"))
)
_manifest_used = sa.case(
    (manifests.c.used_at > manifests.c.created_at, manifests.c.used_at), else_=manifests.c.created_at
)
MANIFEST_HEAD_BY_TAG = Query(_by_tag.add_columns(_manifest_used), often=True)
MANIFEST_HEAD_BY_DIGEST = Query(_by_digest.add_columns(_manifest_used), often=True)
MANIFEST_BY_TAG = Query(_by_tag.add_columns(manifests.c.body), often=True)
MANIFEST_BY_DIGEST = Query(_by_digest.add_columns(manifests.c.body), often=True)

_used = sa.case((blob_links.c.used_at > blob_links.c.created_at, blob_links.c.used_at), else_=blob_links.c.created_at)
BLOB = Query(
    sa.select(blobs.c.digest, blobs.c.size, blobs.c.storage_key, _used)
    .select_from(
        repositories.join(blob_links, blob_links.c.repository_id == repositories.c.id).join(
            blobs, blobs.c.digest == blob_links.c.digest
        )
    )
    .where(_repository, blob_links.c.digest == bindparam("digest")),
    often=True,
)
STORED_BLOB = Query(
    sa.select(blobs.c.digest, blobs.c.size, blobs.c.storage_key).where(blobs.c.digest == bindparam("digest"))
)


def _later(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """The later of what stands there and ``:at``: what was deleted may be kept into the future."""
    at = bindparam("at", type_=sa.BigInteger)
    return sa.case((column > at, column), else_=at)


USE_BLOB = Query(
    sa.update(blob_links)
    .where(
        blob_links.c.repository_id
        == sa.select(repositories.c.id).where(repositories.c.name == bindparam("repository")).scalar_subquery(),
        blob_links.c.digest == bindparam("digest"),
    )
    .values(used_at=_later(blob_links.c.used_at))
)
USE_LINK = Query(
    sa.update(blob_links)
    .where(blob_links.c.repository_id == bindparam("repository_id"), blob_links.c.digest == bindparam("digest_"))
    .values(used_at=_later(blob_links.c.used_at))
)
USE_STORED = Query(
    sa.update(blobs).where(blobs.c.digest == bindparam("digest_")).values(used_at=_later(blobs.c.used_at))
)
USE_MANIFEST = Query(
    sa.update(manifests)
    .where(
        manifests.c.repository_id
        == sa.select(repositories.c.id).where(repositories.c.name == bindparam("repository")).scalar_subquery(),
        manifests.c.digest == bindparam("digest_"),
    )
    .values(used_at=_later(manifests.c.used_at))
)
USE_PUT = Query(
    sa.update(manifests)
    .where(
        manifests.c.repository_id == bindparam("repository"),
        manifests.c.digest == bindparam("digest_"),
        manifests.c.created_at < bindparam("old"),
        manifests.c.used_at < bindparam("old"),
    )
    .values(used_at=_later(manifests.c.used_at))
)
USE_MEMBERS = Query(
    sa.update(blob_links)
    .where(
        blob_links.c.repository_id == bindparam("repository"),
        blob_links.c.digest.in_(
            sa.select(manifest_members.c.member).where(
                manifest_members.c.repository_id == bindparam("repository"),
                manifest_members.c.digest == bindparam("manifest"),
            )
        ),
    )
    .values(used_at=_later(blob_links.c.used_at))
)
USE_ALL = Query(
    sa.update(blobs)
    .where(
        blobs.c.digest.in_(sa.select(blob_links.c.digest).where(blob_links.c.repository_id == bindparam("repository")))
    )
    .values(used_at=_later(blobs.c.used_at))
)
BLOB_HOLDERS = Query(
    sa.select(repositories.c.name)
    .select_from(blob_links.join(repositories, repositories.c.id == blob_links.c.repository_id))
    .where(blob_links.c.digest == bindparam("digest"))
    .limit(100)
)

TAGS = Query(
    sa.select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository_id"), tags.c.name > bindparam("last"))
    .order_by(tags.c.name)
    .limit(bindparam("limit", type_=sa.Integer))
)
TAG = Query(
    sa.select(tags.c.digest).where(tags.c.repository_id == bindparam("repository_id"), tags.c.name == bindparam("name"))
)
TAGS_OF = Query(
    sa.select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository_id"), tags.c.digest == bindparam("digest"))
    .order_by(tags.c.name)
)
_referrers = (
    sa.select(manifests.c.digest, manifests.c.descriptor)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(_repository, manifests.c.subject == bindparam("subject"), manifests.c.digest > bindparam("last"))
    .order_by(manifests.c.digest)
    .limit(bindparam("limit", type_=sa.Integer))
)
REFERRERS = Query(_referrers)
REFERRERS_OF_TYPE = Query(_referrers.where(manifests.c.artifact_type == bindparam("artifact_type")))
USERS_OF_MEMBER = Query(
    sa.select(manifest_members.c.digest)
    .where(
        manifest_members.c.repository_id == bindparam("repository_id"), manifest_members.c.member == bindparam("member")
    )
    .limit(1)
)

CONTENTS = Query(
    sa.select(manifests.c.digest, manifests.c.media_type, manifests.c.size, manifests.c.subject).where(
        manifests.c.repository_id == bindparam("repository_id")
    )
)
MEMBERS = Query(
    sa.select(manifest_members.c.digest, manifest_members.c.member, manifest_members.c.kind).where(
        manifest_members.c.repository_id == bindparam("repository_id")
    )
)
MEMBERS_OF = Query(
    sa.select(manifest_members.c.member, manifest_members.c.kind).where(
        manifest_members.c.repository_id == bindparam("repository_id"), manifest_members.c.digest == bindparam("digest")
    )
)
LACKING = Query(
    sa.select(manifest_members.c.member).where(
        manifest_members.c.repository_id == bindparam("repository_id"),
        manifest_members.c.digest == bindparam("digest"),
        manifest_members.c.kind == "blob",
        ~sa.exists().where(
            blob_links.c.repository_id == manifest_members.c.repository_id,
            blob_links.c.digest == manifest_members.c.member,
        ),
    )
)
REFERRERS_OF = Query(
    sa.select(manifests.c.digest).where(
        manifests.c.repository_id == bindparam("repository_id"), manifests.c.subject == bindparam("subject")
    )
)
LINKS = Query(
    sa.select(blob_links.c.digest, blobs.c.size)
    .select_from(blob_links.join(blobs, blobs.c.digest == blob_links.c.digest))
    .where(blob_links.c.repository_id == bindparam("repository_id"))
)
ALL_TAGS = Query(
    sa.select(tags.c.name, tags.c.digest)
    .where(tags.c.repository_id == bindparam("repository_id"))
    .order_by(tags.c.name)
)
DELETE_REPOSITORY = Query(sa.delete(repositories).where(repositories.c.id == bindparam("repository_id")))

DELETE_TAG = Query(
    sa.delete(tags).where(tags.c.repository_id == bindparam("repository_id"), tags.c.name == bindparam("name"))
)
_manifest = sa.delete(manifests).where(
    manifests.c.repository_id == bindparam("repository_id"), manifests.c.digest == bindparam("digest")
)
DELETE_MANIFEST = Query(_manifest)
DELETE_UNUSED_MANIFEST = Query(
    _manifest.where(manifests.c.created_at < bindparam("before"), manifests.c.used_at < bindparam("before"))
)
DELETE_LINK = Query(
    sa.delete(blob_links).where(
        blob_links.c.repository_id == bindparam("repository_id"), blob_links.c.digest == bindparam("digest")
    )
)


class Catalog:
    """The rows of one registry's repositories."""

    def __init__(self, database: Database, *, kept: int = 0, grace: int = 0) -> None:
        """`kept`: seconds that the blobs of something deleted stay beyond `grace`, those that the collector leaves to
        what was used.
        """
        self.database = database
        self._kept = kept * 1_000_000
        self._grace = grace * 1_000_000
        insert = database.insert
        self._insert_repository = Query(
            insert(repositories)
            .values(name=bindparam("repository"), created_at=bindparam("at"))
            .on_conflict_do_nothing(index_elements=["name"])
        )
        self._insert_blob = Query(
            insert(blobs)
            .values(
                digest=bindparam("digest"),
                size=bindparam("size"),
                storage_key=bindparam("key"),
                created_at=bindparam("at"),
            )
            .on_conflict_do_nothing(index_elements=["digest"])
        )
        self._insert_link = Query(
            insert(blob_links)
            .values(repository_id=bindparam("repository_id"), digest=bindparam("digest"), created_at=bindparam("at"))
            .on_conflict_do_nothing(index_elements=["repository_id", "digest"])
        )
        manifest = insert(manifests).values(
            repository_id=bindparam("repository_id"),
            digest=bindparam("digest"),
            media_type=bindparam("media_type"),
            artifact_type=bindparam("artifact_type"),
            subject=bindparam("subject"),
            descriptor=bindparam("descriptor"),
            size=bindparam("size"),
            body=bindparam("body"),
            created_at=bindparam("at"),
        )
        self._insert_manifest = Query(manifest.on_conflict_do_nothing(index_elements=["repository_id", "digest"]))
        self._insert_member = Query(
            insert(manifest_members)
            .values(
                repository_id=bindparam("repository_id"),
                digest=bindparam("digest"),
                member=bindparam("member"),
                kind=bindparam("kind"),
            )
            .on_conflict_do_nothing(index_elements=["repository_id", "member", "digest"])
        )
        self._blob_sizes = Query(
            sa.select(blobs.c.digest, blobs.c.size)
            .join(blob_links, blob_links.c.digest == blobs.c.digest)
            .where(
                blob_links.c.repository_id == bindparam("repository_id"),
                _among(database.dialect, blob_links.c.digest),
            )
        )
        self._manifest_sizes = Query(
            sa.select(manifests.c.digest, manifests.c.size).where(
                manifests.c.repository_id == bindparam("repository_id"), _among(database.dialect, manifests.c.digest)
            )
        )
        tag = insert(tags).values(
            repository_id=bindparam("repository_id"),
            name=bindparam("name"),
            digest=bindparam("digest"),
            updated_at=bindparam("at"),
        )
        self._add_tag = Query(tag.on_conflict_do_nothing(index_elements=["repository_id", "name"]))
        self._put_tag = Query(
            tag.on_conflict_do_update(
                index_elements=["repository_id", "name"],
                set_={"digest": tag.excluded.digest, "updated_at": tag.excluded.updated_at},
            )
        )

    # ---- reads ----

    async def repository_id(self, repository: str, tx: Transaction | None = None) -> int | None:
        row = await (tx or self.database).row(REPOSITORY_ID, repository=repository)
        return row[0] if row else None

    async def manifest(self, repository: str, reference: Digest | Tag) -> StoredManifest | None:
        query = MANIFEST_BY_DIGEST if isinstance(reference, Digest) else MANIFEST_BY_TAG
        row = await self.database.row(query, repository=repository, reference=str(reference))
        return StoredManifest(row[0], row[1], row[2], row[3]) if row else None

    async def manifest_head(
        self, repository: str, reference: Digest | Tag, tx: Transaction | None = None
    ) -> StoredManifest | None:
        query = MANIFEST_HEAD_BY_DIGEST if isinstance(reference, Digest) else MANIFEST_HEAD_BY_TAG
        row = await (tx or self.database).row(query, repository=repository, reference=str(reference))
        return StoredManifest(row[0], row[1], row[2], used=row[3]) if row else None

    async def use_manifest(self, repository: str, digest: str) -> bool:
        """The repository has just had to do with the manifest, so it stays for a while; whether it is still there."""
        return bool(await self.database.execute(USE_MANIFEST, repository=repository, digest_=digest, at=now()))

    async def blob(self, repository: str, digest: str) -> StoredBlob | None:
        """The blob, if that repository may serve it."""
        row = await self.database.row(BLOB, repository=repository, digest=str(digest))
        return StoredBlob(row[0], row[1], row[2], row[3]) if row else None

    async def use_blob(self, repository: str, digest: str) -> bool:
        """The repository has just had to do with the blob, so it stays for a while; whether it is still there."""
        return bool(await self.database.execute(USE_BLOB, repository=repository, digest=digest, at=now()))

    async def blob_of(self, tx: Transaction, repository: str, digest: str) -> StoredBlob | None:
        """The same inside a transaction."""
        row = await tx.row(BLOB, repository=repository, digest=digest)
        return StoredBlob(row[0], row[1], row[2], row[3]) if row else None

    async def blob_holders(self, digest: str) -> list[str]:
        """Some repositories (at most 100) that hold the blob."""
        return [row[0] for row in await self.database.rows(BLOB_HOLDERS, digest=digest)]

    async def tags(self, repository_id: int, last: str, limit: int) -> Page:
        rows = await self.database.rows(TAGS, repository_id=repository_id, last=last, limit=limit + 1)
        return _page(rows, limit)

    async def repositories(self, grants: Iterable[Grant], last: str, limit: int) -> Page:
        """Names of the repositories that `grants` let their holder pull, in byte order; filtered in SQL."""
        scopes = scopes_of(grants, "repository", "pull")
        if not scopes:
            return Page([], more=False)
        rows = await self.database.rows(
            sa.select(repositories.c.name)
            .where(repositories.c.name > last, covered(self.database, repositories.c.name, scopes))
            .order_by(repositories.c.name)
            .limit(limit + 1)
        )
        return _page(rows, limit)

    async def referrers(
        self, repository: str, subject: str, *, artifact_type: str | None, last: str, limit: int
    ) -> Sequence[Row]:
        """(digest, descriptor as JSON) of the manifests that name `subject`, by digest."""
        query = REFERRERS if artifact_type is None else REFERRERS_OF_TYPE
        more = {} if artifact_type is None else {"artifact_type": artifact_type}
        return await self.database.rows(query, repository=repository, subject=subject, last=last, limit=limit, **more)

    # ---- inside a transaction ----

    async def missing(self, tx: Transaction, repository_id: int, manifest: Manifest) -> Missing:
        """What the manifest needs and the repository does not hold."""
        held_blobs = await self._sizes(tx, self._blob_sizes, repository_id, manifest.blobs)
        held_manifests = await self._sizes(tx, self._manifest_sizes, repository_id, manifest.children)
        absent: dict[str, None] = {}
        for members, held in ((manifest.blobs, held_blobs), (manifest.children, held_manifests)):
            absent |= {member.digest: None for member in members if member.digest not in held}
        # A digest may stand there twice, each time with a size.
        held = held_blobs | held_manifests
        sizes = [
            (str(each.digest), each.size, held[each.digest])
            for each in manifest.contents
            if held.get(each.digest, each.size) != each.size
        ]
        return Missing(list(absent), sizes)

    async def lacking(self, tx: Transaction, repository_id: int, digest: str) -> list[str]:
        """The blobs that a manifest of the repository names and the repository does not serve: it is sparse."""
        return [row[0] for row in await tx.rows(LACKING, repository_id=repository_id, digest=digest)]

    async def _sizes(
        self, tx: Transaction, query: Query, repository_id: int, members: Sequence[Descriptor]
    ) -> dict[str, int]:
        if not members:
            return {}
        digests: Any = [str(member.digest) for member in members]
        if self.database.dialect == "sqlite":
            digests = msgspec.json.encode(digests).decode()
        return {row[0]: row[1] for row in await tx.rows(query, repository_id=repository_id, digests=digests)}

    async def ensure_repository(self, tx: Transaction, repository: str) -> int:
        """The repository's id; made if it is not there yet."""
        found = await self.repository_id(repository, tx)
        if found is None:
            await tx.execute(self._insert_repository, repository=repository, at=now())
            found = await self.repository_id(repository, tx)
        if found is None:
            message = f"the repository {repository} vanished while it was being made"
            raise RuntimeError(message)
        return found

    async def put_blob(
        self, tx: Transaction, repository_id: int, digest: str, size: int, key: str
    ) -> tuple[StoredBlob, bool]:
        """Record the blob and let the repository serve it; the row that holds, ours or an earlier one, and whether the
        repository did not serve it before.
        """
        at = now()
        first = await tx.execute(self._insert_blob, digest=digest, size=size, key=key, at=at)
        new = await tx.execute(self._insert_link, repository_id=repository_id, digest=digest, at=at)
        if not first:
            await tx.execute(USE_STORED, digest_=digest, at=at)
        if not new:
            await tx.execute(USE_LINK, repository_id=repository_id, digest_=digest, at=at)
        row = None if first else await tx.row(STORED_BLOB, digest=digest)
        return (StoredBlob(*row) if row else StoredBlob(digest, size, key)), bool(new)

    async def link_blob(self, tx: Transaction, repository_id: int, digest: str) -> tuple[StoredBlob, bool] | None:
        """Let the repository serve a blob that is stored, and whether it did not before; None when it is not stored."""
        await self.database.lock(tx, blob_lock(digest))  # or the collector takes it between these two
        row = await tx.row(STORED_BLOB, digest=digest)
        if row is None:
            return None
        at = now()
        new = await tx.execute(self._insert_link, repository_id=repository_id, digest=digest, at=at)
        if not new:
            await tx.execute(USE_LINK, repository_id=repository_id, digest_=digest, at=at)
        return StoredBlob(*row), bool(new)

    async def put_manifest(self, tx: Transaction, repository_id: int, digest: Digest, manifest: Manifest) -> bool:
        """Record the manifest under `digest` (its own, or another algorithm's of the same bytes); whether it is new.

        One that is not new counts as used: an index that names it is on its way.
        """
        at = now()
        new = await tx.execute(
            self._insert_manifest,
            repository_id=repository_id,
            digest=str(digest),
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=str(manifest.subject.digest) if manifest.subject else None,
            descriptor=_descriptor(digest, manifest) if manifest.subject else None,
            size=len(manifest.body),
            body=manifest.body,
            at=at,
        )
        if not new:
            # Its row holds its bytes: it is written again only when that may matter to the collector.
            old = at - self._grace // 2
            await tx.execute(USE_PUT, repository=repository_id, digest_=str(digest), at=at, old=old)
        else:
            members = [(each.digest, "blob") for each in manifest.blobs]
            members += [(each.digest, "manifest") for each in manifest.children]
            await tx.execute_many(
                self._insert_member,
                [
                    {"repository_id": repository_id, "digest": str(digest), "member": str(member), "kind": kind}
                    for member, kind in members
                ],
            )
        return bool(new)

    async def put_tag(self, tx: Transaction, repository_id: int, tag: str, digest: str) -> str | None:
        """Point the tag at the manifest; the digest it pointed at before."""
        row = await tx.row(TAG, repository_id=repository_id, name=tag)
        previous: str | None = row[0] if row else None
        await tx.execute(self._put_tag, repository_id=repository_id, name=tag, digest=str(digest), at=now())
        return previous

    async def add_tag(self, tx: Transaction, repository_id: int, tag: str, digest: str) -> bool:
        """Point a tag that is not there yet at the manifest; whether it was not."""
        return bool(
            await tx.execute(self._add_tag, repository_id=repository_id, name=tag, digest=str(digest), at=now())
        )

    async def delete_tag(self, tx: Transaction, repository_id: int, tag: str) -> bool:
        return bool(await tx.execute(DELETE_TAG, repository_id=repository_id, name=tag))

    async def tags_of(self, tx: Database | Transaction, repository_id: int, digest: str) -> list[str]:
        return [row[0] for row in await tx.rows(TAGS_OF, repository_id=repository_id, digest=digest)]

    async def delete_manifest(
        self, tx: Transaction, repository_id: int, digest: str, *, before: int | None = None
    ) -> bool:
        """Remove the manifest and, with it, its tags and its part in referrers lists; its blobs stay for a while.

        With `before` only one that nobody has pushed or asked for since then.
        """
        await tx.execute(USE_MEMBERS, repository=repository_id, manifest=digest, at=now() + self._kept)
        query, more = (DELETE_MANIFEST, {}) if before is None else (DELETE_UNUSED_MANIFEST, {"before": before})
        return bool(await tx.execute(query, repository_id=repository_id, digest=digest, **more))

    async def unlink_blob(self, tx: Transaction, repository_id: int, digest: str) -> bool:
        """The repository serves the blob no longer; its bytes stay for the others and for the collector."""
        await tx.execute(USE_STORED, digest_=digest, at=now())
        return bool(await tx.execute(DELETE_LINK, repository_id=repository_id, digest=digest))

    async def contents(
        self, repository_id: int, source: Database | Transaction | None = None
    ) -> list[tuple[str, str, int, str | None]]:
        """(digest, media type, size, subject) of every manifest of the repository."""
        rows = await (source or self.database).rows(CONTENTS, repository_id=repository_id)
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    async def members(self, repository_id: int, source: Database | Transaction | None = None) -> Sequence[Row]:
        """(manifest, member, kind) of all manifests of the repository."""
        return await (source or self.database).rows(MEMBERS, repository_id=repository_id)

    async def members_of(self, repository_id: int, digest: str) -> Sequence[Row]:
        """(member, kind) of one manifest."""
        return await self.database.rows(MEMBERS_OF, repository_id=repository_id, digest=digest)

    async def referrers_of(self, repository_id: int, subject: str, tx: Transaction | None = None) -> list[str]:
        """Digests of the manifests whose subject is `subject`."""
        rows = await (tx or self.database).rows(REFERRERS_OF, repository_id=repository_id, subject=subject)
        return [row[0] for row in rows]

    async def links(self, repository_id: int, source: Database | Transaction | None = None) -> dict[str, int]:
        """Size of every blob the repository may serve, by digest."""
        rows = await (source or self.database).rows(LINKS, repository_id=repository_id)
        return {row[0]: row[1] for row in rows}

    async def all_tags(self, repository_id: int, source: Database | Transaction | None = None) -> dict[str, list[str]]:
        """Every tag of the repository, by the digest it points at."""
        found: dict[str, list[str]] = {}
        for name, digest in await (source or self.database).rows(ALL_TAGS, repository_id=repository_id):
            found.setdefault(digest, []).append(name)
        return found

    async def delete_repository(self, tx: Transaction, repository_id: int) -> None:
        """Forget the repository and all that hangs on it; bytes stay for others and for the collector."""
        await tx.execute(USE_ALL, repository=repository_id, at=now() + self._kept)
        await tx.execute(DELETE_REPOSITORY, repository_id=repository_id)

    async def user_of(self, tx: Transaction, repository_id: int, member: str) -> str | None:
        """A manifest of the repository that needs `member`, or None."""
        row = await tx.row(USERS_OF_MEMBER, repository_id=repository_id, member=member)
        return row[0] if row else None


def _among(dialect: str, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Whether the column is one of ``:digests``, however many: one statement, which is compiled once.

    PostgreSQL takes an array, SQLite a JSON text.
    """
    if dialect == "postgresql":
        return column == sa.any_(bindparam("digests", type_=postgresql.ARRAY(sa.Text)))
    return column.in_(sa.select(sa.func.json_each(bindparam("digests", type_=sa.Text)).table_valued("value").c.value))


def _page(rows: Sequence[Row], limit: int) -> Page:
    return Page([row[0] for row in rows[:limit]], len(rows) > limit)


def _descriptor(digest: Digest, manifest: Manifest) -> str:
    return msgspec.json.encode({**manifest.descriptor(), "digest": str(digest)}).decode()
