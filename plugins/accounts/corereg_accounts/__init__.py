"""Local users and passwords, and the administrator: the plugin `accounts`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import click
import msgspec

from corereg import EVERYTHING, Grant, Identity, Unauthorized, hookimpl

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from corereg import Registry, Route, Schema
    from corereg_accounts.users import Users

__all__ = ["Accounts"]

LEVELS = {
    "none": (),
    "pull": ("pull",),
    "push": ("pull", "push"),
    "delete": ("pull", "push", "delete"),
}


class Accounts:
    """Users of this registry alone; `corereg user` makes them. Administrators may do everything."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """What people may do in every repository, beyond what other plugins grant them."""

        signed_in: Annotated[
            Literal["none", "pull", "push", "delete"],
            msgspec.Meta(description="What every signed-in user may do; each level holds those before it."),
        ] = "none"
        anonymous: Annotated[
            Literal["none", "pull"], msgspec.Meta(description="What may be done without signing in.")
        ] = "none"

    def __init__(self, settings: Settings | None = None, *, hasher: PasswordHasher | None = None) -> None:
        self.settings = settings or self.Settings()
        self._hasher = hasher
        self._opened: Users | None = None

    # ---- boot ----

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_accounts.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_accounts.routes import UserRoutes

        return UserRoutes(registry, self._users).routes()

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_accounts.commands import user_group

        return [user_group]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        from corereg_accounts.administrator import ensure_administrator
        from corereg_accounts.passwords import Passwords
        from corereg_accounts.users import Users

        with Passwords(self._hasher) as passwords:
            self._opened = Users(registry.database, passwords)
            try:
                await ensure_administrator(registry, self._opened, os.environ)
                yield
            finally:
                self._opened = None

    # ---- for each sign-in ----

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        user = await self._users().check(name, password)
        return user.identity() if user else None

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity | None:
        from corereg_accounts.users import SOURCE, disabled

        if identity.source != SOURCE:
            return None
        user = await self._users().of(identity)
        if user is None:
            message = f"{identity.name} was deleted; ask an administrator for a new account"
            raise Unauthorized(message)
        if user.disabled:
            raise disabled(user)
        return msgspec.structs.replace(identity, name=user.name, administrator=user.administrator)

    @hookimpl
    async def grants(self, identity: Identity) -> Sequence[Grant] | None:
        if identity.administrator:
            return [EVERYTHING]
        if identity.kind not in {"user", "anonymous"}:
            return None
        levels = (self.settings.anonymous, "none" if identity.anonymous else self.settings.signed_in)
        words = frozenset(word for level in levels for word in LEVELS[level])
        if not words:
            return None
        return [Grant("*", "repository", words), Grant("system", "catalog", frozenset({"read"}))]

    def _users(self) -> Users:
        if self._opened is None:
            message = "the registry is not open"
            raise RuntimeError(message)
        return self._opened
