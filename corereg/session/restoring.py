"""Bringing back what was deleted, until the collector has taken it: through the same door as a push."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corereg.access import Action, scopes_of
from corereg.errors import Exists, Missing, Precondition
from corereg.events import Operation
from corereg.oci.digest import Digest
from corereg.oci.errors import ManifestUnknown
from corereg.oci.manifest import Manifest
from corereg.session.door import Change, Door
from corereg.store.listing import Listing
from corereg.store.trash import Trashed


class Restoring(Door):
    """What a session does with deleted manifests and tags."""

    __slots__ = ()

    async def trash(self, listing: Listing) -> tuple[list[Trashed], int]:
        """One page of what was deleted in repositories this identity may push to, the latest first; how many in all."""
        return await self._house.trash.page(listing, scopes_of(self.grants, "repository", "push"))

    async def restore(self, trashed: int) -> list[Trashed]:
        """Bring back a deleted tag, or a deleted manifest with all that was deleted with it; what came back.

        Raises Missing when it is not there (any more), Exists when a tag points elsewhere by now, Precondition when a
        blob is no longer stored.
        """
        found = await self._house.trash.find(trashed)
        if found is None or not await self.holds(Action("repository", "push", found.repository)):
            message = f"there is nothing deleted under the number {trashed}; it may have been collected"
            raise Missing(message)
        if found.kind == "tag":
            await self._restore_tag(found)
            return [found]
        return await self._restore_manifests(found)

    async def _restore_tag(self, found: Trashed) -> None:
        catalog, (tag,) = self._house.catalog, found.tags
        operation = self.operation(
            "tag.create",
            repository=found.repository,
            tags=found.tags,
            digest=found.digest,
            details={"restored": found.id},
        )
        async with self.change(operation) as change:
            await self._alone(change.tx, found.repository)
            repository_id = await catalog.repository_id(found.repository, change.tx)
            head = await catalog.manifest_head(found.repository, Digest.parse(found.digest), change.tx)
            if repository_id is None or head is None:
                message = (
                    f"{found.repository}@{found.digest}, which the tag {tag} pointed at, was deleted too; restore that"
                )
                raise Precondition(message)
            change.describe(media_type=head.media_type, size=head.size)
            await self._point(change, found.repository, repository_id, tag, found.digest)
            await self._house.trash.drop(change.tx, [found.id])

    async def _point(self, change: Change, repository: str, repository_id: int, tag: str, digest: str) -> None:
        previous = await self._house.catalog.put_tag(change.tx, repository_id, tag, digest)
        if previous is not None and previous != digest:
            message = f"the tag {tag} of {repository} points at {previous} by now; delete it first"
            raise Exists(message)

    async def _restore_manifests(self, found: Trashed) -> list[Trashed]:
        house = self._house
        repository = found.repository
        together = await house.trash.together(house.database, found.batch, repository)
        if not together:
            raise ManifestUnknown
        manifests = _members_first([(each, Manifest.parse(each.body, each.media_type)) for each in together])
        pushes = [self._push_of_trashed(each, manifest) for each, manifest in manifests]
        async with self.change(pushes[0], more=pushes[1:]) as change:
            await self._alone(change.tx, repository)
            if await house.trash.drop(change.tx, [each.id for each in together]) != len(together):
                message = f"{repository}@{found.digest} was restored or collected a moment ago"
                raise Missing(message)
            repository_id = await house.catalog.ensure_repository(change.tx, repository)
            mounts = await self._link_blobs(change, repository, repository_id, manifests)
            new = [await self._put_back(change, repository_id, each, manifest) for each, manifest in manifests]
            change.describe(new=new[0])
            change.more[:] = [
                *mounts,
                *(msgspec.structs.replace(each, new=is_new) for each, is_new in zip(pushes[1:], new[1:], strict=True)),
            ]
        return together

    def _push_of_trashed(self, trashed: Trashed, manifest: Manifest) -> Operation:
        return self.operation(
            "manifest.push",
            repository=trashed.repository,
            tags=trashed.tags,
            digest=trashed.digest,
            media_type=trashed.media_type,
            size=trashed.size,
            manifest=manifest,
            details={"restored": trashed.id},
        )

    async def _link_blobs(
        self, change: Change, repository: str, repository_id: int, manifests: Sequence[tuple[Trashed, Manifest]]
    ) -> list[Operation]:
        """Let the repository serve the manifests' blobs again; what is told of those that it did not serve any more.

        What it never served it is not given now: the blob may be a secret of another repository.
        """
        mounts = []
        served = {
            str(blob.digest)
            for trashed, manifest in manifests
            for blob in manifest.blobs
            if str(blob.digest) not in trashed.lacking
        }
        for digest in sorted(served):
            linked = await self._house.catalog.link_blob(change.tx, repository_id, digest)
            if linked is None:
                message = f"the blob {digest} is not stored any more; push the image again"
                raise Precondition(message)
            blob, new = linked
            if new:
                mounts.append(
                    self.operation("blob.mount", repository=repository, digest=digest, size=blob.size,
                                   source=repository, new=True)
                )  # fmt: skip
        return mounts

    async def _put_back(self, change: Change, repository_id: int, trashed: Trashed, manifest: Manifest) -> bool:
        """Write one manifest with its tags; whether it was not there."""
        catalog = self._house.catalog
        missing = await catalog.missing(change.tx, repository_id, manifest)
        if missing.digests and not self._house.protocol.allow_sparse:
            message = (
                f"{trashed.repository}@{trashed.digest} needs {missing.digests[0]}, which was deleted too; restore that"
            )
            raise Precondition(message)
        new = await catalog.put_manifest(change.tx, repository_id, Digest.parse(trashed.digest), manifest)
        for tag in trashed.tags:
            await self._point(change, trashed.repository, repository_id, tag, trashed.digest)
        return new


def _members_first(manifests: Sequence[tuple[Trashed, Manifest]]) -> list[tuple[Trashed, Manifest]]:
    """The same, the manifests of an index before the index."""
    by_digest = {trashed.digest: (trashed, manifest) for trashed, manifest in manifests}
    ordered: dict[str, tuple[Trashed, Manifest]] = {}

    def add(digest: str) -> None:
        if digest in ordered or digest not in by_digest:
            return
        for child in by_digest[digest][1].children:
            add(str(child.digest))
        ordered[digest] = by_digest[digest]

    for digest in by_digest:
        add(digest)
    return list(ordered.values())
