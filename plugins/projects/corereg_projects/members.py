"""The store of members: who has which role in a project."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from corereg import (
    Action,
    BadRequest,
    Conflict,
    Exists,
    Forbidden,
    Identity,
    Listing,
    Missing,
    Namespace,
    Principal,
    Registry,
    Session,
    among,
    now,
    page,
)
from corereg_projects.custom import Roles, role_number
from corereg_projects.names import ancestors, check_pattern, check_searched
from corereg_projects.roles import BUILT_IN, Role, ranked
from corereg_projects.schema import members, projects, roles

Kind = Literal["user", "group"]
LARGEST = 2**63 - 1


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A role that a user or a group has in a project. `pattern`: only there (`corereg_projects.names`)."""

    id: int
    project_id: int
    subject: str
    kind: Kind
    entity_id: int
    entity_name: str
    role_id: int
    pattern: str
    role_name: str


class MemberListing(Listing, frozen=True, kw_only=True):
    """Which members of a project to list."""

    entityname: str = ""


COLUMNS = (
    members.c.id,
    members.c.project_id,
    members.c.subject,
    members.c.kind,
    members.c.entity_id,
    members.c.entity_name,
    members.c.role_id,
    members.c.pattern,
    roles.c.name,
)
SORTED = {
    "entity_name": members.c.entity_name,
    "entity_id": members.c.entity_id,
    "role_id": members.c.role_id,
    "id": members.c.id,
}
SELECT = sa.select(*COLUMNS).join(roles, role_number == members.c.role_id, isouter=True)


def _member(row: Any) -> Member:
    *fields, custom = row
    known = dict(zip(Member.__struct_fields__, fields, strict=False))
    role = BUILT_IN.get(known["role_id"])
    return Member(**known, role_name=role.name if role else custom or "")


class Members:
    """The members of one registry's projects."""

    def __init__(self, registry: Registry, known: Roles) -> None:
        self._registry = registry
        self._database = registry.database
        self._roles = known

    # ---- reading ----

    async def page(self, project: Namespace, listing: MemberListing) -> tuple[list[Member], int]:
        """One page of a project's members, by name."""
        check_searched(listing.entityname)
        select = SELECT.where(members.c.project_id == project.id)
        if listing.entityname:
            select = select.where(members.c.entity_name.icontains(listing.entityname, autoescape=True))
        rows, total = await page(self._database, select, listing, SORTED, members.c.entity_name, members.c.id)
        return [_member(row) for row in rows], total

    async def read(self, project: Namespace, member_id: int) -> Member:
        """A member of that project, and of no other one. Raises Missing."""
        wanted = SELECT.where(members.c.project_id == project.id, members.c.id == member_id)
        row = await self._database.row(wanted)
        if row is None:
            raise _missing(project, member_id)
        return _member(row)

    async def counts(self, project: Namespace) -> Mapping[int, int]:
        """How many members of all of the project have each role."""
        select = sa.select(members.c.role_id, sa.func.count()).group_by(members.c.role_id)
        rows = await self._database.rows(select.where(members.c.project_id == project.id, members.c.pattern == ""))
        return {int(role): int(count) for role, count in rows}

    async def roles_of(self, identity: Identity, names: Collection[str]) -> Mapping[str, Sequence[int]]:
        """Numbers of the roles an identity has in projects, the highest first, by name: one statement for them all.

        A role in a project holds in those that stand in it too.
        """
        if identity.anonymous or not names:
            return {}
        around = {name: {name, *ancestors(name)} for name in names}
        select = (
            sa.select(projects.c.name, members.c.role_id)
            .join(projects, projects.c.id == members.c.project_id)
            .where(
                members.c.subject.in_([identity.subject, *identity.groups]),
                members.c.pattern == "",
                among(self._database, projects.c.name, set[str]().union(*around.values())),
            )
        )
        found: dict[str, set[int]] = {}
        for name, role in await self._database.rows(select):
            found.setdefault(name, set()).add(int(role))
        return {name: ranked(role for each in near for role in found.get(each, ())) for name, near in around.items()}

    # ---- changing ----

    async def find_principal(self, kind: Kind, reference: int | str, group_type: int = 0) -> Principal | None:
        """Who that is, by whoever keeps users and groups; nobody for what no database could hold."""
        if "\0" in reference if isinstance(reference, str) else not 0 < reference <= LARGEST:
            return None
        for _, ask in self._registry.plugins.asked("find_principal"):
            answer: Principal | None = await ask(kind, reference, group_type)
            if answer is not None:
                return answer
        return None

    async def create(
        self, session: Session, project: Namespace, principal: Principal, role_id: int, pattern: str
    ) -> int:
        """Give somebody a role in a project; the number of the membership. Raises BadRequest, Exists, Forbidden."""
        role = await self._role(role_id)
        where = check_pattern(pattern)
        _check_holds(session, project, role)
        at = now()
        insert = self._database.insert(members).values(
            project_id=project.id,
            subject=principal.subject,
            kind=principal.kind,
            entity_id=principal.id,
            entity_name=principal.name,
            role_id=role.id,
            pattern=where,
            created_at=at,
            updated_at=at,
        )
        insert = insert.on_conflict_do_nothing(index_elements=["project_id", "subject", "pattern"])
        details = _details(project, principal.subject, principal.name, role.name, where)
        operation = session.operation("member.create", details=details)
        try:
            async with session.change(operation, needs=_needs("create", project)) as change:
                row = await change.tx.row(insert.returning(members.c.id))
                if row is None:
                    message = f"{principal.name} is a member of {project.name} already; change the role instead"
                    raise Exists(message)
                change.rights_changed(principal.subject)
        except Conflict:
            message = f"the project {project.name} was deleted a moment ago"
            raise Missing(message) from None
        return int(row[0])

    async def update(self, session: Session, project: Namespace, member_id: int, role_id: int) -> None:
        """Give a member another role. Raises Missing, BadRequest, Forbidden."""
        await session.require(_needs("update", project))
        member = await self.read(project, member_id)
        role = await self._role(role_id)
        _check_holds(session, project, role)
        await self._check_above(session, project, member)
        details = _details(project, member.subject, member.entity_name, role.name, member.pattern)
        operation = session.operation("member.update", details=details)
        async with session.change(operation, needs=_needs("update", project)) as change:
            update = sa.update(members).where(members.c.project_id == project.id, members.c.id == member_id)
            if not await change.tx.execute(update.values(role_id=role.id, updated_at=now())):
                raise _missing(project, member_id)
            change.rights_changed(member.subject)

    async def delete(self, session: Session, project: Namespace, member_id: int) -> None:
        """Take somebody's role away. Raises Missing, Forbidden."""
        await session.require(_needs("delete", project))
        member = await self.read(project, member_id)
        await self._check_above(session, project, member)
        details = _details(project, member.subject, member.entity_name, member.role_name, member.pattern)
        operation = session.operation("member.delete", details=details)
        async with session.change(operation, needs=_needs("delete", project)) as change:
            gone = sa.delete(members).where(members.c.project_id == project.id, members.c.id == member_id)
            if not await change.tx.execute(gone):
                raise _missing(project, member_id)
            change.rights_changed(member.subject)

    async def _role(self, role_id: int) -> Role:
        role = await self._roles.find(role_id)
        if role is None:
            message = f"there is no role {role_id}; GET /api/v2.0/roles lists them"
            raise BadRequest(message)
        return role

    async def _check_above(self, session: Session, project: Namespace, member: Member) -> None:
        """Whoever may less than a member does not decide about that member."""
        role = await self._roles.find(member.role_id)
        if role is not None:
            _check_holds(session, project, role)

    # ---- users and groups that change ----

    async def forget(self, subject: str) -> None:
        """Somebody was deleted: remove every role they had, in one transaction."""
        select = SELECT.add_columns(projects.c.name).join(projects, projects.c.id == members.c.project_id)
        rows = await self._database.rows(select.where(members.c.subject == subject).order_by(members.c.id))
        if not rows:
            return
        session = self._registry.session()
        told = []
        for *fields, project in rows:
            member = _member(fields)
            details = _details(
                Namespace(member.project_id, project), subject, member.entity_name, member.role_name, member.pattern
            )
            told.append(session.operation("member.delete", details=details))
        async with session.change(told[0], more=told[1:]) as change:
            await change.tx.execute(sa.delete(members).where(members.c.subject == subject))
            change.rights_changed(subject)

    async def rename(self, kind: Kind, subject: str) -> None:
        """Somebody was changed: keep the name that members and owners are found by."""
        _, _, number = subject.partition(":")
        known = await self.find_principal(kind, int(number)) if number.isascii() and number.isdigit() else None
        if known is None or known.subject != subject:
            return
        member = (members.c.subject == subject, members.c.entity_name != known.name)
        owner = (projects.c.owner_id == known.id, projects.c.owner_name != known.name, sa.literal(kind == "user"))
        wrong = sa.select(members.c.id).where(*member).union_all(sa.select(projects.c.id).where(*owner)).limit(1)
        if await self._database.row(wrong) is None:
            return
        session = self._registry.session()
        details = {"subject": subject, "name": known.name}
        async with session.change(session.operation("member.rename", details=details)) as change:
            await change.tx.execute(sa.update(members).where(*member).values(entity_name=known.name))
            await change.tx.execute(sa.update(projects).where(*owner).values(owner_name=known.name))


def _needs(action: str, project: Namespace) -> Action:
    return Action("member", action, project.scope)


def _check_holds(session: Session, project: Namespace, role: Role) -> None:
    """A user gives nobody more than they may do themselves: or who may only add members would soon be all they like.

    Robots, whose rights their maker chose, give Harbor's roles as they do there.
    """
    if session.identity.kind == "robot" and role.id in BUILT_IN:
        return
    lacking = [each for each in sorted(role.permissions) if not session.may(Action(*each, project.scope))]
    if lacking:
        resource, action = lacking[0]
        message = (
            f"{session.identity.name} cannot decide about the role {role.name} in {project.name}, which may do more "
            f"({action} {resource}); ask one of the project's administrators"
        )
        raise Forbidden(message)


def _details(project: Namespace, subject: str, name: str, role: str, pattern: str) -> dict[str, Any]:
    said = {"namespace": project.name, "subject": subject, "name": name, "role": role}
    return said | ({"pattern": pattern} if pattern else {})


def _missing(project: Namespace, member_id: int) -> Missing:
    return Missing(f"the project {project.name} has no member {member_id}")
