"""Whole artifacts and repositories, as the management API knows them: tag, copy, delete.

An artifact is a manifest with all that hangs on it: the manifests of an index below it, the referrers (signatures,
SBOMs) beside it. What happens to several manifests at once happens in one transaction, and every one of them is asked
about and told as if it had come alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from corereg.access import Action
from corereg.errors import Exists, Missing, Precondition
from corereg.events import Operation
from corereg.oci.digest import Digest
from corereg.oci.errors import BlobUnknown, ManifestUnknown
from corereg.oci.manifest import Manifest
from corereg.oci.names import Tag, check_repository
from corereg.session.door import Change, Door


class Copied(msgspec.Struct, frozen=True):
    """An artifact on its way into another repository: manifests, members before those that need them, and blobs."""

    root: Digest
    manifests: tuple[tuple[Digest, Manifest], ...]
    """Each under the digest it is kept by, which may be of another algorithm than `Manifest.digest`."""
    blobs: dict[str, int]


class Artifacts(Door):
    """What a session does with whole artifacts and repositories."""

    __slots__ = ()

    # ---- tags ----

    async def create_tag(self, repository: str, digest: Digest, tag: Tag) -> None:
        """Point a new tag at a manifest that is there. Raises Exists for a tag that points anywhere already."""
        await self.require(Action("tag", "create", repository))
        catalog = self._house.catalog
        operation = self.operation("tag.create", repository=repository, tags=(str(tag),), digest=str(digest))
        async with self.change(operation) as change:
            await self._alone(change.tx, repository)
            found = await catalog.manifest_head(repository, digest, change.tx)
            repository_id = await catalog.repository_id(repository, change.tx)
            if found is None or repository_id is None:
                raise ManifestUnknown
            change.describe(media_type=found.media_type, size=found.size)
            if await catalog.put_tag(change.tx, repository_id, tag, str(digest)) is not None:
                message = f"the tag {tag} is in {repository} already; delete it first, or push to it"
                raise Exists(message)

    async def delete_tag(self, repository: str, digest: Digest, tag: Tag) -> None:
        """Remove a tag of just that manifest. Raises Missing when it points elsewhere or nowhere."""
        await self.require(Action("tag", "delete", repository))
        self._check_deletable()
        catalog = self._house.catalog
        operation = self.operation("tag.delete", repository=repository, tags=(str(tag),), digest=str(digest))
        async with self.change(operation) as change:
            await self._alone(change.tx, repository)
            found = await catalog.manifest_head(repository, tag, change.tx)
            repository_id = await catalog.repository_id(repository, change.tx)
            if found is None or repository_id is None or found.digest != str(digest):
                message = f"{repository}@{digest} has no tag {tag}"
                raise Missing(message)
            await self._house.trash.keep_tag(change.tx, repository, str(digest), tag, by=self.identity.name)
            await catalog.delete_tag(change.tx, repository_id, tag)

    # ---- delete ----

    async def delete_artifact(
        self, repository: str, digest: Digest, *, only_untagged: bool = False, before: int | None = None
    ) -> None:
        """Remove a manifest with its tags and its referrers. Raises Precondition while an index still needs it, with
        `only_untagged` when any of them has a tag, and with `before` (microseconds since 1970) when somebody has pushed
        or asked for any of them since.
        """
        await self.require(Action("artifact", "delete", repository))
        self._check_deletable()
        catalog = self._house.catalog
        repository_id = await catalog.repository_id(repository)
        if repository_id is None:
            raise ManifestUnknown
        going = [str(digest), *await self._hanging_on(repository_id, str(digest))]
        operations = [await self._deletion(repository, repository_id, each) for each in going]
        if only_untagged and (tagged := next((each for each in operations if each.tags), None)):
            message = f"{repository}@{tagged.digest} has the tag {tagged.tags[0]}"
            raise Precondition(message)
        async with self.change(operations[0], more=operations[1:]) as change:
            await self._alone(change.tx, repository)
            batch = self._house.trash.batch()
            for operation in reversed(operations):
                await self._delete_one(change, repository_id, operation, batch, before)

    async def _hanging_on(self, repository_id: int, subject: str) -> list[str]:
        """Referrers of a manifest, and theirs."""
        found: dict[str, None] = {}
        waiting = [subject]
        while waiting:
            for each in await self._house.catalog.referrers_of(repository_id, waiting.pop()):
                if each not in found and each != subject:
                    found[each] = None
                    waiting.append(each)
        return list(found)

    async def _deletion(self, repository: str, repository_id: int, digest: str) -> Operation:
        catalog = self._house.catalog
        head = await catalog.manifest_head(repository, Digest.parse(digest))
        if head is None:
            raise ManifestUnknown
        return self.operation(
            "manifest.delete",
            repository=repository,
            digest=digest,
            media_type=head.media_type,
            size=head.size,
            tags=tuple(await catalog.tags_of(self._house.database, repository_id, digest)),
        )

    async def _deletions(self, repository: str, repository_id: int, digests: Iterable[str]) -> list[Operation]:
        catalog = self._house.catalog
        heads = {digest: (media_type, size) for digest, media_type, size, _ in await catalog.contents(repository_id)}
        tags = await catalog.all_tags(repository_id)
        found = []
        for digest in digests:
            if digest not in heads:
                raise ManifestUnknown
            media_type, size = heads[digest]
            found.append(
                self.operation(
                    "manifest.delete",
                    repository=repository,
                    digest=digest,
                    media_type=media_type,
                    size=size,
                    tags=tuple(tags.get(digest, ())),
                )
            )
        return found

    async def _delete_one(
        self, change: Change, repository_id: int, operation: Operation, batch: str, before: int | None
    ) -> None:
        catalog, digest, repository = self._house.catalog, str(operation.digest), operation.repository
        user = await catalog.user_of(change.tx, repository_id, digest)
        if user is not None:
            message = f"the deleting artifact is referenced by others: {repository}@{user} needs it; delete that first"
            raise Precondition(message)
        held = {each.digest for each in (change.operation, *change.more)}
        new = [each for each in await catalog.referrers_of(repository_id, digest, change.tx) if each not in held]
        tagged = tuple(await catalog.tags_of(change.tx, repository_id, digest))
        await self._keep(change, repository_id, batch, operation)
        same = not new and tagged == operation.tags
        if not same or not await catalog.delete_manifest(change.tx, repository_id, digest, before=before):
            message = f"somebody changed {repository}@{digest} at the same moment; look at it, and try again"
            raise Precondition(message)

    async def delete_repository(self, repository: str) -> None:
        """Remove a repository with everything in it. Raises Missing."""
        await self.require(Action("repository", "delete", repository))
        self._check_deletable()
        catalog = self._house.catalog
        repository_id = await catalog.repository_id(repository)
        if repository_id is None:
            message = f"there is no repository {repository}"
            raise Missing(message)
        digests = [row[0] for row in await catalog.contents(repository_id)]
        operations = await self._deletions(repository, repository_id, digests)
        first = self.operation("repository.delete", repository=repository)
        async with self.change(first, more=operations) as change:
            await self._alone(change.tx, repository)
            tags = await catalog.all_tags(repository_id, change.tx)
            now = {row[0] for row in await catalog.contents(repository_id, change.tx)}
            if now != set(digests) or any(tags.get(str(each.digest), []) != list(each.tags) for each in operations):
                message = f"somebody pushed to {repository} at the same moment; look at it, and try again"
                raise Precondition(message)
            batch = self._house.trash.batch()
            for each in reversed(operations):
                await self._keep(change, repository_id, batch, each)
            links = await catalog.links(repository_id, change.tx)
            change.more += [
                self.operation("blob.delete", repository=repository, digest=digest, size=size)
                for digest, size in links.items()
            ]
            await catalog.delete_repository(change.tx, repository_id)

    # ---- copy ----

    async def copy_artifact(self, source: str, digest: Digest, target: str, tags: Sequence[Tag] = ()) -> None:
        """Bring an artifact into another repository of this registry: no byte moves.

        Its referrers come along. Raises ManifestUnknown, Precondition when something was deleted meanwhile.
        """
        await self.require(Action("artifact", "read", source))
        await self.require(Action("artifact", "create", target))
        check_repository(target)
        copied = await self._collected(source, digest)
        blobs = [
            self.operation("blob.mount", repository=target, digest=each, size=size, source=source)
            for each, size in copied.blobs.items()
        ]
        pushes = [
            self._push_of(target, each, manifest, tags if each == digest else ()) for each, manifest in copied.manifests
        ]
        root = next(place for place, (each, _) in enumerate(copied.manifests) if each == digest)
        first = msgspec.structs.replace(pushes[root], source=source)
        others = [*blobs, *pushes[:root], *pushes[root + 1 :]]
        async with self.change(first, more=others) as change:
            await self._alone(change.tx, target)
            repository_id = await self._house.catalog.ensure_repository(change.tx, target)
            new = await self._link(change, source, repository_id, copied)
            change.describe(new=new[str(copied.root)])
            change.more[:] = [msgspec.structs.replace(each, new=new[str(each.digest)]) for each in change.more]
            for tag in tags:
                await self._house.catalog.put_tag(change.tx, repository_id, tag, str(copied.root))

    def _push_of(self, target: str, digest: Digest, manifest: Manifest, tags: Sequence[Tag]) -> Operation:
        return self.operation(
            "manifest.push",
            repository=target,
            tags=tuple(map(str, tags)),
            digest=str(digest),
            media_type=manifest.media_type,
            size=len(manifest.body),
            manifest=manifest,
        )

    async def _collected(self, source: str, digest: Digest) -> Copied:
        """The manifest, what it is made of and what refers to it."""
        catalog = self._house.catalog
        repository_id = await catalog.repository_id(source)
        if repository_id is None:
            raise ManifestUnknown
        sizes = await catalog.links(repository_id)
        blobs: dict[str, int] = {}
        found: dict[str, tuple[Digest, Manifest]] = {}
        read: dict[str, tuple[Digest, Manifest]] = {}
        seen: set[str] = set()
        waiting = [(str(digest), False)]  # the members of each come before it, what refers to it afterwards
        while waiting:
            each, members_are_there = waiting.pop()
            if members_are_there:
                found[each] = read.pop(each)
                waiting += [(referrer, False) for referrer in await catalog.referrers_of(repository_id, each)]
                continue
            if each in seen:
                continue
            seen.add(each)
            name = Digest.parse(each)
            stored = await catalog.manifest(source, name)
            if stored is None:
                raise ManifestUnknown
            read[each] = (name, Manifest.parse(stored.body, stored.media_type))
            waiting.append((each, True))
            for member, kind in await catalog.members_of(repository_id, each):
                if kind == "manifest":
                    waiting.append((member, False))
                elif member in sizes:
                    blobs[member] = sizes[member]
        return Copied(digest, tuple(found.values()), blobs)

    async def _link(self, change: Change, source: str, repository_id: int, copied: Copied) -> dict[str, bool]:
        """Write it all; what is new in the repository, by digest."""
        catalog = self._house.catalog
        new: dict[str, bool] = {}
        for digest in sorted(copied.blobs):  # each is locked: whoever locks several does it in this order
            if await catalog.blob_of(change.tx, source, digest) is None:
                raise BlobUnknown  # deleted a moment ago
            linked = await catalog.link_blob(change.tx, repository_id, digest)
            if linked is None:
                raise BlobUnknown
            new[digest] = linked[1]
        for name, manifest in copied.manifests:
            new[str(name)] = await catalog.put_manifest(change.tx, repository_id, name, manifest)
        return new
