"""Content that lies in the storage already, because another registry put it there, becomes this registry's own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corereg.access import Action
from corereg.errors import Precondition
from corereg.events import Operation
from corereg.oci.digest import Digest
from corereg.oci.manifest import Manifest
from corereg.oci.names import check_repository
from corereg.session.door import Change, Door
from corereg.store.catalog import StoredBlob
from corereg.store.condemned import blob_lock
from corereg.store.database import Transaction

ADOPT = Action("repository", "push")


class FoundManifest(msgspec.Struct, frozen=True):
    """A manifest that was found: the digest it is kept by, and the tags that shall point at it."""

    digest: Digest
    manifest: Manifest
    tags: tuple[str, ...] = ()


class Adoption(Door):
    """What a session does with content that lies in the storage already."""

    __slots__ = ()

    async def adopt(
        self, repository: str, blobs: Sequence[StoredBlob], manifests: Sequence[FoundManifest]
    ) -> tuple[int, int, int]:
        """Let the repository serve blobs that are stored and manifests; how many (blobs, manifests, tags) were new.

        All of it happens or nothing, and everybody is asked and told as of pushes, with ``{"adopted": true}`` in the
        details. Members come before the manifests that need them. The caller has checked digests and members. A tag
        that is there stays where it points. Raises Precondition when a collection is just deleting one of the blobs.
        """
        await self._require(ADOPT.action, repository)
        check_repository(repository)
        operations = [
            *[self._adopts("blob.push", repository, digest=each.digest, size=each.size) for each in blobs],
            *[self._manifest_operation(repository, each) for each in manifests],
        ]
        if not operations:
            return 0, 0, 0
        async with self.change(operations[0], more=operations[1:]) as change:
            await self._alone(change.tx, repository)
            await self._check_not_condemned(change.tx, blobs)
            repository_id = await self._house.catalog.ensure_repository(change.tx, repository)
            linked = [
                (await self._house.catalog.put_blob(change.tx, repository_id, each.digest, each.size, each.key))[1]
                for each in blobs
            ]
            written = [await self._put(change.tx, repository_id, each) for each in manifests]
            first, *others = [
                *[msgspec.structs.replace(each, new=new) for each, new in zip(operations, linked, strict=False)],
                *[
                    msgspec.structs.replace(each, new=new, tags=tags)
                    for each, (new, tags) in zip(operations[len(blobs) :], written, strict=True)
                ],
            ]
            _replace(change, first, others)
        return sum(linked), sum(new for new, _ in written), sum(len(tags) for _, tags in written)

    def _adopts(self, kind: str, repository: str, **fields: object) -> Operation:
        return self.operation(kind, repository=repository, details={"adopted": True}, **fields)

    def _manifest_operation(self, repository: str, found: FoundManifest) -> Operation:
        return self._adopts(
            "manifest.push",
            repository,
            tags=found.tags,
            digest=str(found.digest),
            media_type=found.manifest.media_type,
            size=len(found.manifest.body),
            manifest=found.manifest,
        )

    async def _put(self, tx: Transaction, repository_id: int, found: FoundManifest) -> tuple[bool, tuple[str, ...]]:
        """Whether the manifest is new, and which of its tags are."""
        catalog = self._house.catalog
        new = await catalog.put_manifest(tx, repository_id, found.digest, found.manifest)
        tags = tuple([tag for tag in found.tags if await catalog.add_tag(tx, repository_id, tag, found.digest)])
        return new, tags

    async def _check_not_condemned(self, tx: Transaction, blobs: Sequence[StoredBlob]) -> None:
        for each in sorted(blobs, key=lambda blob: blob.digest):
            await self._house.database.lock(tx, blob_lock(each.digest))
            if (key := await self._house.condemned.key_of(tx, each.digest)) is not None:
                message = f"{key} is just being deleted by a collection; adopt again in a moment"
                raise Precondition(message)


def _replace(change: Change, first: Operation, others: Sequence[Operation]) -> None:
    change.operation = first
    change.more[:] = others
