"""Personal access tokens: named, scoped, expiring second passwords for programs.

A token is ``crp_<id>_<secret>``. The secret has 256 random bits, so a plain SHA-256 keeps it; it is shown once. Whoever
signs in with one carries the subject ``token:<id>`` among its groups: a revocation finds bearer tokens and remembered
sign-ins by that.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import (
    BadRequest,
    Database,
    DatabaseError,
    Exists,
    Identity,
    Missing,
    Precondition,
    Query,
    Session,
    Unauthorized,
    now,
)
from corereg_accounts.names import key_of
from corereg_accounts.schema import tokens, users
from corereg_accounts.scopes import limits_of
from corereg_accounts.users import CREDENTIAL, TOKEN, User, disabled, hold, user_of
from corereg_accounts.users import FIELDS as USER_FIELDS

log = logging.getLogger(__name__)

PREFIX = "crp_"
SUBJECT = "token:"
LONGEST_NAME = 255
MOST = 100
"""Tokens of one user."""
DEFAULT_DAYS = 90
DAY = 86_400_000_000
"""Microseconds."""
MINUTE = 60_000_000

_shape = re.compile(rf"{PREFIX}([1-9][0-9]{{0,17}})_([0-9a-f]{{64}})\Z")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. Times are microseconds since 1970, UTC; `scopes` None: all that its owner may do."""

    id: int
    user_id: int
    name: str
    scopes: list[str] | None
    created_at: int
    expires_at: int
    used_at: int | None
    used_from: str | None

    @property
    def subject(self) -> str:
        """What revocations count on."""
        return f"{SUBJECT}{self.id}"


class Presented(msgspec.Struct, frozen=True):
    """What somebody sent that has the shape of a token."""

    id: int
    hash: str


FIELDS = tuple(tokens.c[name] for name in Token.__struct_fields__)
WITH_OWNER = Query(
    sa.select(*USER_FIELDS, users.c.name_key, tokens.c.hash, *FIELDS)
    .join(users, users.c.id == tokens.c.user_id)
    .where(tokens.c.id == bindparam("id", type_=sa.BigInteger))
)
LIVING = Query(
    sa.select(tokens.c.scopes).where(
        tokens.c.id == bindparam("id", type_=sa.BigInteger),
        tokens.c.user_id == bindparam("user", type_=sa.BigInteger),
        tokens.c.expires_at > bindparam("now", type_=sa.BigInteger),
    )
)


def presented(password: str) -> Presented | None:
    """What is in a password of a token's shape; None for any other password."""
    match = _shape.match(password)
    return Presented(int(match[1]), _hash(match[2])) if match else None


def token_of(row: Any) -> Token:
    """The token that a row of `FIELDS` holds."""
    fields = dict(zip(Token.__struct_fields__, row, strict=True))
    scopes = fields["scopes"]
    return Token(**{**fields, "scopes": None if scopes is None else msgspec.json.decode(scopes, type=list[str])})


class Tokens:
    """The personal access tokens of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # ---- signing in ----

    async def check(self, name: str, given: Presented, address: str | None) -> Identity:
        """Whose token it is. Raises Unauthorized: what has a token's shape is no password, and asked of nobody else."""
        row = await self.database.row(WITH_OWNER, id=given.id)
        kept = row[len(USER_FIELDS) + 1] if row else "0" * len(given.hash)
        right = hmac.compare_digest(kept, given.hash)
        if row is None or not right or not hmac.compare_digest(_bytes(row[len(USER_FIELDS)]), _bytes(key_of(name))):
            message = "the name or the password is wrong; check both and sign in again"
            raise Unauthorized(message)
        user, token = user_of(row), token_of(row[len(USER_FIELDS) + 2 :])
        if user.disabled:
            raise disabled(user)
        if token.expires_at <= now():
            message = f"the token {token.name} of {user.name} has expired; make another one"
            raise Unauthorized(message)
        await self._used(token, address)
        return msgspec.structs.replace(
            user.identity(**{CREDENTIAL: TOKEN}),
            groups=(token.subject,),
            limits=limits_of(token.scopes),
            expires_at=token.expires_at,
        )

    async def still(self, identity: Identity, user: User) -> Identity:
        """Somebody who signed in with a token some time ago. Raises Unauthorized when it holds no more."""
        for subject in identity.groups:
            number = subject.removeprefix(SUBJECT)
            if number == subject:
                continue
            row = await self.database.row(LIVING, id=int(number), user=user.id, now=now())
            if row is None:
                message = f"the token that {user.name} signed in with was revoked, or has expired"
                raise Unauthorized(message)
            scopes = None if row[0] is None else msgspec.json.decode(row[0], type=list[str])
            identity = msgspec.structs.replace(identity, limits=limits_of(scopes))
        return identity

    async def _used(self, token: Token, address: str | None) -> None:
        """Keep when and from where; once a minute is enough, and its last moments may be lost. Nothing is recorded."""
        at = now()
        if token.used_at is not None and at - token.used_at < MINUTE and token.used_from == address:
            return
        same = sa.update(tokens).where(tokens.c.id == token.id)
        same = same.where(sa.or_(tokens.c.used_at.is_(None), tokens.c.used_at <= at - MINUTE))
        try:
            async with self.database.transaction(durable=False) as tx:
                await tx.execute(same.values(used_at=at, used_from=address))
        except DatabaseError as error:  # a read-only disk is no reason to keep anybody out
            log.warning("when the token %d was used last is not kept: %s", token.id, error)

    # ---- what their owners see and do ----

    async def of(self, user: User, token_id: int) -> Token:
        """A user's token of that id. Raises Missing, also for another one's."""
        own = sa.and_(tokens.c.id == token_id, tokens.c.user_id == user.id)
        row = await self.database.row(sa.select(*FIELDS).where(own))
        if row is None:
            raise _missing(token_id)
        return token_of(row)

    async def make(
        self, session: Session, user: User, name: str, scopes: list[str] | None, *, days: int
    ) -> tuple[Token, str]:
        """A new token, and its text, which is kept nowhere. The session's identity is the user."""
        limits_of(scopes)
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
            message = f"the name of a token has 1 to {LONGEST_NAME} characters that can be seen"
            raise BadRequest(message)
        secret, at = secrets.token_hex(32), now()
        fields = {"user_id": user.id, "name": name, "hash": _hash(secret), "created_at": at}
        fields |= {"expires_at": at + days * DAY, "scopes": _json(scopes)}
        details: dict[str, Any] = {"subject": user.subject, "name": user.name, "token_name": name, "scopes": scopes}
        async with session.change(session.operation("token.create", details=details)) as change:
            await hold(session, change.tx, user)
            count = await change.tx.row(sa.select(sa.func.count()).where(tokens.c.user_id == user.id))
            if count is not None and count[0] >= MOST:
                message = f"{user.name} has {MOST} tokens already; revoke one first"
                raise Precondition(message)
            insert = change.tx.insert(tokens).values(**fields).on_conflict_do_nothing().returning(*FIELDS)
            row = await change.tx.row(insert)
            if row is None:
                message = f"you have a token {name!r} already; choose another name, or revoke that one"
                raise Exists(message)
            token = token_of(row)
            change.details["token"] = token.id
        return token, f"{PREFIX}{token.id}_{secret}"

    async def revoke(self, session: Session, user: User, token_id: int) -> None:
        """End a user's token, and all that was signed in with it. Raises Missing."""
        details = {"subject": user.subject, "name": user.name, "token": token_id}
        own = sa.and_(tokens.c.id == token_id, tokens.c.user_id == user.id)
        async with session.change(session.operation("token.delete", details=details)) as change:
            if not await change.tx.execute(sa.delete(tokens).where(own)):
                raise _missing(token_id)
            change.revoke(f"{SUBJECT}{token_id}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _json(scopes: list[str] | None) -> str | None:
    return None if scopes is None else msgspec.json.encode(scopes).decode()


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _missing(token_id: int) -> Missing:
    return Missing(f"you have no token with the id {token_id}")
