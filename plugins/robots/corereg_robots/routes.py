"""What Harbor's API says about robots (swagger.yaml, tags ``robot`` and ``permissions``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from corereg import (
    SIGNED_IN,
    Action,
    BadRequest,
    Created,
    Listed,
    Listing,
    Missing,
    Namespace,
    Registry,
    Route,
    Session,
    Term,
    scopes_of,
)
from corereg_robots import allowed
from corereg_robots.allowed import Right
from corereg_robots.permissions import PROJECT, SYSTEM, RobotPermission, checked
from corereg_robots.store import NEVER, Fields, Robot, RobotStore

NOWHERE = "/*"
"""A scope that no grant names: only who may act everywhere learns that a project, or a robot, is not there."""
LONGEST_DURATION = 2**31 - 2
LONGEST_DESCRIPTION = 1024


class RobotCreate(msgspec.Struct, frozen=True, kw_only=True):
    """The body that asks for a robot. What may be left out may be null, too."""

    name: str
    level: str
    permissions: tuple[RobotPermission, ...] = ()
    description: str | None = None
    duration: int | None = None
    disable: bool | None = None
    secret: str | None = None


class RobotCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A robot that was just made, with its secret, which is not shown again."""

    id: int
    name: str
    secret: str
    creation_time: str
    expires_at: int


class RobotUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole robot, as a GET shows it; what cannot change is compared or ignored."""

    name: str = ""
    level: str = ""
    permissions: tuple[RobotPermission, ...] = ()
    description: str | None = None
    duration: int | None = None
    disable: bool | None = None


class RobotResp(msgspec.Struct, frozen=True, kw_only=True):
    """A robot as Harbor's clients know one; the last three fields are ours."""

    id: int
    name: str
    description: str
    level: str
    duration: int
    expires_at: int
    disable: bool
    editable: bool
    permissions: list[RobotPermission]
    creator_type: str
    creator_ref: int
    creation_time: str
    update_time: str
    last_used_time: str | msgspec.UnsetType = msgspec.UNSET
    last_used_address: str | msgspec.UnsetType = msgspec.UNSET
    previous_secret_until: str | msgspec.UnsetType = msgspec.UNSET


class RobotSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret to set, or none to have one made; `overlap`, which is ours, lets the old one work for an hour."""

    secret: str | None = None
    overlap: bool | None = None


class RobotSec(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secret that was made; none where one was given."""

    secret: str = ""


class Permissions(msgspec.Struct, frozen=True):
    """What robots may be given."""

    system: Sequence[Right]
    project: Sequence[Right]


class RobotRoutes:
    """The routes of one registry. `store` gives the robots, which are there once the registry is open."""

    def __init__(self, registry: Registry, store: Callable[[], RobotStore]) -> None:
        self._registry = registry
        self._store = store

    def routes(self) -> Sequence[Route]:
        """The table. /robots is one path for the system and all projects, so the handlers ask for the rights."""
        every, one = "/api/v2.0/robots", "/api/v2.0/robots/{robot_id}"

        def route(method: str, path: str, handler: Callable[..., object], summary: str, *errors: int) -> Route:
            return Route(method, path, handler, SIGNED_IN, summary, tag="robot", errors=(403, 404, *errors))  # type: ignore[arg-type]  # bound coroutine functions, all of them

        return [
            route("GET", every, self.list_robot, "Get robot account"),
            route("POST", every, self.create_robot, "Create a robot account", 409),
            route("GET", one, self.get_robot_by_id, "Get a robot account"),
            route("PUT", one, self.update_robot, "Update a robot account", 409),
            route("PATCH", one, self.refresh_sec, "Refresh the robot secret"),
            route("DELETE", one, self.delete_robot, "Delete a robot account"),
            Route(
                "GET",
                "/api/v2.0/permissions",
                self.get_permissions,
                SIGNED_IN,
                "Get system or project level permissions info.",
                tag="permissions",
                errors=(403,),
            ),
        ]

    async def list_robot(self, session: Session, query: Listing) -> Listed[RobotResp]:
        """Robots of the system, or with ``q=Level=project,ProjectID=1`` those of a project."""
        namespace = await self._asked_for(session, query)
        store = self._store()
        robots, total = await store.listed(query, namespace)
        permissions = await store.permissions_of(robots)
        return Listed([self._response(each, permissions[each.id]) for each in robots], total)

    async def create_robot(self, session: Session, body: RobotCreate) -> Created[RobotCreated]:
        """Make a robot. Its creator can give it only what she may do herself."""
        permissions = checked(body.level, body.permissions)
        namespace = None
        if body.level == PROJECT:
            namespace = await self._project(session, permissions[0].namespace, "create")
        fields = Fields(
            description=_described(body.description),
            disabled=bool(body.disable),
            duration=self._duration(body.duration),
            permissions=permissions,
        )
        robot, secret = await self._store().create(session, body.name, namespace, fields, body.secret or None)
        created = RobotCreated(
            id=robot.id,
            name=self._name(robot),
            secret=secret,
            creation_time=rfc3339(robot.created_at),
            expires_at=robot.expires_at,
        )
        return Created(robot.id, created)

    async def get_robot_by_id(self, session: Session, robot_id: int) -> RobotResp:
        """One robot, without its secret."""
        robot = await self._robot(session, robot_id, "read")
        return self._response(robot, await self._store().permissions(robot))

    async def update_robot(self, session: Session, robot_id: int, body: RobotUpdate) -> None:
        """Everything anew, but name, level and project. Days count from when the robot was made."""
        robot = await self._robot(session, robot_id, "update")
        if body.level != robot.level or (robot.namespace, robot.name) not in self._meant(body.name):
            message = f"cannot update the level or name of robot: this one is {self._name(robot)}, level {robot.level}"
            raise BadRequest(message)
        permissions = checked(body.level, body.permissions)
        if robot.namespace and permissions[0].namespace != robot.namespace:
            message = f"cannot move a robot to another project: this one belongs to {robot.namespace}"
            raise BadRequest(message)
        fields = Fields(
            description=_described(body.description),
            disabled=bool(body.disable),
            duration=robot.duration if body.duration is None else self._duration(body.duration),
            permissions=permissions,
        )
        await self._store().update(session, robot, fields)

    async def refresh_sec(self, session: Session, robot_id: int, body: RobotSecret) -> RobotSec:
        """Set the secret, or have a new one made and hear it once."""
        robot = await self._robot(session, robot_id, "update")
        secret = await self._store().refresh(session, robot, body.secret or None, overlap=bool(body.overlap))
        return RobotSec() if body.secret else RobotSec(secret)

    async def delete_robot(self, session: Session, robot_id: int) -> None:
        """Forget a robot; what it is signed in with ends within seconds."""
        await self._store().delete(session, await self._robot(session, robot_id, "delete"))

    async def get_permissions(self, session: Session) -> Permissions:
        """What robots may be given, for whoever may make some: of the system, or of a project."""
        create = Action("robot", "create")
        if session.may(create):
            return Permissions(allowed.SYSTEM, allowed.PROJECT)
        if not scopes_of(session.grants, create.resource, create.action):
            raise await session.refusal(create)
        return Permissions((), allowed.PROJECT)

    # ---- whose robot ----

    async def _robot(self, session: Session, robot_id: int, word: str) -> Robot:
        """The robot, for whoever may do that to it. Raises Missing for those who may know."""
        said = _said(robot_id, word)
        try:
            robot = await self._store().with_id(robot_id)
        except Missing:
            await session.require(Action("robot", word, NOWHERE), said=said)
            raise
        await session.require(Action("robot", word, robot.scope), said=said)
        return robot

    async def _project(self, session: Session, reference: int | str, word: str) -> Namespace:
        """The project, for whoever may do that to its robots. Raises Missing for those who may know."""
        namespace = await self._registry.plugins.resolve_namespace(reference)
        needs = Action("robot", word, namespace.scope if namespace else NOWHERE)
        await session.require(needs, said=_said(reference, word))
        if namespace is None:
            message = f"there is no project {str(reference)[:80]!r}"
            raise Missing(message)
        return namespace

    async def _asked_for(self, session: Session, query: Listing) -> Namespace | None:
        """The project whose robots a list is of, for whoever may see them; None for the system."""
        terms = {term.key: term for term in query.terms}
        level = _word(terms.get("level"), SYSTEM)
        if level == SYSTEM:
            await session.require(Action("robot", "list"))
            return None
        if level != PROJECT:
            message = f"bad request error level input: {level[:40]!r}; a robot is of the level system or project"
            raise BadRequest(message)
        project = terms.get("project_id")
        if project is None:
            message = "must with project ID when to query project robots: q=Level=project,ProjectID=1"
            raise BadRequest(message)
        if project.how != "is" or not isinstance(project.value, int):
            message = "Project ID must be int type: q=Level=project,ProjectID=1"
            raise BadRequest(message)
        return await self._project(session, project.value, "list")

    # ---- what is said ----

    def _name(self, robot: Robot) -> str:
        return self._store().names.shown(robot.namespace, robot.name)

    def _meant(self, name: str) -> list[tuple[str, str]]:
        return self._store().names.parse(name)

    def _duration(self, days: int | None) -> int:
        """Days, by the setting where none are given. Raises BadRequest."""
        if not days:
            days = int(self._registry.settings.get("robot_token_duration"))
        if days != NEVER and not 1 <= days <= LONGEST_DURATION:
            message = (
                f"bad request error duration input: {days}; give days from 1 to {LONGEST_DURATION}, or -1 for ever"
            )
            raise BadRequest(message)
        return days

    def _response(self, robot: Robot, permissions: list[RobotPermission]) -> RobotResp:
        return RobotResp(
            id=robot.id,
            name=self._name(robot),
            description=robot.description,
            level=robot.level,
            duration=robot.duration,
            expires_at=robot.expires_at,
            disable=robot.disabled,
            editable=True,
            permissions=permissions,
            creator_type=robot.creator_type,
            creator_ref=robot.creator_ref,
            creation_time=rfc3339(robot.created_at),
            update_time=rfc3339(robot.updated_at),
            last_used_time=_when(robot.last_used_at),
            last_used_address=robot.last_used_address or msgspec.UNSET,
            previous_secret_until=_when(robot.overlaps_until),
        )


def _said(reference: int | str, word: str) -> Action:
    """What a refusal repeats: the caller's own words, and not what a number is called, or whether it is there."""
    return Action("robot", word, f"{str(reference)[:80]}/*")


def _word(term: Term | None, otherwise: str) -> str:
    return otherwise if term is None else term.text if term.how == "is" else term.how


def _described(text: str | None) -> str:
    text = text or ""
    if len(text) > LONGEST_DESCRIPTION or "\x00" in text:
        message = f"a description has at most {LONGEST_DESCRIPTION} characters, and no NUL among them"
        raise BadRequest(message)
    return text


def _when(microseconds: int | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if microseconds is None else rfc3339(microseconds)


def rfc3339(microseconds: int) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def check_duration(days: int) -> None:
    """Raise ValueError unless a robot can work for so many days; -1 is for ever."""
    if days != NEVER and not 1 <= days <= LONGEST_DURATION:
        message = f"give days from 1 to {LONGEST_DURATION}, or -1 for ever"
        raise ValueError(message)
