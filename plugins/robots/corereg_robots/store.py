"""The robots of one registry. Reading is free; every change goes through a Session, which asks, writes and records."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import (
    Action,
    Change,
    DatabaseError,
    Exists,
    Identity,
    Listing,
    Missing,
    Namespace,
    Query,
    Registry,
    Session,
    Transaction,
    conditions,
    now,
    page,
)
from corereg_robots import secret as secrets
from corereg_robots.names import SOURCE, Names, check_name
from corereg_robots.permissions import PROJECT, SYSTEM, Access, RobotPermission, check_held
from corereg_robots.schema import permissions as places
from corereg_robots.schema import robots

log = logging.getLogger(__name__)

PREFIX = "robot:"
LARGEST_ID = 2**63 - 1
LOCK = "corereg robots"
NEVER = -1
SECOND = 1_000_000
DAY = 86_400
OVERLAP = 3600 * SECOND
"""How long the old secret works beside the new one, where that is asked for."""
AT_ONCE = 500
"""Robots asked about in one statement: a database takes only so many parameters."""
USED_AGAIN = 60 * SECOND
"""How soon the next use is written down."""


class Robot(msgspec.Struct, frozen=True, kw_only=True):
    """A robot without its secret. Times are microseconds since 1970, `expires_at` seconds or -1."""

    id: int
    name: str
    project_id: int
    namespace: str
    description: str
    disabled: bool
    duration: int
    expires_at: int
    previous_until: int | None
    creator_type: str
    creator_ref: int
    created_at: int
    updated_at: int
    last_used_at: int | None
    last_used_address: str | None

    @property
    def subject(self) -> str:
        """What rights and revocations count on."""
        return f"{PREFIX}{self.id}"

    @property
    def level(self) -> str:
        """``system`` or ``project``."""
        return PROJECT if self.namespace else SYSTEM

    @property
    def scope(self) -> str:
        """Where one must have rights over robots to have them over this one."""
        return scope_of(self.namespace)

    @property
    def overlaps_until(self) -> int | None:
        """Until when the previous secret works; None when it does not."""
        return self.previous_until if (self.previous_until or 0) > now() else None

    @property
    def expired(self) -> bool:
        return self.expires_at != NEVER and self.expires_at * SECOND <= now()


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of a robot at any time."""

    description: str
    disabled: bool
    duration: int
    permissions: tuple[RobotPermission, ...]


COLUMNS = tuple(robots.c[name] for name in Robot.__struct_fields__)
BY_ID = Query(sa.select(*COLUMNS).where(robots.c.id == sa.bindparam("id", type_=sa.BigInteger)))
PLACES = Query(
    sa.select(places.c.kind, places.c.namespace, places.c.access)
    .where(places.c.robot_id == sa.bindparam("id", type_=sa.BigInteger))
    .order_by(places.c.place)
)
SORTED = {
    "id": robots.c.id,
    "name": robots.c.name,
    "description": robots.c.description,
    "duration": robots.c.duration,
    "expires_at": robots.c.expires_at,
    "disable": robots.c.disabled,
    "disabled": robots.c.disabled,
    "creation_time": robots.c.created_at,
    "update_time": robots.c.updated_at,
}
FILTERED = {name: column for name, column in SORTED.items() if name != "name"}


def scope_of(namespace: str) -> str:
    """Where rights over the robots of a namespace are; those of the system for none."""
    return f"{namespace}/*" if namespace else "system"


def _robot(row: Any) -> Robot:
    fields = dict(zip(Robot.__struct_fields__, row, strict=False))  # how the secret is kept may follow
    return Robot(**{**fields, "disabled": bool(fields["disabled"])})


def _permission(kind: str, namespace: str, access: str) -> RobotPermission:
    return RobotPermission(kind, namespace, msgspec.json.decode(access, type=tuple[Access, ...]))


class RobotStore:
    """The robots of one registry."""

    def __init__(self, registry: Registry, names: Names) -> None:
        self.registry = registry
        self.database = registry.database
        self.names = names

    # ---- reading ----

    async def with_id(self, robot_id: int) -> Robot:
        """The robot of that id. Raises Missing."""
        row = await self.database.row(BY_ID, id=robot_id) if 0 < robot_id <= LARGEST_ID else None
        if row is None:
            message = f"there is no robot with the id {robot_id}"
            raise Missing(message)
        return _robot(row)

    async def of(self, identity: Identity) -> Robot | None:
        """The robot an identity stands for; None when it is of another kind, or the robot was deleted."""
        number = identity.subject.removeprefix(PREFIX)
        if identity.source != SOURCE or not (number.isascii() and number.isdigit()) or int(number) > LARGEST_ID:
            return None
        row = await self.database.row(BY_ID, id=int(number))
        return _robot(row) if row else None

    async def permissions(self, robot: Robot) -> list[RobotPermission]:
        """What the robot may do."""
        return [_permission(*row) for row in await self.database.rows(PLACES, id=robot.id)]

    async def permissions_of(self, found: Sequence[Robot]) -> dict[int, list[RobotPermission]]:
        """What robots may do, by id: one statement for each `AT_ONCE` of them, and so for any page."""
        wanted = sa.select(places.c.robot_id, places.c.kind, places.c.namespace, places.c.access)
        wanted = wanted.order_by(places.c.robot_id, places.c.place)
        held: dict[int, list[RobotPermission]] = {each.id: [] for each in found}
        ids = list(held)
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            for robot_id, *row in await self.database.rows(wanted.where(places.c.robot_id.in_(some))):
                held[robot_id].append(_permission(*row))
        return held

    async def listed(self, listing: Listing, namespace: Namespace | None) -> tuple[list[Robot], int]:
        """A page of the robots of a namespace, or of the system, and how many there are."""
        select = sa.select(*COLUMNS).where(robots.c.project_id == (namespace.id if namespace else 0))
        select = select.where(*conditions(listing, FILTERED), *self._named(listing, namespace))
        unfiltered = msgspec.structs.replace(listing, q="")
        rows, total = await page(self.database, select, unfiltered, SORTED, robots.c.name, robots.c.id)
        return [_robot(row) for row in rows], total

    def _named(self, listing: Listing, namespace: Namespace | None) -> list[sa.ColumnElement[bool]]:
        """What ``q`` says of the name: the bare one, the one that is shown, or Harbor's stored one (``library+ci``)."""
        prefix = namespace.name if namespace else ""
        heads = dict.fromkeys(("", self.names.current.head(prefix), f"{prefix}+" if prefix else ""))
        ways = [
            conditions(listing, {"name": sa.literal(head).concat(robots.c.name) if head else robots.c.name})
            for head in heads
        ]
        return [sa.or_(*(sa.and_(*way) for way in ways))] if ways[0] else []

    # ---- signing in ----

    def identity(self, robot: Robot) -> Identity:
        """The robot as somebody who asks."""
        name = self.names.shown(robot.namespace, robot.name)
        return Identity(name=name, subject=robot.subject, kind="robot", source=SOURCE)

    async def check(self, name: str, secret: str) -> Robot | None:
        """The robot of that name, in any way of writing it, if this is its secret."""
        meant = self.names.parse(name)
        if not meant:
            return None
        same = (sa.and_(robots.c.namespace == namespace, robots.c.name == bare) for namespace, bare in meant)
        kept = (robots.c.seal, robots.c.previous_seal)
        for row in await self.database.rows(sa.select(*COLUMNS, *kept).where(sa.or_(*same)).order_by(robots.c.id)):
            robot, (seal, previous) = _robot(row), row[-2:]
            if secrets.opens(secret, seal):
                return robot
            if previous is not None and robot.overlaps_until is not None and secrets.opens(secret, previous):
                return robot
        return None

    async def used(self, robot: Robot, address: str | None) -> None:
        """Write down that the robot signed in, once a minute. Nobody decided it, so the journal does not tell it."""
        at = now()
        if robot.last_used_at is not None and robot.last_used_at > at - USED_AGAIN:
            return
        before = sa.or_(robots.c.last_used_at.is_(None), robots.c.last_used_at <= at - USED_AGAIN)
        written = sa.update(robots).where(robots.c.id == robot.id, before)
        try:
            async with self.database.transaction(durable=False) as tx:
                await tx.execute(written.values(last_used_at=at, last_used_address=address))
        except DatabaseError as error:  # a read-only disk is no reason to keep a robot out
            log.warning("the last use of robot %d is not written down: %s", robot.id, error)

    # ---- changing ----

    async def create(
        self, session: Session, name: str, namespace: Namespace | None, fields: Fields, secret: str | None = None
    ) -> tuple[Robot, str]:
        """Make a robot; it and its secret, which is shown this once. Raises BadRequest, Forbidden, Exists, Missing."""
        where = namespace.name if namespace else ""
        needs = Action("robot", "create", scope_of(where))
        await session.require(needs)
        check_name(name, self.names.shown(where, name))
        check_held(session, fields.permissions)
        if secret is not None:
            secrets.check_strength(secret)
        shown = secret or secrets.generate()
        at, creator = now(), _creator(session.identity)
        insert = self.database.insert(robots).values(
            name=name,
            project_id=namespace.id if namespace else 0,
            namespace=where,
            description=fields.description,
            disabled=int(fields.disabled),
            duration=fields.duration,
            expires_at=_expiry(at, fields.duration),
            seal=secrets.seal(shown, chosen=secret is not None),
            creator_type=creator[0],
            creator_ref=creator[1],
            created_at=at,
            updated_at=at,
        )
        details = self._details(where, name) | _told(fields)
        async with self._change(session, "robot.create", details, needs) as change:
            known = await self._resolved(fields.permissions)
            row = await change.tx.row(
                insert.on_conflict_do_nothing(index_elements=["project_id", "name"]).returning(*COLUMNS)
            )
            if row is None:
                message = f"the robot {self.names.shown(where, name)} is there already; choose another name"
                raise Exists(message)
            robot = _robot(row)
            await self._write_permissions(change.tx, robot.id, fields.permissions, known)
            change.details["subject"] = robot.subject
        return robot, shown

    async def update(self, session: Session, robot: Robot, fields: Fields) -> None:
        """Say everything anew that can change. Raises Forbidden for rights that the session has not itself."""
        async with self._change(
            session, "robot.update", self._of(robot) | _told(fields), _needs(robot, "update")
        ) as change:
            held = [_permission(*row) for row in await change.tx.rows(PLACES, id=robot.id)]
            check_held(session, fields.permissions, held_already=held)
            known = await self._resolved(fields.permissions)
            written: dict[str, Any] = {"description": fields.description, "disabled": int(fields.disabled)}
            if fields.duration != robot.duration:
                written |= {"duration": fields.duration, "expires_at": _expiry(robot.created_at, fields.duration)}
            await self._write(change.tx, robot, **written)
            await change.tx.execute(sa.delete(places).where(places.c.robot_id == robot.id))
            await self._write_permissions(change.tx, robot.id, fields.permissions, known)
            (change.revoke if fields.disabled else change.rights_changed)(robot.subject)

    async def refresh(self, session: Session, robot: Robot, secret: str | None = None, *, overlap: bool = False) -> str:
        """Give the robot another secret: a given one, or a new one; which one. With `overlap` the old one works on.

        Whoever sets a secret can be the robot from then on, so the session must have all rights that the robot has.
        """
        if secret is not None:
            secrets.check_strength(secret)
        shown = secret or secrets.generate()
        kept = secrets.seal(shown, chosen=secret is not None)
        details = self._of(robot) | {"overlap": overlap}
        async with self._change(session, "robot.refresh", details, _needs(robot, "update")) as change:
            check_held(session, [_permission(*row) for row in await change.tx.rows(PLACES, id=robot.id)])
            await self._write(
                change.tx,
                robot,
                seal=kept,
                previous_seal=robots.c.seal if overlap else None,
                previous_until=now() + OVERLAP if overlap else None,
            )
            # With an overlap what runs goes on, unless an older secret than the last one ends with this.
            older = robot.previous_until is not None and robot.previous_until > now()
            (change.rights_changed if overlap and not older else change.revoke)(robot.subject)
        return shown

    async def delete(self, session: Session, robot: Robot) -> None:
        """Forget a robot. Whatever gets its name later is another one."""
        async with self._change(session, "robot.delete", self._of(robot), _needs(robot, "delete")) as change:
            if not await change.tx.execute(sa.delete(robots).where(robots.c.id == robot.id)):
                raise self._gone(robot)
            change.revoke(robot.subject)

    async def forget_project(self, tx: Transaction, project_id: int) -> None:
        """Inside `tx`: a project is going, and with it its robots and what robots of the system may do in it."""
        await self.database.lock(tx, LOCK)
        await tx.execute(sa.delete(robots).where(robots.c.project_id == project_id))
        await tx.execute(sa.delete(places).where(places.c.namespace_id == project_id))

    # ---- what changes share ----

    @asynccontextmanager
    async def _change(
        self, session: Session, kind: str, details: dict[str, Any], needs: Action
    ) -> AsyncGenerator[Change]:
        async with session.change(session.operation(kind, details=details), needs=needs) as change:
            # Alone with whoever deletes a project: it is there until this is committed, or was gone before.
            await self.database.lock(change.tx, LOCK)
            yield change

    async def _resolved(self, wanted: Iterable[RobotPermission]) -> dict[str, int]:
        """The ids of all projects that are named. Raises Missing."""
        found: dict[str, int] = {}
        for name in dict.fromkeys(each.namespace for each in wanted if each.named):
            namespace = await self.registry.plugins.resolve_namespace(name)
            if namespace is None or namespace.name != name:
                message = f"there is no project {name[:80]!r}"
                raise Missing(message)
            found[name] = namespace.id
        return found

    async def _write_permissions(
        self, tx: Transaction, robot_id: int, wanted: Sequence[RobotPermission], known: dict[str, int]
    ) -> None:
        rows = [
            {
                "robot_id": robot_id,
                "place": place,
                "kind": each.kind,
                "namespace": each.namespace,
                "namespace_id": known[each.namespace] if each.named else 0,
                "access": msgspec.json.encode(each.access).decode(),
            }
            for place, each in enumerate(wanted)
        ]
        await tx.execute_many(sa.insert(places), rows)

    async def _write(self, tx: Transaction, robot: Robot, **values: Any) -> None:
        update = sa.update(robots).where(robots.c.id == robot.id).values(updated_at=now(), **values)
        if not await tx.execute(update):
            raise self._gone(robot)

    def _details(self, namespace: str, name: str) -> dict[str, Any]:
        level = PROJECT if namespace else SYSTEM
        return {"name": self.names.shown(namespace, name), "level": level, "namespace": namespace or None}

    def _of(self, robot: Robot) -> dict[str, Any]:
        return {"subject": robot.subject, **self._details(robot.namespace, robot.name)}

    def _gone(self, robot: Robot) -> Missing:
        return Missing(f"the robot {self.names.shown(robot.namespace, robot.name)} was deleted a moment ago")


def _needs(robot: Robot, word: str) -> Action:
    return Action("robot", word, robot.scope)


def _told(fields: Fields) -> dict[str, Any]:
    """What the journal and policies hear of a robot beyond its name."""
    rights = [
        {"kind": each.kind, "namespace": each.namespace, "access": [str(one.right) for one in each.access]}
        for each in fields.permissions
    ]
    return {"disable": fields.disabled, "duration": fields.duration, "permissions": rights}


def _expiry(created_at: int, duration: int) -> int:
    """Seconds since 1970; days count from when the robot was made, as in Harbor."""
    return NEVER if duration == NEVER else created_at // SECOND + duration * DAY


def _creator(identity: Identity) -> tuple[str, int]:
    """Harbor's words for who made a robot: ``local`` is a user."""
    kind, _, number = identity.subject.partition(":")
    ref = int(number) if number.isascii() and number.isdigit() and len(number) <= 18 else 0
    return ("robot" if kind == "robot" else "local" if kind == "user" else identity.kind), ref
