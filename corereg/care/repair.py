"""What a check can mend. Every repair is a change like any other: asked, counted by quotas, written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from corereg.care.files import save
from corereg.errors import Precondition
from corereg.oci.manifest import Manifest
from corereg.session import Change, House, Session
from corereg.store.catalog import STORED_BLOB, StoredBlob
from corereg.store.condemned import CONDEMN, CORRUPT, LEASE, Doomed, blob_lock
from corereg.store.database import now
from corereg.store.schema import blob_links, blobs, manifest_members, manifests, repositories, tags

IMAGES_TOLD = 100


class Repair:
    """Mends one thing at a time; each method says in lines what it did. Corrupt bytes are kept in `quarantine`."""

    def __init__(self, house: House, session: Session, quarantine: Path | None) -> None:
        self._house = house
        self._session = session
        self._quarantine = quarantine

    async def forget(self, blob: StoredBlob) -> list[str]:
        """Drop the rows of a blob whose bytes are gone; whoever pushes it again makes its images whole."""
        broken = await self._images(blob.digest)
        async with self._change("bytes-missing", blob) as change:
            await self._drop(change, blob)
        return broken

    async def put_away(self, blob: StoredBlob) -> list[str]:
        """Move corrupt bytes out of the storage, into the quarantine, and drop the blob's rows."""
        if self._quarantine is None:
            message = "there is no folder for corrupt bytes"
            raise Precondition(message)
        kept = await self._keep(blob, self._quarantine)
        broken = await self._images(blob.digest)
        doomed = Doomed(blob.key, blob.digest, now() + LEASE)
        async with self._change("corrupt", blob) as change:
            await self._drop(change, blob)
            await change.tx.execute(CONDEMN, key=blob.key, digest=blob.digest, until=doomed.until, usable=CORRUPT)
        await self._house.condemned.delete(doomed)
        return [f"its bytes are in {kept} now", *broken]

    async def correct_size(self, blob: StoredBlob, size: int) -> list[str]:
        """The bytes are right, the row is not."""
        async with self._change("size", blob) as change:
            await self._alone(change, blob)
            await change.tx.execute(sa.update(blobs).where(blobs.c.digest == blob.digest).values(size=size))
        return ["what is counted with the old size (quotas) is to be reconciled"]

    async def link(self, repository: str, digest: str) -> list[str]:
        """Let a repository serve a stored blob that one of its manifests names."""
        operation = self._session.operation(
            "fsck.repair", repository=repository, digest=digest, details={"problem": "unlinked"}
        )
        async with self._session.change(operation) as change:
            await self._house.database.lock(change.tx, f"corereg repository {repository}")
            await self._house.database.lock(change.tx, blob_lock(digest))
            repository_id = await self._house.catalog.repository_id(repository, change.tx)
            linked = repository_id and await self._house.catalog.link_blob(change.tx, repository_id, digest)
            if not linked:
                message = "repository or blob have gone meanwhile"
                raise Precondition(message)
            blob, new = linked
            counted = self._session.operation(
                "blob.push", repository=repository, digest=digest, size=blob.size, new=new
            )
            change.counted = [counted]
        return []

    async def add_members(self, repository_id: int, digest: str, manifest: Manifest) -> list[str]:
        """Write down again what a manifest needs."""
        operation = self._session.operation("fsck.repair", digest=digest, details={"problem": "member-row"})
        async with self._session.change(operation) as change:
            new = change.tx.insert(manifest_members).on_conflict_do_nothing()
            members = [(each.digest, "blob") for each in manifest.blobs]
            members += [(each.digest, "manifest") for each in manifest.children]
            rows = [
                {"repository_id": repository_id, "digest": digest, "member": str(member), "kind": kind}
                for member, kind in members
            ]
            await change.tx.execute_many(new, rows)
        return []

    # ---- one blob ----

    def _change(self, problem: str, blob: StoredBlob) -> Any:
        return self._session.change(
            self._session.operation("fsck.repair", digest=blob.digest, size=blob.size, details={"problem": problem})
        )

    async def _alone(self, change: Change, blob: StoredBlob) -> None:
        await self._house.database.lock(change.tx, blob_lock(blob.digest))
        row = await change.tx.row(STORED_BLOB, digest=blob.digest)
        if row is None or StoredBlob(*row) != blob:
            message = f"somebody has changed {blob.digest} meanwhile; check again"
            raise Precondition(message)

    async def _drop(self, change: Change, blob: StoredBlob) -> None:
        await self._alone(change, blob)
        holders = await change.tx.rows(
            sa.select(repositories.c.name)
            .select_from(blob_links.join(repositories, repositories.c.id == blob_links.c.repository_id))
            .where(blob_links.c.digest == blob.digest)
        )
        await change.tx.execute(sa.delete(blob_links).where(blob_links.c.digest == blob.digest))
        await change.tx.execute(sa.delete(blobs).where(blobs.c.digest == blob.digest))
        change.counted = [
            self._session.operation("blob.delete", repository=name, digest=blob.digest, size=blob.size)
            for (name,) in holders
        ]

    async def _images(self, digest: str) -> list[str]:
        """Whom the loss of a blob breaks, in sentences."""
        same = sa.and_(tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest)
        rows = await self._house.database.rows(
            sa.select(repositories.c.name, manifests.c.digest, tags.c.name)
            .select_from(
                manifest_members.join(
                    manifests,
                    sa.and_(
                        manifests.c.repository_id == manifest_members.c.repository_id,
                        manifests.c.digest == manifest_members.c.digest,
                    ),
                )
                .join(repositories, repositories.c.id == manifests.c.repository_id)
                .outerjoin(tags, same)
            )
            .where(manifest_members.c.member == digest)
            .order_by(repositories.c.name, manifests.c.digest, tags.c.name)
            .limit(IMAGES_TOLD)
        )
        return [
            f"broken without it, until it is pushed again: {name}{f':{tag}' if tag else ''}@{manifest}"
            for name, manifest, tag in rows
        ]

    async def _keep(self, blob: StoredBlob, folder: Path) -> Path:
        """Copy the bytes as they are into a folder of this machine."""
        place = folder / blob.digest.replace(":", "-")
        await save(place, self._house.storage.read(blob.key))
        return place
