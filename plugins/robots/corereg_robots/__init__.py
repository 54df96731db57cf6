"""Logins of machines, with rights of their own: the plugin `robots`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import click
import msgspec

from corereg import Grant, Identity, Unauthorized, hookimpl
from corereg_robots.names import HARBOR, SHELL_SAFE, SOURCE, Names, Naming, check_prefix, check_separator

if TYPE_CHECKING:
    from corereg import Operation, Registry, Route, Schema, Setting, Transaction
    from corereg_robots.store import Robot, RobotStore

__all__ = ["Robots"]


class Robots:
    """Robot accounts of the system and of projects, as Harbor has them."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """How robots are called, until somebody changes `robot_name_prefix` and `robot_name_separator`."""

        shell_safe: Annotated[
            bool,
            msgspec.Meta(
                description="robot-library--ci instead of robot$library+ci; the other names go on signing in."
            ),
        ] = False
        former_prefixes: Annotated[
            tuple[str, ...],
            msgspec.Meta(description="Prefixes that robots had once, whose names shall go on signing in."),
        ] = ()

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or self.Settings()
        for prefix in self.settings.former_prefixes:
            check_prefix(prefix)
        self._opened: RobotStore | None = None

    # ---- boot ----

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_robots.commands import robot_group

        return [robot_group]

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_robots.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        from corereg import Setting
        from corereg_robots.routes import check_duration

        usual = SHELL_SAFE if self.settings.shell_safe else HARBOR
        return [
            Setting(
                name="robot_token_duration",
                type=int,
                default=30,
                description="Days a robot's secret works where none are given; -1 for ever.",
                check=check_duration,
            ),
            Setting(
                name="robot_name_prefix",
                type=str,
                default=usual.prefix,
                description="What the name of every robot begins with.",
                check=check_prefix,
            ),
            Setting(
                name="robot_name_separator",
                type=str,
                default=usual.separator,
                description="What stands between project and name in the name of a project's robot.",
                check=check_separator,
            ),
        ]

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_robots.routes import RobotRoutes

        return RobotRoutes(registry, self._robots).routes()

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        from corereg_robots.store import RobotStore

        def current() -> Naming:
            get = registry.settings.get
            return Naming(get("robot_name_prefix"), get("robot_name_separator"))

        self._opened = RobotStore(registry, Names(current, self.settings.former_prefixes))
        try:
            yield
        finally:
            self._opened = None

    # ---- for each sign-in ----

    @hookimpl(tryfirst=True)  # a secret costs a microsecond to check, a password of a person tens of milliseconds
    async def check_password(self, name: str, password: str, address: str | None) -> Identity | None:
        robots = self._robots()
        robot = await robots.check(name, password)
        if robot is None:
            return None  # somebody else may have that name: a robot that is not meant to sign in is no reason to refuse
        identity = robots.identity(robot)
        _check_in_force(robot, identity.name)
        await robots.used(robot, address)
        return identity

    @hookimpl(trylast=True)  # whatever others have added: a robot is no administrator and in no group
    async def complete_identity(self, identity: Identity) -> Identity | None:
        if identity.source != SOURCE:
            return None
        robot = await self._robots().of(identity)
        if robot is None:
            message = f"{identity.name} was deleted; ask who made it for another robot"
            raise Unauthorized(message)
        known = self._robots().identity(robot)
        _check_in_force(robot, known.name)
        return msgspec.structs.replace(identity, name=known.name, kind="robot", administrator=False, groups=())

    @hookimpl
    async def grants(self, identity: Identity) -> Sequence[Grant] | None:
        robot = await self._robots().of(identity) if identity.source == SOURCE else None
        if robot is None or robot.disabled or robot.expired:
            return None
        from corereg_robots.permissions import grants_of

        return grants_of(robot.level, await self._robots().permissions(robot))

    # ---- with each change ----

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        if operation.kind == "project.delete":
            await self._robots().forget_project(tx, operation.details["id"])

    def _robots(self) -> RobotStore:
        if self._opened is None:
            message = "the registry is not open"
            raise RuntimeError(message)
        return self._opened


def _check_in_force(robot: Robot, name: str) -> None:
    """Raise Unauthorized, with the reason, for a robot that may not sign in now."""
    if robot.disabled:
        message = f"{name} is disabled; ask who made it to enable it"
        raise Unauthorized(message)
    if robot.expired:
        message = f"{name} has expired; ask who made it to give it more days (they count from when it was made)"
        raise Unauthorized(message)
