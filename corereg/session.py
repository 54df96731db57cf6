"""The only door: all that one identity may do.

Client, API, web UI, replication and jobs act through a Session. Its methods hold nothing but require, admit, act,
record. What they raise is what the client sees (`corereg.oci.errors`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from corereg.access import Action, Grant, Identity, Refusal, allowed
from corereg.config import ProtocolConfig
from corereg.events import Operation
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    BlobUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    ManyErrors,
    NameUnknown,
    OCIError,
    PreconditionFailed,
    TooManyTags,
    Unauthorized,
    Unsupported,
)
from corereg.oci.manifest import Manifest
from corereg.oci.names import Tag, check_repository
from corereg.plugins import Plugins
from corereg.store.catalog import Catalog, Page, StoredBlob, StoredManifest
from corereg.store.database import Database, Row, Transaction
from corereg.store.journal import Happening, Journal
from corereg.store.rights import Rights
from corereg.store.storage import Storage
from corereg.store.uploads import Upload, Uploads

MISSING_TOLD = 100
"""At most so many missing digests are named in one answer."""


class SignInNeeded(Unauthorized):
    """Nobody knows who is asking, or the token covers less than its holder may do: (another) sign-in helps.

    `scope` is what to ask for; `insufficient` that a token was there and did not cover it.
    """

    def __init__(self, message: str, scope: str, *, insufficient: bool = False) -> None:
        super().__init__(message)
        self.scope = scope
        self.insufficient = insufficient


class Refused(OCIError):
    """A policy said no."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, detail=refusal.detail)
        self.code, self.status = refusal.code, refusal.status  # one class for all a policy may answer


class House(msgspec.Struct, frozen=True):
    """What a session works with: the parts of one registry."""

    database: Database
    storage: Storage
    catalog: Catalog
    uploads: Uploads
    journal: Journal
    rights: Rights
    plugins: Plugins
    protocol: ProtocolConfig


class Precondition(msgspec.Struct, frozen=True):
    """What must hold of a manifest reference before it is written (RFC 9110 section 13).

    `match`: it must point at one of these digests (``*``: at anything). `none_match`: it must point at none of these
    (``*``: at nothing).
    """

    match: tuple[str, ...] = ()
    none_match: tuple[str, ...] = ()

    def check(self, current: str | None) -> None:
        if self.match and (current is None or (current not in self.match and "*" not in self.match)):
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


class Change:
    """A change under way: its transaction, and what the journal will say."""

    def __init__(self, operation: Operation, tx: Transaction) -> None:
        self.operation = operation
        self.tx = tx
        self.details: dict[str, Any] = dict(operation.details)
        self.changed: dict[str, bool] = {}

    def describe(self, **fields: Any) -> None:
        """Set fields of the operation that are known only now (digest, size, tags)."""
        self.operation = msgspec.structs.replace(self.operation, **fields)

    def rights_changed(self, *subjects: str) -> None:
        """The subjects' grants (or everybody's: ``*``) are asked anew, on every node within seconds."""
        for subject in subjects:
            self.changed.setdefault(subject, False)

    def revoke(self, *subjects: str) -> None:
        """What the subjects hold (tokens, remembered passwords) is not believed any more."""
        for subject in subjects:
            self.changed[subject] = True


class Session:
    """One identity at work. Cheap to make: one per request.

    `narrow` says that `grants` are those of a token, which may be less than the identity has.
    """

    __slots__ = ("_house", "address", "grants", "identity", "narrow")

    def __init__(
        self,
        house: House,
        identity: Identity,
        grants: Sequence[Grant],
        *,
        address: str | None = None,
        narrow: bool = False,
    ) -> None:
        self._house = house
        self.identity = identity
        self.grants = grants
        self.address = address
        self.narrow = narrow

    @property
    def manifest_limit(self) -> int:
        """Bytes a manifest may have."""
        return self._house.protocol.manifest_limit

    @property
    def page_size(self) -> int:
        """Names a page of a list may have."""
        return self._house.protocol.page_size

    # ---- require, admit, record ----

    def may(self, action: Action) -> bool:
        """Whether the session's grants allow the action."""
        return allowed(self.grants, action)

    async def require(self, action: Action) -> None:
        """Raise unless the action is allowed: SignInNeeded where another sign-in would help, else Denied."""
        if not allowed(self.grants, action):
            raise await self.refusal(action)

    async def refusal(self, action: Action) -> OCIError:
        """Why not: 401 for somebody unknown or a token that covers too little, 403 for everybody else."""
        name = self.identity.name
        self._happened("access.refused", repository=action.scope, details=(("action", str(action)),), later=True)
        scope = _scope_text(action)
        if self.identity.anonymous:
            message = f"sign in to {_said(action)}: anonymous has no right to; run docker login first"
            return SignInNeeded(message, scope, insufficient=self.narrow)
        if self.narrow and allowed(await self._house.plugins.grants(self.identity), action):
            message = f"the token of {name} does not cover this; ask for a token with the scope {scope}"
            return SignInNeeded(message, scope, insufficient=True)
        message = f"{name} may not {_said(action)}: no grant allows it; ask an administrator of this registry"
        return Denied(message)

    async def _require(self, action: str, repository: str) -> None:
        if not allowed(self.grants, Action("repository", action, repository)):
            raise await self.refusal(Action("repository", action, repository))

    async def _admit(self, operation: Operation) -> None:
        refusal = await self._house.plugins.admit(operation)
        if refusal is not None:
            self._happened("access.refused", repository=operation.repository, digest=operation.digest, later=True)
            raise Refused(refusal)

    def operation(self, kind: str, **fields: Any) -> Operation:
        """An operation of this session's identity."""
        return Operation(kind=kind, identity=self.identity, address=self.address, **fields)

    def _happened(self, kind: str, *, later: bool, **fields: Any) -> Happening:
        happening = Happening(
            kind=kind, actor=self.identity.name, subject=self.identity.subject, address=self.address, **fields
        )
        if later:
            self._house.journal.gather(happening)
        return happening

    @asynccontextmanager
    async def change(self, operation: Operation, *, needs: Action | None = None) -> AsyncGenerator[Change]:
        """The way every change goes: require, admit, then act, commit hooks and journal in one transaction.

        The body writes with `Change.tx`. An exception in it rolls everything back.
        """
        if needs is not None:
            await self.require(needs)
        await self._admit(operation)
        house = self._house
        async with house.database.transaction() as tx:
            change = Change(operation, tx)
            yield change
            refusal = await house.plugins.commit(change.operation, tx)
            if refusal is not None:
                raise Refused(refusal)
            for revoke in (False, True):
                await house.rights.change(
                    tx, [s for s, hard in change.changed.items() if hard is revoke], revoke=revoke
                )
            await house.journal.append(tx, self._told(change))
        house.journal.committed()
        if change.changed:
            await house.rights.refresh(now=True)

    def _told(self, change: Change) -> Happening:
        done = change.operation
        return self._happened(
            done.kind,
            later=False,
            repository=done.repository,
            digest=done.digest,
            tags=done.tags,
            media_type=done.media_type,
            size=done.size,
            source=done.source,
            details=change.details or None,
        )

    # ---- manifests ----

    async def manifest(self, repository: str, reference: Digest | Tag, *, head: bool = False) -> StoredManifest:
        """A manifest, for whoever may pull; with `head` without its body, and not counted as a pull."""
        await self._require("pull", repository)
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
        if not head:
            self._happened("manifest.pull", later=True, repository=repository, digest=found.digest, tags=tags)
        return found

    async def _manifest_unknown(self, repository: str, reference: Digest | Tag) -> OCIError:
        if await self._house.catalog.repository_id(repository) is None:
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
        if await catalog.put_manifest(tx, repository_id, digest, manifest):
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

    async def delete_manifest(self, repository: str, reference: Digest | Tag) -> None:
        """Remove a tag alone, or a manifest with all its tags."""
        await self._require("delete", repository)
        self._check_deletable()
        if isinstance(reference, Tag):
            await self._delete_tag(repository, reference)
            return
        async with self.change(
            self.operation("manifest.delete", repository=repository, digest=str(reference))
        ) as change:
            catalog = self._house.catalog
            await self._alone(change.tx, repository)
            repository_id = await catalog.repository_id(repository, change.tx)
            if repository_id is None:
                raise await self._manifest_unknown(repository, reference)
            await self._check_unused(change.tx, repository_id, "manifest", str(reference))
            change.describe(tags=tuple(await catalog.tags_of(change.tx, repository_id, str(reference))))
            if not await catalog.delete_manifest(change.tx, repository_id, str(reference)):
                raise await self._manifest_unknown(repository, reference)

    async def _delete_tag(self, repository: str, tag: Tag) -> None:
        operation = self.operation("tag.delete", repository=repository, tags=(str(tag),))
        async with self.change(operation) as change:
            catalog = self._house.catalog
            await self._alone(change.tx, repository)
            found = await catalog.manifest_head(repository, tag, change.tx)
            repository_id = await catalog.repository_id(repository, change.tx)
            if found is None or repository_id is None:
                raise await self._manifest_unknown(repository, tag)
            change.describe(digest=found.digest)
            await catalog.delete_tag(change.tx, repository_id, tag)

    async def _alone(self, tx: Transaction, repository: str) -> None:
        """From here to the end of `tx` nobody else changes what the repository's manifests stand on: a member cannot be
        deleted between the check that it is there and the commit, and of two conditional pushes one wins."""
        await self._house.database.lock(tx, f"corereg repository {repository}")

    def _check_deletable(self) -> None:
        if not self._house.protocol.delete:
            message = "deleting is switched off on this registry ([protocol] delete = false)"
            raise Unsupported(message)

    async def _check_unused(self, tx: Transaction, repository_id: int, what: str, digest: str) -> None:
        user = await self._house.catalog.user_of(tx, repository_id, digest)
        if user is not None:
            message = f"this {what} is still part of {user}; delete that manifest first"
            raise Unsupported(message)

    # ---- blobs ----

    async def blob(self, repository: str, digest: Digest, *, head: bool = False) -> StoredBlob:
        """Where a blob lies, for whoever may pull, or with `head` push.

        Somebody who may do neither hears that it is not there: docker then goes on to the push and prints its reason.
        """
        if not self.may(Action("repository", "pull", repository)):
            pushes = head and self.may(Action("repository", "push", repository))
            if not pushes:
                reason = await self.refusal(Action("repository", "pull", repository))
                raise reason if isinstance(reason, SignInNeeded) else BlobUnknown
        found = await self._house.catalog.blob(repository, digest)
        if found is None:
            raise BlobUnknown
        if self._house.plugins.admits:
            await self._admit(self.operation("blob.pull", repository=repository, digest=str(digest), size=found.size))
        return found

    def read(self, blob: StoredBlob, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a blob this session was given."""
        return self._house.storage.read(blob.key, start, blob.size if stop is None else stop)

    def path(self, blob: StoredBlob) -> str | None:
        """The local file of a blob this session was given, where the storage has one."""
        return self._house.storage.path(blob.key)

    async def redirect(self, blob: StoredBlob, *, method: str, expires: int = 1200) -> str | None:
        """A URL the client may fetch the blob from by itself, where the storage can give one."""
        return await self._house.storage.redirect(blob.key, method=method, filename=blob.digest, expires=expires)

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
        async with self.change(operation) as change:
            catalog = self._house.catalog
            if await catalog.blob_of(change.tx, origin, digest) is None:
                raise BlobUnknown  # deleted a moment ago
            repository_id = await catalog.ensure_repository(change.tx, repository)
            blob = await catalog.link_blob(change.tx, repository_id, digest)
            if blob is None:
                raise BlobUnknown
            change.describe(size=blob.size)
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

    # ---- uploads ----

    async def start_upload(self, repository: str, algorithm: str = "sha256") -> Upload:
        """Begin a blob. Its content will be hashed with `algorithm` (another one asked at the end works too)."""
        await self._require("push", repository)
        await self._admit(self.operation("blob.push", repository=repository))
        return await self._house.uploads.start(repository, self.identity.subject, algorithm)

    async def upload(self, repository: str, upload: str) -> Upload:
        """An upload of this identity in this repository."""
        await self._require("push", repository)
        return await self._house.uploads.find(upload, repository, self.identity.subject)

    async def append(
        self, upload: Upload, chunks: AsyncIterator[bytes], *, start: int | None, length: int | None
    ) -> Upload:
        """Append to an upload this session was given."""
        return await self._house.uploads.append(upload, chunks, start=start, length=length)

    async def finish_upload(
        self,
        upload: Upload,
        digest: Digest,
        chunks: AsyncIterator[bytes] | None,
        *,
        start: int | None = None,
        length: int | None = None,
    ) -> StoredBlob:
        """Turn an upload this session was given into a blob of its repository: durable, then acknowledged."""
        house = self._house
        committed = await house.uploads.finish(upload, digest, chunks, start=start, length=length)
        operation = self.operation("blob.push", repository=upload.repository, digest=str(digest), size=committed.size)
        try:
            async with self.change(operation) as change:
                repository_id = await house.catalog.ensure_repository(change.tx, upload.repository)
                blob = await house.catalog.put_blob(
                    change.tx, repository_id, str(digest), committed.size, committed.key
                )
                await house.uploads.remove(change.tx, committed)
        except OCIError:
            await house.uploads.cancel(upload)  # refused: a retry starts anew; the bytes wait for the collector
            raise
        return blob

    async def cancel_upload(self, upload: Upload) -> None:
        """Forget an upload this session was given."""
        await self._house.uploads.cancel(upload)

    # ---- lists ----

    async def tags(self, repository: str, last: str, limit: int) -> Page:
        """Names of the repository's tags after `last`, in byte order."""
        await self._require("pull", repository)
        repository_id = await self._house.catalog.repository_id(repository)
        if repository_id is None:
            message = f"there is no repository {repository}; check the name, or push to it first"
            raise NameUnknown(message)
        return await self._house.catalog.tags(repository_id, last, limit)

    async def repositories(self, last: str, limit: int) -> Page:
        """Names of the repositories the identity may pull, after `last`, in byte order."""
        if self.narrow or self.identity.anonymous:
            await self.require(Action("catalog", "read"))
        grants = await self._house.plugins.grants(self.identity) if self.narrow else self.grants
        return await self._house.catalog.repositories(grants, last, limit)

    async def referrers(
        self, repository: str, subject: Digest, *, artifact_type: str | None, last: str, limit: int
    ) -> Sequence[Row]:
        """(digest, descriptor as JSON) of the manifests whose subject is `subject`; none is no error."""
        await self._require("pull", repository)
        return await self._house.catalog.referrers(
            repository, subject, artifact_type=artifact_type, last=last, limit=limit
        )


def _checked_digest(reference: Digest, manifest: Manifest) -> Digest:
    found = Digest.of(manifest.body, reference.algorithm)
    if found != reference:
        message = f"the manifest's digest is {found}, not {reference}; send the exact bytes"
        raise DigestInvalid(message)
    return found


def _named(reference: Digest | Tag) -> str:
    return f"manifest {reference}" if isinstance(reference, Digest) else f"tag {reference}"


def _scope_text(action: Action) -> str:
    """What to ask a token for."""
    if action.resource == "repository":
        words = {"push": "pull,push"}.get(action.action, action.action)
        return f"repository:{action.scope}:{words}"
    return "registry:catalog:*" if action.resource == "catalog" else ""


_SAID: dict[str, Callable[[str], str]] = {
    "pull": lambda where: f"pull from {where}",
    "push": lambda where: f"push to {where}",
    "delete": lambda where: f"delete from {where}",
}


def _said(action: Action) -> str:
    """An action in words."""
    if action.resource == "repository" and action.action in _SAID:
        return _SAID[action.action](action.scope)
    where = "" if action.scope == "system" else f" of {action.scope}"
    return f"{action.action} the {action.resource}{where}"
