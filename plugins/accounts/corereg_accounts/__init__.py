"""Users, groups, and what they sign in with: the plugin `accounts`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click
import msgspec

from corereg import EVERYTHING, Duration, Grant, Identity, hookimpl

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from corereg import Check, Principal, Registry, Request, Route, Schema, Session, Setting
    from corereg_accounts.stores import Stores
    from corereg_accounts.users import Users

__all__ = ["Accounts"]

LEVELS = {
    "none": (),
    "pull": ("pull",),
    "push": ("pull", "push"),
    "delete": ("pull", "push", "delete"),
}


class Accounts:
    """Users and groups of this registry, their passwords, sessions and tokens. Administrators may do everything."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """What people may do in every repository beyond what other plugins grant, and how long they stay signed in."""

        signed_in: Annotated[
            Literal["none", "pull", "push", "delete"],
            msgspec.Meta(description="What every signed-in user may do; each level holds those before it."),
        ] = "none"
        anonymous: Annotated[
            Literal["none", "pull"], msgspec.Meta(description="What may be done without signing in.")
        ] = "none"
        session_lifetime: Annotated[
            Duration,
            msgspec.Meta(description="How long a browser stays signed in at most, however busy it is.", ge=60),
        ] = 7 * 86400

    def __init__(self, settings: Settings | None = None, *, hasher: PasswordHasher | None = None) -> None:
        self.settings = settings or self.Settings()
        self._hasher = hasher
        self._opened: Stores | None = None

    # ---- boot ----

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_accounts.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_accounts.routes import routes_of

        return routes_of(registry, self._stores)

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        from corereg_accounts.settings import SETTINGS

        return SETTINGS

    @hookimpl
    def provide_checks(self, registry: Registry) -> Sequence[Check]:
        from corereg_accounts.checks import checks_of

        return checks_of(registry)

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_accounts.remote_commands import group_group, user_group

        return [user_group, group_group]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        from corereg_accounts.administrator import ensure_administrator
        from corereg_accounts.passwords import Passwords
        from corereg_accounts.stores import stores_of

        with Passwords(self._hasher) as passwords:
            self._opened = stores_of(registry, passwords, self.settings.session_lifetime)
            try:
                await ensure_administrator(registry, self._opened.users, os.environ)
                yield
            finally:
                self._opened = None

    # ---- for each sign-in ----

    @hookimpl
    async def identify(self, request: Request) -> Identity | None:
        return await self._stores().sessions.identify(request)

    @hookimpl
    async def check_password(self, name: str, password: str, address: str | None) -> Identity | None:
        from corereg_accounts.credentials import check

        return await check(self._stores(), name, password, address)

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity | None:
        from corereg_accounts.identities import completed

        return await completed(self._stores(), identity)

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

    # ---- what other plugins ask ----

    @hookimpl(optionalhook=True)
    async def find_principal(self, kind: str, reference: int | str, group_type: int) -> Principal | None:
        from corereg_accounts.principals import principal

        return await principal(self._stores(), kind, reference, group_type)

    @hookimpl(optionalhook=True)
    async def describe_system(self, session: Session) -> Mapping[str, Any]:
        return {
            "auth_mode": "db_auth",
            "primary_auth_mode": False,
            "self_registration": self._stores().registration(),
        }

    def _stores(self) -> Stores:
        if self._opened is None:
            message = "the registry is not open"
            raise RuntimeError(message)
        return self._opened

    def _users(self) -> Users:
        return self._stores().users
