"""The rows that lists are read from: written in the push's own transaction, so that no list is ever behind.

What the core keeps is enough to serve an image and too little to list it: types, sizes, accessories and counts would
have to be worked out from every manifest on every page. Here they are worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import Database, Manifest, Query, Transaction, now, tables
from corereg_management.kinds import Accessory, accessory_of, kind_of, reference_of
from corereg_management.schema import artifacts, references, repositories, tags

_here = sa.and_(artifacts.c.repository_id == bindparam("in_repository"), artifacts.c.digest == bindparam("of_digest"))
_tagged = sa.exists().where(
    tables.tags.c.repository_id == artifacts.c.repository_id, tables.tags.c.digest == artifacts.c.digest
)
_needed = sa.exists().where(
    references.c.repository_id == artifacts.c.repository_id, references.c.child == artifacts.c.digest
)
LISTED = sa.case((artifacts.c.accessory_type.is_not(None), 0), (_tagged, 1), (_needed, 0), else_=1)
"""What `listed` must be."""

REPOSITORY = Query(sa.select(tables.repositories.c.id).where(tables.repositories.c.name == bindparam("repository")))
SETTLE = Query(sa.update(artifacts).where(_here).values(listed=LISTED))
UNLIST_CHILDREN = Query(
    sa.update(artifacts)
    .where(
        artifacts.c.repository_id == bindparam("in_repository"),
        artifacts.c.listed == 1,
        artifacts.c.digest.in_(
            sa.select(references.c.child).where(
                references.c.repository_id == bindparam("in_repository"), references.c.parent == bindparam("of_digest")
            )
        ),
    )
    .values(listed=LISTED)
)
CHILDREN = Query(
    sa.select(references.c.child).where(
        references.c.repository_id == bindparam("in_repository"), references.c.parent == bindparam("of_digest")
    )
)
FORGET_CHILDREN = Query(
    sa.delete(references).where(
        references.c.repository_id == bindparam("in_repository"), references.c.parent == bindparam("of_digest")
    )
)
_child = artifacts.alias("child")
ADD_CHILDREN = Query(
    sa.update(artifacts)
    .where(_here)
    .values(
        size=artifacts.c.size
        + sa.select(sa.func.coalesce(sa.func.sum(_child.c.size), 0))
        .where(
            references.c.repository_id == bindparam("in_repository"),
            references.c.parent == bindparam("of_digest"),
            _child.c.repository_id == references.c.repository_id,
            _child.c.digest == references.c.child,
        )
        .scalar_subquery()
    )
)
ADD_TO_PARENTS = Query(
    sa.update(artifacts)
    .where(
        artifacts.c.repository_id == bindparam("in_repository"),
        artifacts.c.digest.in_(
            sa.select(references.c.parent).where(
                references.c.repository_id == bindparam("in_repository"), references.c.child == bindparam("of_digest")
            )
        ),
    )
    .values(size=artifacts.c.size + bindparam("more", type_=sa.BigInteger))
)
BECOMES_ACCESSORY = Query(
    sa.update(artifacts)
    .where(_here, artifacts.c.accessory_type.is_(None))
    .values(accessory_type=bindparam("its_type"), subject=bindparam("its_subject"))
)
TAG = Query(
    sa.select(tags.c.digest).where(
        tags.c.repository_id == bindparam("in_repository"), tags.c.name == bindparam("its_name")
    )
)
TOUCH = Query(
    sa.update(repositories)
    .where(repositories.c.repository_id == bindparam("in_repository"), repositories.c.updated_at < bindparam("at"))
    .values(updated_at=bindparam("at"))
)
COUNT = Query(
    sa.update(repositories)
    .where(repositories.c.repository_id == bindparam("in_repository"), repositories.c.counted < bindparam("serial"))
    .values(pull_count=repositories.c.pull_count + bindparam("more", type_=sa.BigInteger), counted=bindparam("serial"))
)
PULLED = Query(
    sa.update(artifacts)
    .where(_here, sa.func.coalesce(artifacts.c.pulled_at, 0) < bindparam("at"))
    .values(pulled_at=bindparam("at"))
)
TAG_PULLED = Query(
    sa.update(tags)
    .where(
        tags.c.repository_id == bindparam("in_repository"),
        tags.c.name == bindparam("its_name"),
        tags.c.digest == bindparam("of_digest"),
        sa.func.coalesce(tags.c.pulled_at, 0) < bindparam("at"),
    )
    .values(pulled_at=bindparam("at"))
)
STATE = Query(sa.select(artifacts.c.listed == LISTED).where(_here))
STORED = Query(
    sa.select(tables.manifests.c.media_type, tables.manifests.c.body, tables.manifests.c.created_at).where(
        tables.manifests.c.repository_id == bindparam("in_repository"),
        tables.manifests.c.digest == bindparam("of_digest"),
    )
)
TAGS_OF = Query(
    sa.select(tables.tags.c.name).where(
        tables.tags.c.repository_id == bindparam("in_repository"), tables.tags.c.digest == bindparam("of_digest")
    )
)


class ReadModel:
    """The plugin's rows of one registry. Every method that writes takes the transaction it is part of."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._insert_artifact = Query(
            database.insert(artifacts)
            .values({each.name: bindparam(each.name) for each in artifacts.c if each.name != "id"})
            .on_conflict_do_nothing(index_elements=["repository_id", "digest"])
        )
        self._insert_reference = Query(
            database.insert(references)
            .values({each.name: bindparam(each.name) for each in references.c})
            .on_conflict_do_nothing(index_elements=["repository_id", "parent", "child"])
        )
        tag = database.insert(tags).values(
            repository_id=bindparam("repository_id"), name=bindparam("name"), digest=bindparam("digest")
        )
        self._put_tag = Query(
            tag.on_conflict_do_update(
                index_elements=["repository_id", "name"], set_={"digest": tag.excluded.digest, "pulled_at": sa.null()}
            )
        )
        self._keep_tag = Query(tag.on_conflict_do_nothing(index_elements=["repository_id", "name"]))
        self._insert_repository = Query(
            database.insert(repositories)
            .values({each.name: bindparam(each.name) for each in repositories.c})
            .on_conflict_do_nothing(index_elements=["repository_id"])
        )

    async def repository_id(self, source: Database | Transaction, repository: str) -> int | None:
        """The number of a repository."""
        row = await source.row(REPOSITORY, repository=repository)
        return row[0] if row else None

    # ---- what operations do ----

    async def push(
        self, tx: Transaction, repository_id: int, digest: str, manifest: Manifest, pushed_tags: Sequence[str]
    ) -> None:
        """A manifest was put, perhaps once more, and `pushed_tags` point at it."""
        at = now()
        await self.ensure_repository(tx, repository_id, at)
        await self.add(tx, repository_id, digest, manifest, pushed_tags, at)
        for name in pushed_tags:
            await self.put_tag(tx, repository_id, name, digest)
        await tx.execute(SETTLE, in_repository=repository_id, of_digest=digest)
        await tx.execute(TOUCH, in_repository=repository_id, at=at)

    async def add(
        self,
        tx: Transaction,
        repository_id: int,
        digest: str,
        manifest: Manifest,
        its_tags: Sequence[str],
        at: int,
    ) -> None:
        """Make the manifest's row where it is missing; an accessory by its tag may become one later."""
        accessory = accessory_of(manifest, its_tags)
        if await self._insert(tx, repository_id, digest, manifest, accessory, at):
            if manifest.is_index:
                await self._insert_children(tx, repository_id, digest, manifest)
            return
        if accessory is not None and manifest.subject is None:
            await tx.execute(
                BECOMES_ACCESSORY,
                in_repository=repository_id,
                of_digest=digest,
                its_type=accessory.type,
                its_subject=accessory.subject,
            )

    async def _insert(
        self,
        tx: Transaction,
        repository_id: int,
        digest: str,
        manifest: Manifest,
        accessory: Accessory | None,
        at: int,
    ) -> bool:
        kind = kind_of(manifest)
        new = await tx.execute(
            self._insert_artifact,
            repository_id=repository_id,
            digest=digest,
            type=kind.type,
            media_type=kind.media_type,
            manifest_media_type=manifest.media_type,
            artifact_type=kind.artifact_type,
            config_digest=kind.config,
            size=kind.size,
            pushed_at=at,
            pulled_at=None,
            listed=int(accessory is None),
            accessory_type=accessory.type if accessory else None,
            subject=accessory.subject if accessory else None,
            annotations=kind.annotations,
            icon=kind.icon,
            extra_attrs=None if kind.config or kind.type == "CNAB" else "{}",
        )
        if new:  # an index may have come before its child: in a copy, or where indexes may be sparse
            await tx.execute(ADD_TO_PARENTS, in_repository=repository_id, of_digest=digest, more=kind.size)
        return bool(new)

    async def _insert_children(self, tx: Transaction, repository_id: int, digest: str, manifest: Manifest) -> None:
        await tx.execute_many(
            self._insert_reference,
            [
                {
                    "repository_id": repository_id,
                    "parent": digest,
                    "child": str(child.digest),
                    "position": position,
                    "descriptor": msgspec.json.encode(reference_of(child)).decode(),
                }
                for position, child in enumerate(manifest.manifests)
                if child.is_manifest
            ],
        )
        await tx.execute(ADD_CHILDREN, in_repository=repository_id, of_digest=digest)
        await tx.execute(UNLIST_CHILDREN, in_repository=repository_id, of_digest=digest)

    async def put_tag(self, tx: Transaction, repository_id: int, name: str, digest: str) -> None:
        """A tag points here now; what it pointed at before may have lost its last."""
        row = await tx.row(TAG, in_repository=repository_id, its_name=name)
        if row and row[0] == digest:
            return
        await tx.execute(self._put_tag, repository_id=repository_id, name=name, digest=digest)
        if row:
            await tx.execute(SETTLE, in_repository=repository_id, of_digest=row[0])

    async def forget(self, tx: Transaction, repository_id: int, digest: str) -> None:
        """A manifest was deleted: its own rows went with it, and what it needed may stand alone now."""
        children = [row[0] for row in await tx.rows(CHILDREN, in_repository=repository_id, of_digest=digest)]
        if children:
            await tx.execute(FORGET_CHILDREN, in_repository=repository_id, of_digest=digest)
            await tx.execute_many(SETTLE, [{"in_repository": repository_id, "of_digest": child} for child in children])
        await tx.execute(TOUCH, in_repository=repository_id, at=now())

    async def settle(self, tx: Transaction, repository_id: int, digest: str) -> None:
        """The tags of a manifest have changed."""
        await tx.execute(SETTLE, in_repository=repository_id, of_digest=digest)
        await tx.execute(TOUCH, in_repository=repository_id, at=now())

    async def ensure_repository(self, tx: Transaction, repository_id: int, at: int) -> None:
        """Make the repository's row where it is missing."""
        await tx.execute(
            self._insert_repository, repository_id=repository_id, description="", pull_count=0, updated_at=at, counted=0
        )

    # ---- what events do ----

    async def count(self, tx: Transaction, repository_id: int, serial: int, pulls: int, at: int) -> None:
        """Count pulls, unless that event is in the count already."""
        await self.ensure_repository(tx, repository_id, at)
        await tx.execute(COUNT, in_repository=repository_id, serial=serial, more=pulls)

    async def pulled(
        self, tx: Transaction, repository_id: int, digest: str, pulled_tags: Sequence[str], at: int
    ) -> None:
        """An artifact was pulled, by these tags."""
        await tx.execute(PULLED, in_repository=repository_id, of_digest=digest, at=at)
        for name in pulled_tags:
            await tx.execute(TAG_PULLED, in_repository=repository_id, its_name=name, of_digest=digest, at=at)

    # ---- what happened while the plugin was not there ----

    async def stands(self, repository_id: int, digest: str) -> bool:
        """Whether a manifest's row is there, or not, as it must be."""
        row = await self.database.row(STATE, in_repository=repository_id, of_digest=digest)
        if row is not None:
            known = await self.database.rows(
                sa.select(tables.tags.c.name)
                .join(
                    tags,
                    sa.and_(tags.c.repository_id == tables.tags.c.repository_id, tags.c.name == tables.tags.c.name),
                    isouter=True,
                )
                .where(
                    tables.tags.c.repository_id == repository_id,
                    tables.tags.c.digest == digest,
                    sa.or_(tags.c.digest.is_(None), tags.c.digest != digest),
                )
                .limit(1)
            )
            return bool(row[0]) and not known
        stored = await self.database.row(STORED, in_repository=repository_id, of_digest=digest)
        children = await self.database.row(CHILDREN, in_repository=repository_id, of_digest=digest)
        return stored is None and children is None

    async def mend(self, tx: Transaction, repository_id: int, digest: str) -> None:
        """Make the rows of one manifest what they must be."""
        stored = await tx.row(STORED, in_repository=repository_id, of_digest=digest)
        if stored is None:
            await self.forget(tx, repository_id, digest)
            return
        names = [row[0] for row in await tx.rows(TAGS_OF, in_repository=repository_id, of_digest=digest)]
        await self.ensure_repository(tx, repository_id, stored[2])
        manifest = Manifest.parse(stored[1], stored[0])
        await self.add(tx, repository_id, digest, manifest, names, stored[2])
        for name in names:
            await self.put_tag(tx, repository_id, name, digest)
        await tx.execute(SETTLE, in_repository=repository_id, of_digest=digest)

    async def missing(self) -> Sequence[tuple[int, str]]:
        """(repository, digest) of every manifest that has no row, members before what needs them.

        A row never outlives its manifest, so where there are as many of both nothing is missing, and nothing is read.
        """
        if await self._as_many(tables.manifests, artifacts) and await self._as_many(tables.tags, tags):
            return []
        rows = await self.database.rows(self._unknown())
        return [(row[0], row[1]) for row in rows]

    async def _as_many(self, theirs: sa.Table, ours: sa.Table) -> bool:
        counts = await self.database.row(
            sa.select(
                sa.select(sa.func.count()).select_from(theirs).scalar_subquery(),
                sa.select(sa.func.count()).select_from(ours).scalar_subquery(),
            )
        )
        return counts is not None and counts[0] == counts[1]

    def _unknown(self) -> sa.Select[Any]:
        stored = tables.manifests.c
        known = sa.exists().where(
            artifacts.c.repository_id == stored.repository_id, artifacts.c.digest == stored.digest
        )
        unknown_tag = sa.exists().where(
            tables.tags.c.repository_id == stored.repository_id,
            tables.tags.c.digest == stored.digest,
            ~sa.exists().where(tags.c.repository_id == tables.tags.c.repository_id, tags.c.name == tables.tags.c.name),
        )
        return (
            sa.select(stored.repository_id, stored.digest)
            .where(sa.or_(~known, unknown_tag))
            .order_by(stored.created_at, stored.digest)
        )
