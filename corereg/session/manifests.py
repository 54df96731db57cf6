"""Manifests and tags: pull, push, delete."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corereg.access import Action, allowed
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    ManyErrors,
    NameUnknown,
    OCIError,
    PreconditionFailed,
    TooManyTags,
)
from corereg.oci.manifest import Manifest
from corereg.oci.names import Tag
from corereg.session.door import Change, Door
from corereg.store.catalog import StoredManifest
from corereg.store.database import Transaction, now

SECOND = 1_000_000
MISSING_TOLD = 100
"""At most so many missing digests are named in one answer."""


class Precondition(msgspec.Struct, frozen=True):
    """What must hold of a manifest reference before it is written (RFC 9110 section 13).

    `match`: it must point at one of these digests (``*``: at anything); None is no condition. `none_match`: it must
    point at none of these (``*``: at nothing).
    """

    match: tuple[str, ...] | None = None
    none_match: tuple[str, ...] = ()

    def check(self, current: str | None) -> None:
        if self.match is not None and (current is None or (current not in self.match and "*" not in self.match)):
            message = f"If-Match does not hold: the reference points at {current or 'nothing'}; read it again"
            raise PreconditionFailed(message)
        if current is not None and (current in self.none_match or "*" in self.none_match):
            message = f"If-None-Match does not hold: the reference points at {current}"
            raise PreconditionFailed(message)


class Pushed(msgspec.Struct, frozen=True):
    """A manifest that was put: its digest, the tags that were set, and its subject."""

    digest: Digest
    tags: tuple[str, ...]
    subject: str | None


class Manifests(Door):
    """What a session does with manifests and tags."""

    __slots__ = ()

    async def manifest(self, repository: str, reference: Digest | Tag, *, head: bool = False) -> StoredManifest:
        """A manifest, for whoever may pull; with `head` without its body, and not counted as a pull."""
        if not allowed(self.grants, action := Action("repository", "pull", repository)):
            raise await self.refusal(action)
        catalog = self._house.catalog
        found = await (catalog.manifest_head if head else catalog.manifest)(repository, reference)
        if found is None:
            raise await self._manifest_unknown(repository, reference)
        tags = (str(reference),) if isinstance(reference, Tag) else ()
        if self._house.plugins.admits:
            await self._admit(
                self.operation(
                    "manifest.pull",
                    repository=repository,
                    tags=tags,
                    digest=found.digest,
                    media_type=found.media_type,
                    size=found.size,
                )
            )
        # Whoever hears that it is here names it in an index soon, and the collector may be on its way.
        old = head and found.used < now() - self._house.gc.grace * SECOND // 2
        if old and not await self._still_there(catalog.use_manifest(repository, found.digest)):
            raise await self._manifest_unknown(repository, reference)
        if not head:
            self._happened("manifest.pull", later=True, repository=repository, digest=found.digest, tags=tags)
        return found

    async def _manifest_unknown(
        self, repository: str, reference: Digest | Tag, tx: Transaction | None = None
    ) -> OCIError:
        if await self._house.catalog.repository_id(repository, tx) is None:
            return NameUnknown(f"there is no repository {repository}; check the name, or push to it first")
        return ManifestUnknown(f"{repository} has no {_named(reference)}; list its tags to see what is there")

    async def may_push(self, repository: str) -> None:
        """Raise unless the identity may push to the repository; asked before a body is read."""
        await self._require("push", repository)

    async def may_put(self, repository: str, reference: Digest | Tag, precondition: Precondition | None) -> None:
        """Raise unless the identity may push there and the precondition holds now; asked before a body is read."""
        await self._require("push", repository)
        if precondition is not None:
            current = await self._house.catalog.manifest_head(repository, reference)
            precondition.check(current.digest if current else None)

    async def put_manifest(
        self,
        repository: str,
        reference: Digest | Tag,
        body: bytes,
        content_type: str | None,
        *,
        tags: Sequence[Tag] = (),
        precondition: Precondition | None = None,
    ) -> Pushed:
        """Store the exact bytes, and point the tags at them. All of it happens, or nothing."""
        await self._require("push", repository)
        protocol = self._house.protocol
        if len(tags) > protocol.tags_per_push:
            message = f"{len(tags)} tags in one push; this registry takes {protocol.tags_per_push}, push the rest again"
            raise TooManyTags(message)
        manifest = Manifest.parse(body, content_type)
        digest = manifest.digest
        if isinstance(reference, Digest):
            digest = _checked_digest(reference, manifest)
        else:
            tags = [reference, *tags]
        operation = self.operation(
            "manifest.push",
            repository=repository,
            tags=tuple(dict.fromkeys(map(str, tags))),
            digest=str(digest),
            media_type=manifest.media_type,
            size=len(body),
            manifest=manifest,
        )
        async with self.change(operation) as change:
            await self._write_manifest(change, repository, reference, digest, manifest, precondition)
        subject = str(manifest.subject.digest) if manifest.subject else None
        return Pushed(digest, operation.tags, subject)

    async def _write_manifest(
        self,
        change: Change,
        repository: str,
        reference: Digest | Tag,
        digest: Digest,
        manifest: Manifest,
        precondition: Precondition | None,
    ) -> None:
        catalog, tx = self._house.catalog, change.tx
        await self._alone(tx, repository)
        if precondition is not None:
            current = await catalog.manifest_head(repository, reference, tx)
            precondition.check(current.digest if current else None)
        repository_id = await catalog.ensure_repository(tx, repository)
        new = await catalog.put_manifest(tx, repository_id, digest, manifest)
        change.describe(new=new)
        if new:
            # One that was there already was checked when it came, and what it needs cannot be deleted since.
            await self._check_members(tx, repository, repository_id, manifest)
        moved = {}
        for tag in change.operation.tags:
            previous = await catalog.put_tag(tx, repository_id, tag, digest)
            if previous is not None and previous != digest:
                moved[tag] = previous
        if moved:
            change.details["moved"] = moved

    async def _check_members(self, tx: Transaction, repository: str, repository_id: int, manifest: Manifest) -> None:
        missing = await self._house.catalog.missing(tx, repository_id, manifest)
        if missing.sizes:
            digest, said, stored = missing.sizes[0]
            message = f"the descriptor of {digest} says {said} bytes, {stored} are stored"
            raise ManifestInvalid(message)
        if missing.digests and not self._house.protocol.allow_sparse:
            raise ManyErrors(
                [
                    ManifestBlobUnknown(
                        f"{repository} does not hold {digest}, which the manifest names; push that first",
                        detail={"digest": digest},
                    )
                    for digest in missing.digests[:MISSING_TOLD]
                ]
            )

    async def delete_manifest(
        self, repository: str, reference: Digest | Tag, *, precondition: Precondition | None = None
    ) -> None:
        """Remove a tag alone, or a manifest with all its tags."""
        await self._require("delete", repository)
        self._check_deletable()
        if isinstance(reference, Tag):
            await self._delete_tag(repository, reference, precondition)
            return
        async with self.change(
            self.operation("manifest.delete", repository=repository, digest=str(reference))
        ) as change:
            catalog = self._house.catalog
            await self._alone(change.tx, repository)
            repository_id = await catalog.repository_id(repository, change.tx)
            if repository_id is None:
                raise await self._manifest_unknown(repository, reference, change.tx)
            await self._check_unused(change.tx, repository_id, "manifest", str(reference))
            found = await catalog.manifest_head(repository, reference, change.tx)
            if found is not None and precondition is not None:
                precondition.check(found.digest)
            change.describe(
                tags=tuple(await catalog.tags_of(change.tx, repository_id, str(reference))),
                size=found.size if found else None,
                media_type=found.media_type if found else None,
            )
            await self._keep(change, repository_id, self._house.trash.batch())
            if not await catalog.delete_manifest(change.tx, repository_id, str(reference)):
                raise await self._manifest_unknown(repository, reference, change.tx)

    async def _delete_tag(self, repository: str, tag: Tag, precondition: Precondition | None) -> None:
        """The tag alone; its manifest stays."""
        operation = self.operation("tag.delete", repository=repository, tags=(str(tag),))
        async with self.change(operation) as change:
            catalog = self._house.catalog
            await self._alone(change.tx, repository)
            found = await catalog.manifest_head(repository, tag, change.tx)
            repository_id = await catalog.repository_id(repository, change.tx)
            if found is None or repository_id is None:
                raise await self._manifest_unknown(repository, tag, change.tx)
            if precondition is not None:
                precondition.check(found.digest)
            change.describe(digest=found.digest)
            await self._house.trash.keep_tag(change.tx, repository, found.digest, tag, by=self.identity.name)
            await catalog.delete_tag(change.tx, repository_id, tag)


def _checked_digest(reference: Digest, manifest: Manifest) -> Digest:
    found = Digest.of(manifest.body, reference.algorithm)
    if found != reference:
        message = f"the manifest's digest is {found}, not {reference}; send the exact bytes"
        raise DigestInvalid(message)
    return found


def _named(reference: Digest | Tag) -> str:
    return f"manifest {reference}" if isinstance(reference, Digest) else f"tag {reference}"
