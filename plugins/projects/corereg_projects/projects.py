"""The store of projects. Reading is free; every change goes through a Session, which asks, writes and records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import (
    ANYWHERE,
    Action,
    BadRequest,
    Change,
    Database,
    Exists,
    Identity,
    Missing,
    Namespace,
    Operation,
    Precondition,
    Principal,
    Query,
    Refusal,
    Session,
    Transaction,
    among,
    covered,
    now,
    scopes_of,
    tables,
    within,
)
from corereg_projects.allowlists import Allowlist, new_allowlist, write_allowlist
from corereg_projects.grants import CREATE, SUBJECT, Rights
from corereg_projects.metadata import OPENNESS, Visibility
from corereg_projects.names import ancestors, check_name, possible, scope_of
from corereg_projects.roles import ADMIN_ID
from corereg_projects.schema import allowlists, members, projects

LOCK = "corereg projects"
"""Changes of what projects there are and who may see them come one after another: there are few."""
LARGEST = 2**63 - 1
FULL = "the project contains repositories, can not be deleted"
_USER = "user:"


class StoredProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project. Times are microseconds since 1970, UTC; `metadata` is what can be set beyond the visibility."""

    id: int
    name: str
    visibility: Visibility
    owner_id: int
    owner_name: str
    metadata: Mapping[str, str]
    created_at: int
    updated_at: int

    @property
    def public(self) -> bool:
        return self.visibility == "public"

    @property
    def namespace(self) -> Namespace:
        """The project as the core knows it."""
        return Namespace(self.id, self.name)


class NewProject(msgspec.Struct, frozen=True, kw_only=True):
    """What a project is made of. `owner` is who becomes its first administrator, None where nobody does."""

    name: str
    visibility: Visibility
    metadata: Mapping[str, str]
    owner: Principal | None
    storage_limit: int | None = None
    allowlist: Allowlist | None = None


FIELDS = tuple(projects.c[name] for name in StoredProject.__struct_fields__)
BY_ID = Query(sa.select(*FIELDS).where(projects.c.id == bindparam("id", type_=sa.BigInteger)))
RESOLVE_ID = Query(
    sa.select(projects.c.id, projects.c.name).where(projects.c.id == bindparam("id", type_=sa.BigInteger))
)
RESOLVE_NAME = Query(sa.select(projects.c.id, projects.c.name).where(projects.c.name == bindparam("name")))

Edit = Callable[[StoredProject], StoredProject]


def project_of(row: Any) -> StoredProject:
    """The project that a row of `FIELDS` says."""
    fields = dict(zip(StoredProject.__struct_fields__, row, strict=True))
    return StoredProject(**fields | {"metadata": msgspec.json.decode(fields["metadata"], type=dict[str, str])})


def owner_of(identity: Identity) -> Principal | None:
    """The user who is asking, as the owner of what they make; None for robots and for the registry itself."""
    if identity.kind != "user":
        return None
    number = identity.subject.removeprefix(_USER)
    known = number.isascii() and number.isdigit() and len(number) < len(str(LARGEST))
    return Principal("user", int(number) if known else 0, identity.name, identity.subject)


class ProjectStore:
    """The projects of one registry."""

    def __init__(self, database: Database, rights: Rights, *, nested: bool) -> None:
        self.database = database
        self.rights = rights
        self.nested = nested

    # ---- reading ----

    async def resolve(self, reference: int | str) -> Namespace | None:
        """The project of that number or name; one indexed look-up, and none for what can be no project's."""
        if isinstance(reference, int):
            row = await self.database.reader.row(RESOLVE_ID, id=reference) if 0 < reference <= LARGEST else None
        else:
            row = await self.database.reader.row(RESOLVE_NAME, name=reference) if possible(reference) else None
        return Namespace(int(row[0]), row[1]) if row else None

    async def read(self, namespace: Namespace) -> StoredProject:
        """All of a project. Raises Missing when it was deleted a moment ago."""
        row = await self.database.row(BY_ID, id=namespace.id)
        if row is None:
            raise _gone(namespace.name)
        return project_of(row)

    async def visible(self, session: Session) -> sa.ColumnElement[bool]:
        """Which projects the session's identity may see: a condition over `projects`."""
        scopes = scopes_of(session.grants, "project", "read")
        if ANYWHERE in scopes:
            return sa.true()
        opened = await self.rights.opened(session.identity)
        # Public ones are everybody's; internal ones are a user's, but not a token's that was made for less.
        internal = session.identity.kind == "user" and opened.scopes <= scopes
        levels = ["public", "internal"] if internal else ["public"]
        return sa.or_(projects.c.visibility.in_(levels), self._named(scopes - opened.scopes))

    def _named(self, scopes: Collection[str]) -> sa.ColumnElement[bool]:
        """Which projects the scopes name, and which stand in those; the second is only asked of nested ones."""
        name = projects.c.name
        whole = [scope.removesuffix("/*") for scope in scopes if scope.endswith("/*")]
        if not whole:
            return sa.false()
        inside = sa.and_(name.contains("/"), covered(self.database, name + "/", scopes))
        return sa.or_(among(self.database, name, whole), inside)

    async def undeletable(self, project: Namespace, tx: Transaction | None = None) -> str | None:
        """Why a project cannot be deleted now; None when it can."""
        source = tx or self.database
        inner = sa.select(projects.c.name).where(within(projects.c.name, project.name)).limit(1)
        row = await source.row(inner)
        if row is not None:
            return f"the project contains projects, can not be deleted: delete {row[0]} first"
        repository = sa.select(tables.repositories.c.name).where(within(tables.repositories.c.name, project.name))
        row = await source.row(repository.limit(1))
        return None if row is None else f"{FULL}: delete {row[0]} and the others first"

    # ---- changing ----

    async def create(self, session: Session, new: NewProject) -> StoredProject:
        """Make a project. Raises BadRequest, Exists, Denied."""
        check_name(new.name, nested=self.nested)
        details = _details(new.name, new.visibility, new.metadata) | {
            "id": None,
            "owner": new.owner.subject if new.owner else None,
            "owner_name": new.owner.name if new.owner else "",
            "storage_limit": new.storage_limit,
        }
        above = await self._above(session, new.name)
        async with session.change(session.operation("project.create", details=details), needs=CREATE) as change:
            await self.database.lock(change.tx, LOCK)
            # Policies may have taken their time: the outer one is there still, and is not somebody else's by now.
            if above is not None and await change.tx.row(RESOLVE_ID, id=above.id) is None:
                raise _nowhere(new.name, above.name)
            await self._check_openness(change.tx, new.name, new.visibility)
            project = await self._insert(change.tx, new)
            change.describe(details=details | {"id": project.id})
            change.details["id"] = project.id
            if new.owner is not None:
                change.rights_changed(new.owner.subject)
            if new.visibility != "private":
                change.rights_changed(SUBJECT)
        return project

    async def _above(self, session: Session, name: str) -> Namespace | None:
        """The project that one of that name would stand in. It takes repositories away from it, so the outer one's
        administrators decide.
        """
        for around in ancestors(name)[-1:]:
            above = await self.resolve(around)
            if above is None:
                raise _nowhere(name, around)
            await session.require(Action("project", "update", scope_of(around)))
            return above
        return None

    async def _insert(self, tx: Transaction, new: NewProject) -> StoredProject:
        at = now()
        insert = tx.insert(projects).values(
            name=new.name,
            visibility=new.visibility,
            owner_id=new.owner.id if new.owner else 0,
            owner_name=new.owner.name if new.owner else "",
            metadata=_kept(new.metadata),
            created_at=at,
            updated_at=at,
        )
        row = await tx.row(insert.on_conflict_do_nothing(index_elements=["name"]).returning(*FIELDS))
        if row is None:
            message = f"The project named {new.name} already exists; choose another name"
            raise Exists(message)
        project = project_of(row)
        await tx.execute(new_allowlist(tx, project.id, new.allowlist))
        if new.owner is not None:
            await tx.execute(
                sa.insert(members).values(
                    project_id=project.id,
                    subject=new.owner.subject,
                    kind=new.owner.kind,
                    entity_id=new.owner.id,
                    entity_name=new.owner.name,
                    role_id=ADMIN_ID,
                    pattern="",
                    created_at=at,
                    updated_at=at,
                )
            )
        return project

    async def first_start(self, session: Session, new: NewProject) -> None:
        """Make a registry's first project and the system's allowlist, once: of several workers that start together
        one does it, and an administrator who deletes the project later has deleted it.
        """
        if await self.database.row(sa.select(allowlists.c.id).where(allowlists.c.project_id == 0)) is not None:
            return
        details = _details(new.name, new.visibility, new.metadata) | {
            "owner": new.owner.subject if new.owner else None,
            "owner_name": new.owner.name if new.owner else "",
            "storage_limit": None,
        }
        try:
            async with session.change(session.operation("project.create", details=details), needs=CREATE) as change:
                mark = new_allowlist(change.tx, 0, None).on_conflict_do_nothing(index_elements=["project_id"])
                if not await change.tx.execute(mark):
                    raise _WasThere
                project = await self._insert(change.tx, new)
                change.describe(details=details | {"id": project.id})
                change.details["id"] = project.id
                change.rights_changed(SUBJECT)
        except _WasThere:  # another worker was faster
            return

    async def update(
        self, session: Session, namespace: Namespace, edit: Edit, *, needs: Action, allowlist: Allowlist | None = None
    ) -> None:
        """Change a project's visibility and metadata by `edit`, and its allowlist. Raises what `edit` raises."""
        await session.require(needs)
        before = edit(await self.read(namespace))
        operation = session.operation("project.update", details=_told(before))
        async with session.change(operation, needs=needs) as change:
            await self.database.lock(change.tx, LOCK)
            row = await change.tx.row(BY_ID, id=namespace.id)
            if row is None:
                raise _gone(namespace.name)
            await self._write(change, project_of(row), edit)
            if allowlist is not None:
                await write_allowlist(change.tx, namespace.id, allowlist)
                change.details["allowlist"] = list(allowlist.items)

    async def _write(self, change: Change, old: StoredProject, edit: Edit) -> None:
        new = edit(old)
        if new.visibility != old.visibility:
            await self._check_openness(change.tx, new.name, new.visibility)
            opened = OPENNESS[new.visibility] > OPENNESS[old.visibility]
            change.rights_changed(SUBJECT if opened else "*")
        values = {"visibility": new.visibility, "metadata": _kept(new.metadata), "updated_at": now()}
        await change.tx.execute(sa.update(projects).where(projects.c.id == old.id).values(**values))
        change.describe(details=_told(new))
        change.details.update(_told(new))

    async def _check_openness(self, tx: Transaction, name: str, visibility: Visibility) -> None:
        """Whoever may see a project may see what stands in it: a grant reaches down, and so must the visibility."""
        above = sa.select(projects.c.name, projects.c.visibility).where(projects.c.name.in_(ancestors(name)))
        for other, level in await tx.rows(above) if "/" in name else ():
            if OPENNESS[level] > OPENNESS[visibility]:
                message = f"{name} cannot be {visibility}: it stands in {other}, which is {level}; close that first"
                raise BadRequest(message)
        inside = sa.select(projects.c.name, projects.c.visibility).where(within(projects.c.name, name))
        less = [level for level, openness in OPENNESS.items() if openness < OPENNESS[visibility]]
        row = await tx.row(inside.where(projects.c.visibility.in_(less)).limit(1))
        if row is not None:
            message = f"{name} cannot be {visibility}: {row[0]}, which stands in it, is {row[1]}; open that first"
            raise BadRequest(message)

    async def delete(self, session: Session, namespace: Namespace) -> None:
        """Forget an empty project, and what was deleted in it. Raises Precondition for one with repositories."""
        needs = Action("project", "delete", namespace.scope)
        await session.require(needs)
        operation = session.operation("project.delete", details=_told(await self.read(namespace)))
        async with session.change(operation, needs=needs) as change:
            tx = change.tx
            await self.database.lock(tx, LOCK)
            # Pushes hold the row until they are done (`check_there`): whatever they made is seen below.
            row = await tx.row(sa.select(projects.c.id).where(projects.c.id == namespace.id).with_for_update())
            if row is None:
                raise _gone(namespace.name)
            reason = await self.undeletable(namespace, tx)
            if reason is not None:
                raise Precondition(reason)
            await change.empty_trash(namespace.name)
            for table in (members, allowlists):
                await tx.execute(sa.delete(table).where(table.c.project_id == namespace.id))
            await tx.execute(sa.delete(projects).where(projects.c.id == namespace.id))
            change.rights_changed("*")

    # ---- pushes ----

    async def check_there(self, operation: Operation, tx: Transaction | None = None) -> Refusal | None:
        """A refusal where what is pushed would stand in no project; inside `tx` the project stays until it ends."""
        repository = operation.repository or ""
        around = ancestors(repository)
        if around:
            select = sa.select(projects.c.id).where(projects.c.name.in_(around)).limit(1)
            if tx is not None:
                select = select.with_for_update(read=True, key_share=True)
            if await (tx or self.database).row(select) is not None:
                return None
        first = repository.partition("/")[0]
        if not around:
            return Refusal(f"project {first} not found: name a project too, such as library/{first}")
        return Refusal(f"project {first} not found: create it first, or push to a project that is there")


class _WasThere(Exception):
    """The registry has had its first start."""


def _kept(metadata: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(metadata), order="sorted").decode()


def _details(name: str, visibility: Visibility, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": name,
        "public": visibility == "public",
        "visibility": visibility,
        "metadata": dict(metadata),
    }


def _told(project: StoredProject) -> dict[str, Any]:
    return {"id": project.id, **_details(project.name, project.visibility, project.metadata)}


def _nowhere(name: str, above: str) -> BadRequest:
    return BadRequest(f"{name} would stand in the project {above}, which is not there; create that first")


def _gone(name: str) -> Missing:
    return Missing(f"the project {name} was deleted a moment ago")


def projects_of(rows: Sequence[Any]) -> list[StoredProject]:
    """The projects that rows of `FIELDS` say."""
    return [project_of(row) for row in rows]
