"""Require, admit, record: what every method of a session begins and ends with."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from anyio.lowlevel import checkpoint

from corereg.access import SYSTEM_SCOPE, Action, Grant, Identity, Refusal, allowed
from corereg.config import GCConfig, ProtocolConfig
from corereg.events import Operation
from corereg.metrics import Metrics
from corereg.oci.errors import (
    Denied,
    OCIError,
    Unauthorized,
    Unsupported,
)
from corereg.plugins import Plugins
from corereg.store.catalog import Catalog
from corereg.store.condemned import Condemned
from corereg.store.database import Database, DatabaseError, Transaction, inside
from corereg.store.jobs import History, Job, Queue, Schedules
from corereg.store.journal import Happening, Journal
from corereg.store.rights import Rights
from corereg.store.settings import Settings
from corereg.store.storage import Storage
from corereg.store.trash import Trash
from corereg.store.uploads import Uploads
from corereg.tracing import Tracer

log = logging.getLogger(__name__)

TURN = 10
"""Operations of one change after which readers have their turn: SQLite's statements never wait for anything."""


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

    verbatim = True

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
    settings: Settings
    jobs: Mapping[str, Job]
    """Every declared kind of job."""
    queue: Queue
    schedules: Schedules
    history: History
    gc: GCConfig
    condemned: Condemned
    trash: Trash
    metrics: Metrics
    tracer: Tracer


class Change:
    """A change under way: its transaction, and what the journal will say."""

    def __init__(self, operation: Operation, tx: Transaction) -> None:
        self.operation = operation
        self.tx = tx
        self.more: list[Operation] = []
        """What else happens in the same transaction; asked and told like the operation itself."""
        self.counted: Sequence[Operation] = ()
        """What that comes to in particulars: `commit` is asked about each, the journal tells only of the whole."""
        self.details: dict[str, Any] = dict(operation.details)
        self.changed: dict[str, bool] = {}

    def describe(self, **fields: Any) -> None:
        """Set fields of the operation that are known only now (digest, size, tags); `details` are added to the rest."""
        self.details.update(fields.pop("details", {}))
        self.operation = msgspec.structs.replace(self.operation, **fields)

    def rights_changed(self, *subjects: str) -> None:
        """The subjects' grants (or everybody's: ``*``) are asked anew, on every node within seconds."""
        for subject in subjects:
            self.changed.setdefault(subject, False)

    def revoke(self, *subjects: str) -> None:
        """What the subjects hold (tokens, remembered passwords) is not believed any more."""
        for subject in subjects:
            self.changed[subject] = True

    async def empty_trash(self, namespace: str) -> None:
        """Forget for good what was deleted in a namespace that goes: by its names alone, whoever makes the namespace
        again could restore it.
        """
        deleted = await Trash.forget(self.tx, namespace)
        if deleted:
            done = self.operation
            self.more.append(
                Operation(
                    kind="trash.empty",
                    identity=done.identity,
                    address=done.address,
                    details={"namespace": namespace, "deleted": deleted},
                )
            )


class Door:
    """Who is asking, what that identity may do, and the way every change goes."""

    __slots__ = ("_house", "address", "grants", "identity", "narrow", "serial", "whole")

    def __init__(
        self,
        house: House,
        identity: Identity,
        grants: Sequence[Grant],
        *,
        address: str | None = None,
        narrow: bool = False,
        whole: bool = False,
        serial: int | None = None,
    ) -> None:
        self._house = house
        self.identity = identity
        self.grants = grants
        self.address = address
        self.narrow = narrow
        self.whole = whole
        self.serial = serial
        """The newest change of rights that was known before the credentials were checked; None: there were none."""

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

    async def require(self, action: Action, *, said: Action | None = None) -> None:
        """Raise unless the action is allowed: SignInNeeded where another sign-in would help, else Denied.

        `said` is the action in the caller's words, where the scope's real name is not theirs to know.
        """
        if not await self.holds(action):
            raise await self.refusal(action, said=said)

    async def holds(self, action: Action) -> bool:
        """Whether the action is allowed. Before it is not, rights that another node gave a moment ago are looked for:
        taking away may last a second, but whoever has just made a project pushes to it at once.
        """
        if allowed(self.grants, action):
            return True
        await self._house.rights.refresh(now=True)
        if not self.whole:
            return False
        self.grants = await self._house.plugins.grants(self.identity)
        return allowed(self.grants, action)

    async def refusal(self, action: Action, *, said: Action | None = None) -> OCIError:
        """Why not: 401 for somebody unknown or a token that covers too little, 403 for everybody else."""
        name = self.identity.name
        self._happened("access.refused", repository=action.scope, details=(("action", str(action)),), later=True)
        real, action = action, said or action
        scope = _scope_text(action)
        if self.identity.anonymous:
            message = f"sign in to {_said(action)}: anonymous has no right to; run docker login first"
            return SignInNeeded(message, scope, insufficient=self.narrow)
        if self.narrow and allowed(await self._house.plugins.grants(self.identity), real):
            return self._too_narrow(action)
        message = f"{name} may not {_said(action)}: no grant allows it; ask an administrator of this registry"
        if action.resource == "repository" and action.scope != SYSTEM_SCOPE:
            # Harbor's words first: there are clients that look for them.
            message = f"unauthorized to access repository: {action.scope}, action: {action.action}: {message}"
        return Denied(message)

    def _too_narrow(self, action: Action) -> SignInNeeded:
        """The token does not cover what its holder may do."""
        scope = _scope_text(action)
        message = f"the token of {self.identity.name} does not cover this; ask for a token with the scope {scope}"
        return SignInNeeded(message, scope, insufficient=True)

    async def _require(self, action: str, repository: str, resource: str = "repository") -> None:
        wanted = Action(resource, action, repository)
        if not (allowed(self.grants, wanted) or await self.holds(wanted)):
            raise await self.refusal(wanted)

    async def _admit(self, operation: Operation) -> None:
        plugins = self._house.plugins
        if not plugins.admits:
            return
        with self._house.tracer.span("session.admit", corereg__operation=operation.kind):
            refusal = await plugins.admit(operation)
        if refusal is not None:
            self._happened("access.refused", repository=operation.repository, digest=operation.digest, later=True)
            raise Refused(refusal)

    @staticmethod
    async def _still_there(used: Awaitable[bool]) -> bool:
        """Whether what is marked as used is there. Where nothing can be written, reads go on, and nothing is collected
        either.
        """
        try:
            return await used
        except DatabaseError as error:
            log.debug("not marked as used: %s", error)
            return True

    async def confirm(self, tx: Transaction) -> None:
        """Raise Unauthorized where the credentials were revoked since they were checked; for whoever makes new ones.

        To check a password takes a while, and the next change of rights may come meanwhile. Whoever calls this holds
        what a revocation writes (the row of the user), so that one of the two waits for the other.
        """
        if self.serial is not None and await self._house.rights.revoked_in(tx, self.identity.subject, self.serial):
            message = "what you signed in with was changed or withdrawn a moment ago; sign in again"
            raise Unauthorized(message)

    def operation(self, kind: str, **fields: Any) -> Operation:
        """An operation of this session's identity."""
        return Operation(kind=kind, identity=self.identity, address=self.address, **fields)

    def happened(self, kind: str, *, repository: str | None = None, details: Mapping[str, str | int]) -> None:
        """Tell of something that changed nothing, such as a refusal inside a transaction, which is rolled back.

        Counted together with its equals and written within seconds; a crash loses those.
        """
        self._happened(kind, later=True, repository=repository, details=tuple(sorted(details.items())))

    def _happened(self, kind: str, *, later: bool, **fields: Any) -> Happening:
        happening = Happening(
            kind=kind, actor=self.identity.name, subject=self.identity.subject, address=self.address, **fields
        )
        if later:
            self._house.journal.gather(happening)
        return happening

    @asynccontextmanager
    async def change(
        self, operation: Operation, *, needs: Action | None = None, more: Sequence[Operation] = ()
    ) -> AsyncGenerator[Change]:
        """The way every change goes: require, admit, then act, commit hooks and journal in one transaction.

        The body writes with `Change.tx`. An exception in it rolls everything back. `more` are further operations that
        happen with the first or not at all.
        """
        with self._house.tracer.span("session.change", corereg__operation=operation.kind):
            if needs is not None:
                await self.require(needs)
            for each in (operation, *more):
                await self._admit(each)
            house = self._house
            async with house.database.transaction() as tx:
                with inside(tx):
                    change = Change(operation, tx)
                    change.more += more
                    yield change
                    done = msgspec.structs.replace(change.operation, details=change.details)
                    for number, each in enumerate((done, *change.more, *change.counted), 1):
                        refusal = await house.plugins.commit(each, tx)
                        if refusal is not None:
                            raise Refused(refusal)
                        if not number % TURN:
                            await checkpoint()
                    for revoke in (False, True):
                        await house.rights.change(
                            tx, [s for s, hard in change.changed.items() if hard is revoke], revoke=revoke
                        )
                    for each in (done, *change.more):
                        await house.journal.append(tx, self._told(each))
            house.journal.committed()
            if change.changed:
                await house.rights.refresh(now=True)

    def _told(self, done: Operation) -> Happening:
        return self._happened(
            done.kind,
            later=False,
            repository=done.repository,
            digest=done.digest,
            tags=done.tags,
            media_type=done.media_type,
            size=done.size,
            source=done.source,
            details=done.details or None,
        )

    # ---- what deletions ask ----

    async def _alone(self, tx: Transaction, repository: str) -> None:
        """From here to the end of `tx` nobody else changes what the repository's manifests stand on: a member cannot be
        deleted between the check that it is there and the commit, and of two conditional pushes one wins.
        """
        await self._house.database.lock(tx, f"corereg repository {repository}")

    async def _keep(self, change: Change, repository_id: int, batch: str, operation: Operation | None = None) -> None:
        """Before the manifest of a deletion goes: keep it in the trash, with what goes together under one `batch`."""
        deleted = operation or change.operation
        digest = str(deleted.digest)
        await self._house.trash.keep(
            change.tx,
            repository_id,
            deleted.repository or "",
            digest,
            tags=deleted.tags,
            lacking=await self._house.catalog.lacking(change.tx, repository_id, digest),
            by=self.identity.name,
            batch=batch,
        )

    def _check_deletable(self) -> None:
        if not self._house.protocol.delete:
            message = "deleting is switched off on this registry ([protocol] delete = false)"
            raise Unsupported(message)

    async def _check_unused(self, tx: Transaction, repository_id: int, what: str, digest: str) -> None:
        user = await self._house.catalog.user_of(tx, repository_id, digest)
        if user is not None:
            message = f"this {what} is still part of {user}; delete that manifest first"
            raise Unsupported(message)


def _scope_text(action: Action) -> str:
    """What to ask a token for."""
    if action.resource == "repository":
        words = {"push": "pull,push"}.get(action.action, action.action)
        return f"repository:{action.scope}:{words}"
    return "registry:catalog:*" if action.resource == "catalog" else ""


_SAID: dict[str, Callable[[str], str]] = {
    "pull": lambda where: f"pull from {where}",
    "push": lambda where: f"push to {where}",
    "delete": lambda where: f"delete from {where}",  # noqa: S608 - a sentence, no SQL
}


def _said(action: Action) -> str:
    """An action in words."""
    if action.resource == "repository" and action.action in _SAID:
        return _SAID[action.action](action.scope)
    where = "" if action.scope == "system" else f" of {action.scope}"
    return f"{action.action} the {action.resource}{where}"
