"""Blobs: pull, mount, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corereg.access import Action, allowed
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    BlobUnknown,
    OCIError,
)
from corereg.oci.names import check_repository
from corereg.session.door import Door, SignInNeeded
from corereg.store.catalog import StoredBlob
from corereg.store.database import now

SECOND = 1_000_000


class _Deleted(Exception):
    """The blob was there a moment ago."""


class Blobs(Door):
    """What a session does with blobs that are stored."""

    __slots__ = ()

    async def blob(self, repository: str, digest: Digest, *, head: bool = False) -> StoredBlob:
        """Where a blob lies, for whoever may pull, or with `head` push.

        Somebody who may do neither hears that it is not there: docker then goes on to the push and prints its reason.
        """
        pull = Action("repository", "pull", repository)
        if not (allowed(self.grants, pull) or await self.holds(pull)):
            pushes = head and self.may(Action("repository", "push", repository))
            if not pushes:
                reason = await self.refusal(pull)
                raise reason if isinstance(reason, SignInNeeded) else BlobUnknown
        found = await self._house.catalog.blob(repository, digest)
        if found is None:
            raise BlobUnknown
        if self._house.plugins.admits:
            await self._admit(self.operation("blob.pull", repository=repository, digest=str(digest), size=found.size))
        # Whoever hears that it is here names it in a manifest soon, and the collector may be on its way.
        old = head and found.used < now() - self._house.gc.grace * SECOND // 2
        if old and not await self._still_there(self._house.catalog.use_blob(repository, str(digest))):
            raise BlobUnknown
        return found

    def read(self, blob: StoredBlob, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a blob this session was given."""
        return self._house.storage.read(blob.key, start, blob.size if stop is None else stop)

    def path(self, blob: StoredBlob) -> str | None:
        """The local file of a blob this session was given, where the storage has one."""
        return self._house.storage.path(blob.key)

    async def redirect(self, blob: StoredBlob, *, method: str, expires: int = 1200) -> str | None:
        """A URL the client may fetch the blob from by itself, where the storage can give one."""
        return await self._house.storage.redirect(
            blob.key, method=method, filename=blob.digest, expires=expires, size=blob.size
        )

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """The repository serves the blob no longer."""
        await self._require("delete", repository)
        self._check_deletable()
        async with self.change(self.operation("blob.delete", repository=repository, digest=str(digest))) as change:
            await self._alone(change.tx, repository)
            repository_id = await self._house.catalog.repository_id(repository, change.tx)
            if repository_id is None:
                raise BlobUnknown
            await self._check_unused(change.tx, repository_id, "blob", str(digest))
            blob = await self._house.catalog.blob_of(change.tx, repository, digest)
            change.describe(size=blob.size if blob else None)
            if not await self._house.catalog.unlink_blob(change.tx, repository_id, str(digest)):
                raise BlobUnknown

    async def mount(self, repository: str, digest: Digest, source: str | None) -> StoredBlob | None:
        """Serve a blob of another repository here too; None when that is not to be (the client then uploads).

        `source` None: any repository whose blobs the identity may pull.
        """
        await self._require("push", repository)
        origin = await self._mount_origin(repository, digest, source)
        if origin is None:
            return None
        operation = self.operation("blob.mount", repository=repository, digest=str(digest), source=origin)
        try:
            async with self.change(operation) as change:
                catalog = self._house.catalog
                if await catalog.blob_of(change.tx, origin, digest) is None:
                    raise _Deleted
                repository_id = await catalog.ensure_repository(change.tx, repository)
                linked = await catalog.link_blob(change.tx, repository_id, digest)
                if linked is None:
                    raise _Deleted
                blob, new = linked
                change.describe(size=blob.size, new=new)
        except _Deleted:
            return None
        return blob

    async def _mount_origin(self, repository: str, digest: Digest, source: str | None) -> str | None:
        catalog = self._house.catalog
        if source is not None:
            try:
                check_repository(source)
            except OCIError:
                return None
            readable = self.may(Action("repository", "pull", source))
            return source if readable and await catalog.blob(source, digest) else None
        if not self._house.protocol.mount_without_from:
            return None
        # A token is asked for the target alone; what counts here is what its holder may do.
        grants = await self._house.plugins.grants(self.identity) if self.narrow else self.grants
        holders = await catalog.blob_holders(digest)
        return next((each for each in holders if allowed(grants, Action("repository", "pull", each))), None)
