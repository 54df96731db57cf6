"""One's own personal access tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import SIGNED_IN, BadRequest, Created, Fields, Listed, Listing, Registry, Route, Session, page
from corereg_accounts.routes.callers import require_all_rights, require_own_sign_in, user_of_caller
from corereg_accounts.routes.tables import table
from corereg_accounts.schema import tokens
from corereg_accounts.settings import MOST_DAYS
from corereg_accounts.stores import Stores
from corereg_accounts.tokens import DEFAULT_DAYS, FIELDS, Token, token_of
from corereg_accounts.users import User, rfc3339

TAG = "token"
SORTED: Fields = {
    "id": tokens.c.id,
    "name": tokens.c.name,
    "creation_time": tokens.c.created_at,
    "expiration_time": tokens.c.expires_at,
    "last_used_time": tokens.c.used_at,
}


class TokenReq(msgspec.Struct, frozen=True):
    """A token to be made. `scopes` such as ``repository:team/*:pull,push``; null: all that its owner may do.

    `duration` is in days; 0 takes 90, or the most the registry allows.
    """

    name: str
    scopes: list[str] | None = None
    duration: int = 0


class TokenResp(msgspec.Struct, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: int
    name: str
    scopes: list[str] | None
    creation_time: str
    expiration_time: str
    last_used_time: str | None
    last_used_address: str | None


class NewTokenResp(TokenResp, frozen=True, kw_only=True):
    """A token that was just made. `token` is what stands for the password, and is not shown again."""

    token: str


class TokenRoutes:
    """The routes of one registry. `stores` gives the stores, which are there once the registry is open."""

    def __init__(self, registry: Registry, stores: Callable[[], Stores]) -> None:
        self._registry = registry
        self._stores = stores

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/api/v2.0/users/current/tokens"
        one = f"{base}/{{token_id}}"
        say = table(TAG, extension=True)
        return [
            say("GET", base, self.list_own_tokens, SIGNED_IN, "My personal access tokens.", 403, 412),
            say("POST", base, self.create_own_token, SIGNED_IN, "Make a personal access token.", 409, 412),
            say("GET", one, self.get_own_token, SIGNED_IN, "One of my personal access tokens.", 403, 412),
            say("DELETE", one, self.revoke_own_token, SIGNED_IN, "Revoke a personal access token.", 412),
        ]

    async def list_own_tokens(self, session: Session, query: Listing) -> Listed[TokenResp]:
        """By name, also those that have expired."""
        user = await self._user(session)
        select = sa.select(*FIELDS).where(tokens.c.user_id == user.id)
        rows, total = await page(self._registry.database, select, query, SORTED, tokens.c.name)
        return Listed([TokenResp(**_fields(token_of(row))) for row in rows], total)

    async def get_own_token(self, session: Session, token_id: int) -> TokenResp:
        """One of them."""
        return TokenResp(**_fields(await self._stores().tokens.of(await self._user(session), token_id)))

    async def create_own_token(self, session: Session, body: TokenReq) -> Created[NewTokenResp]:
        """The token is shown this once."""
        require_own_sign_in(session)
        most: int = self._registry.settings.get(MOST_DAYS)
        if not 0 <= body.duration <= most:
            message = f"a token lives 1 to {most} days (duration); 0 takes {min(DEFAULT_DAYS, most)}"
            raise BadRequest(message)
        days = body.duration or min(DEFAULT_DAYS, most)
        user = await self._user(session)
        token, text = await self._stores().tokens.make(session, user, body.name, body.scopes, days=days)
        return Created(token.id, NewTokenResp(**_fields(token), token=text))

    async def revoke_own_token(self, session: Session, token_id: int) -> None:
        """It, and all that was signed in with it, is worth nothing within seconds."""
        require_own_sign_in(session)
        await self._stores().tokens.revoke(session, await self._user(session), token_id)

    async def _user(self, session: Session) -> User:
        require_all_rights(session)
        return await user_of_caller(self._stores().users, session)


def _fields(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "creation_time": rfc3339(token.created_at),
        "expiration_time": rfc3339(token.expires_at),
        "last_used_time": None if token.used_at is None else rfc3339(token.used_at),
        "last_used_address": token.used_from,
    }
