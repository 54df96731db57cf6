"""The store of groups: local ones with their members, and those that sign-in plugins fill from a directory."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import (
    Action,
    BadRequest,
    Change,
    Conflict,
    Database,
    Exists,
    Missing,
    Precondition,
    Query,
    Session,
    among,
    now,
)
from corereg_accounts.names import LONGEST, key_of, problem_of
from corereg_accounts.schema import groups, members
from corereg_accounts.users import LARGEST_ID, SIGNING_IN, User

PREFIX = "group:"
LONGEST_DN = 1024
CREATE, READ, UPDATE, DELETE, LIST = (
    Action("user-group", word) for word in ("create", "read", "update", "delete", "list")
)


class Kind(IntEnum):
    """Who says who belongs to a group: Harbor's three, and this registry itself."""

    LDAP = 1
    HTTP = 2
    OIDC = 3
    LOCAL = 4


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group. `dn` is empty unless its kind is LDAP."""

    id: int
    name: str
    type: int
    dn: str

    @property
    def subject(self) -> str:
        """What rights and revocations count on."""
        return f"{PREFIX}{self.id}"


FIELDS = (groups.c.id, groups.c.name, groups.c.type, groups.c.dn)
BY_ID = Query(sa.select(*FIELDS).where(groups.c.id == bindparam("id", type_=sa.BigInteger)))
OF_USER = Query(
    sa.select(members.c.group_id)
    .where(members.c.user_id == bindparam("user", type_=sa.BigInteger))
    .order_by(members.c.group_id)
)

_around = re.compile(r"\s*([,=])\s*")


def group_of(row: Any) -> Group:
    """The group whose `FIELDS` a row begins with."""
    return Group(**dict(zip(Group.__struct_fields__, row, strict=False)))


def key_of_group(kind: int, name: str, dn: str = "") -> str:
    """What is unique among the groups of one kind: a directory does not tell cases apart, an OIDC provider does."""
    if kind == Kind.LDAP:
        return _around.sub(r"\1", dn.strip()).casefold()
    return key_of(name) if kind == Kind.LOCAL else name


def check_group(kind: int, name: str, dn: str) -> None:
    """Raise BadRequest for a group that cannot be."""
    if kind not in set(Kind):
        message = f"group_type is 1 (LDAP), 2 (HTTP), 3 (OIDC) or 4 (local), not {kind}"
        raise BadRequest(message)
    if kind == Kind.LDAP and ("=" not in dn or len(dn) > LONGEST_DN or not dn.isprintable()):
        message = (
            f"a group of LDAP needs its DN (ldap_group_dn, at most {LONGEST_DN} characters): cn=ops,dc=example,dc=com"
        )
        raise BadRequest(message)
    if not 1 <= len(name) <= LONGEST or not name.isprintable() or name != name.strip():
        message = f"the name of a group (group_name) has 1 to {LONGEST} characters that can be seen"
        raise BadRequest(message)
    problem = problem_of(name) if kind == Kind.LOCAL else None
    if problem is not None:
        message = f"the name of a local group {problem}"
        raise BadRequest(message)


class Groups:
    """The groups of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # ---- reading ----

    async def with_id(self, group_id: int) -> Group:
        """The group of that id. Raises Missing."""
        row = await self.database.row(BY_ID, id=group_id) if 0 < group_id <= LARGEST_ID else None
        if row is None:
            message = f"there is no user group with the id {group_id}"
            raise Missing(message)
        return group_of(row)

    async def named(self, text: str, kinds: Collection[Kind] = tuple(Kind)) -> Group | None:
        """The group of that name, or that DN; of several kinds the one that was made first."""
        keys = ((kind, key_of_group(kind, text, text)) for kind in kinds)
        same = sa.or_(*(sa.and_(groups.c.type == int(kind), groups.c.key == key) for kind, key in keys))
        row = await self.database.row(sa.select(*FIELDS).where(same).order_by(groups.c.id).limit(1))
        return group_of(row) if row else None

    async def everything(self) -> Sequence[tuple[Group, int]]:
        """All groups by the bytes of their names, and how many users belong to each."""
        count = sa.select(sa.func.count()).where(members.c.group_id == groups.c.id).scalar_subquery()
        found = [(group_of(row), row[-1]) for row in await self.database.rows(sa.select(*FIELDS, count))]
        return sorted(found, key=lambda each: (each[0].name, each[0].id))  # a database has an order of its own

    async def subjects_of(self, user: User) -> tuple[str, ...]:
        """The subjects of the groups a user belongs to."""
        return tuple(f"{PREFIX}{row[0]}" for row in await self.database.rows(OF_USER, user=user.id))

    # ---- changing ----

    async def create(self, session: Session, kind: int, name: str, dn: str = "") -> Group:
        """Make a group. Raises BadRequest, or Exists for a second one."""
        await session.require(CREATE)
        check_group(kind, name, dn)
        fields = {"name": name, "type": kind, "dn": dn if kind == Kind.LDAP else "", "created_at": now()}
        details: dict[str, Any] = {"name": name}
        async with session.change(session.operation("group.create", details=details), needs=CREATE) as change:
            insert = change.tx.insert(groups).values(**fields, key=key_of_group(kind, name, dn))
            row = await change.tx.row(insert.on_conflict_do_nothing().returning(*FIELDS))
            if row is None:
                raise _taken(name)
            group = group_of(row)
            change.details["subject"] = group.subject
        return group

    async def rename(self, session: Session, group: Group, name: str) -> None:
        """Give a group another name. Raises BadRequest, or Exists where another group has it."""
        check_group(group.type, name, group.dn)
        key = key_of_group(group.type, name, group.dn)
        other = sa.select(groups.c.id).where(groups.c.type == group.type, groups.c.key == key, groups.c.id != group.id)
        async with self._change(session, "group.update", group, UPDATE) as change:
            if await change.tx.row(other) is not None:
                raise _taken(name)
            update = sa.update(groups).where(groups.c.id == group.id).values(name=name, key=key)
            try:
                renamed = await change.tx.execute(update)
            except Conflict:  # another node has just given the name to another group
                raise _taken(name) from None
            if not renamed:
                raise _gone(group)
            change.details["name"] = name

    async def delete(self, session: Session, group: Group) -> None:
        """Forget a group, and who belonged to it."""
        async with self._change(session, "group.delete", group, DELETE) as change:
            change.rights_changed(group.subject)
            if not await change.tx.execute(sa.delete(groups).where(groups.c.id == group.id)):
                raise _gone(group)

    async def add(self, session: Session, group: Group, user: User) -> None:
        """Let a user belong to a local group; twice is no error."""
        _check_local(group)
        async with self._change(session, "group.update", group, UPDATE) as change:
            insert = change.tx.insert(members).values(group_id=group.id, user_id=user.id)
            try:
                await change.tx.execute(insert.on_conflict_do_nothing())
            except Conflict:
                message = f"{user.name} or the user group {group.name!r} was deleted a moment ago"
                raise Missing(message) from None
            change.details |= {"member": user.subject, "member_name": user.name, "added": True}
            change.rights_changed(user.subject)

    async def remove(self, session: Session, group: Group, user: User) -> None:
        """Let a user belong to a local group no more. Raises Missing for somebody who does not."""
        _check_local(group)
        async with self._change(session, "group.update", group, UPDATE) as change:
            belongs = sa.and_(members.c.group_id == group.id, members.c.user_id == user.id)
            if not await change.tx.execute(sa.delete(members).where(belongs)):
                message = f"{user.name} does not belong to {group.name}"
                raise Missing(message)
            change.details |= {"member": user.subject, "member_name": user.name, "added": False}
            change.rights_changed(user.subject)

    # ---- people from elsewhere ----

    async def among_names(self, names: Collection[str], kind: int | None) -> set[int]:
        """Ids of the groups that a sign-in plugin means by names or DNs: of `kind`, or of whichever fits."""
        wanted = [Kind(kind)] if kind in {Kind.LDAP, Kind.HTTP, Kind.OIDC} else [Kind.LDAP, Kind.HTTP, Kind.OIDC]
        same = [
            sa.and_(groups.c.type == int(each), among(self.database, groups.c.key, keys))
            for each in wanted
            if (keys := [key_of_group(each, name, name) for name in names if each != Kind.LDAP or "=" in name])
        ]
        if not same:
            return set()
        return {row[0] for row in await self.database.rows(sa.select(groups.c.id).where(sa.or_(*same)))}

    async def fill(self, session: Session, user: User, wanted: Iterable[int]) -> None:
        """Let a user belong to just these of the groups that are no local ones."""
        others = (
            sa.select(members.c.group_id)
            .join(groups, groups.c.id == members.c.group_id)
            .where(members.c.user_id == user.id, groups.c.type != int(Kind.LOCAL))
        )
        wanted = set(wanted)
        if {row[0] for row in await self.database.rows(others)} == wanted:
            return
        details: dict[str, Any] = {"subject": user.subject, "name": user.name, SIGNING_IN: True}
        details["groups"] = [f"{PREFIX}{each}" for each in sorted(wanted)]
        async with session.change(session.operation("user.update", details=details)) as change:
            before = {row[0] for row in await change.tx.rows(others)}
            for group_id in sorted(before - wanted):
                gone = sa.and_(members.c.group_id == group_id, members.c.user_id == user.id)
                await change.tx.execute(sa.delete(members).where(gone))
            there = sa.select(groups.c.id).where(among(self.database, groups.c.id, wanted - before))
            held = await change.tx.rows(there.with_for_update(read=True, key_share=True))  # a group may go meanwhile
            for group_id in sorted(row[0] for row in held):
                insert = change.tx.insert(members).values(group_id=group_id, user_id=user.id)
                await change.tx.execute(insert.on_conflict_do_nothing())
            change.rights_changed(user.subject)

    @asynccontextmanager
    async def _change(self, session: Session, kind: str, group: Group, needs: Action) -> AsyncGenerator[Change]:
        operation = session.operation(kind, details={"name": group.name, "subject": group.subject})
        async with session.change(operation, needs=needs) as change:
            yield change


def names_in(value: Any) -> Sequence[str]:
    """Names of groups as a sign-in plugin gives them; what is none is left out."""
    if not isinstance(value, list | tuple | set | frozenset):
        return ()
    return [each for each in value if isinstance(each, str) and each]


def _check_local(group: Group) -> None:
    if group.type != Kind.LOCAL:
        message = f"who belongs to {group.name} is said where its people sign in; only local groups are filled here"
        raise Precondition(message)


def _taken(name: str) -> Exists:
    return Exists(f"there is a user group {name!r} already")


def _gone(group: Group) -> Missing:
    return Missing(f"the user group {group.name!r} was deleted a moment ago")
