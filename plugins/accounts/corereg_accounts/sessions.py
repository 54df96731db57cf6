"""Browsers that are signed in, by the cookie ``sid``.

The cookie holds 256 random bits, the table their SHA-256. A session ends when nothing was asked for `session_timeout`
minutes, a week after the sign-in (`[accounts] session_lifetime`), and by signing out, another password, disabling or
deleting its user. Every sign-in makes a new one, so that nobody can fix another one's in advance.

Whoever sends a cookie may not know that they do: a change needs the header ``X-Harbor-CSRF-Token`` as well, whose value
follows from the cookie and is told to its owner alone. In the registry protocol a cookie reads, and no more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import (
    Database,
    DatabaseError,
    Forbidden,
    Identity,
    Missing,
    Query,
    Request,
    Session,
    Unauthorized,
    now,
)
from corereg_accounts.schema import sessions, users
from corereg_accounts.users import CREDENTIAL, SESSION, User, hold, user_of
from corereg_accounts.users import FIELDS as USER_FIELDS

log = logging.getLogger(__name__)

COOKIE = "sid"
CSRF = "x-harbor-csrf-token"
NO_RENEWAL = "x-harbor-no-session-renewal"
LOGIN = "/c/login"
READING = {"GET", "HEAD", "OPTIONS"}
SECOND = 1_000_000
RENEWED_AFTER = 60 * SECOND
"""Microseconds between two writes of when a session was seen."""
LONGEST_AGENT = 255

_shape = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """One session. Times are microseconds since 1970, UTC."""

    id: int
    user_id: int
    created_at: int
    seen_at: int
    address: str
    agent: str


FIELDS = tuple(sessions.c[name] for name in SignedIn.__struct_fields__)
BY_HASH = Query(
    sa.select(*USER_FIELDS, *FIELDS)
    .join(users, users.c.id == sessions.c.user_id)
    .where(sessions.c.hash == bindparam("hash"))
)


def session_of(row: Any) -> SignedIn:
    """The session that a row of `FIELDS` holds."""
    return SignedIn(**dict(zip(SignedIn.__struct_fields__, row, strict=True)))


def csrf_token(cookie: str) -> str:
    """What a change has to bring along: only who can read the cookie, or its owner's answers, knows it."""
    mac = hmac.digest(cookie.encode("latin-1"), b"corereg csrf token", hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def sid_of(request: Request) -> str | None:
    """What the request's cookie holds, if it can be one of ours."""
    cookie = request.cookie(COOKIE)
    return cookie if cookie is not None and _shape.match(cookie) else None


class Sessions:
    """The sessions of one registry. `timeout` gives minutes, which may change; `lifetime` is in seconds."""

    def __init__(self, database: Database, timeout: Callable[[], int], lifetime: float) -> None:
        self.database = database
        self._timeout = timeout
        self._lifetime = int(lifetime * SECOND)

    # ---- who is asking ----

    async def identify(self, request: Request) -> Identity | None:
        """Who sends this cookie. Raises Forbidden for a change without its CSRF token."""
        path, reads = request.path, request.method in READING
        if path == LOGIN or path.startswith("/service/") or (path.startswith("/v2/") and not reads):
            return None
        cookie = sid_of(request)
        if cookie is None:
            return None
        found = await self._found(cookie)
        if found is None:
            return None
        user, session = found
        if not reads:
            _check_csrf(request, cookie)
        if request.header(NO_RENEWAL.encode()) is None:
            await self._renew(session)
        return user.identity(**{CREDENTIAL: SESSION})

    async def _found(self, cookie: str) -> tuple[User, SignedIn] | None:
        row = await self.database.row(BY_HASH, hash=_hash(cookie))
        if row is None:
            return None
        session = session_of(row[len(USER_FIELDS) :])
        return (user_of(row), session) if self.ends_at(session) > now() else None

    def ends_at(self, session: SignedIn) -> int:
        """When the session ends if nothing more is asked, in microseconds since 1970."""
        return min(session.seen_at + self._timeout() * 60 * SECOND, session.created_at + self._lifetime)

    async def _renew(self, session: SignedIn) -> None:
        """Keep that the session was seen; once a minute is enough, and its last moments may be lost."""
        at = now()
        if at - session.seen_at < RENEWED_AFTER:
            return
        same = sa.update(sessions).where(sessions.c.id == session.id, sessions.c.seen_at == session.seen_at)
        try:
            async with self.database.transaction(durable=False) as tx:
                await tx.execute(same.values(seen_at=at))
        except DatabaseError as error:  # a read-only disk is no reason to keep anybody out
            log.warning("the session %d is not prolonged: %s", session.id, error)

    # ---- signing in and out ----

    async def begin(self, session: Session, user: User, agent: str, replaced: str | None) -> str:
        """A new session of a user who has proven to be one; what the cookie shall hold.

        `replaced` is what the browser's cookie held before: that session ends. The session's identity is the user.
        """
        cookie, at = secrets.token_urlsafe(32), now()
        fields = {"user_id": user.id, "hash": _hash(cookie), "created_at": at, "seen_at": at}
        fields |= {"address": session.address or "", "agent": agent[:LONGEST_AGENT]}
        details: dict[str, Any] = {"subject": user.subject, "name": user.name}
        async with session.change(session.operation("session.create", details=details)) as change:
            await hold(session, change.tx, user)
            if replaced is not None:
                await change.tx.execute(sa.delete(sessions).where(sessions.c.hash == _hash(replaced)))
            await change.tx.execute(sa.delete(sessions).where(self._over(at)))
            row = await change.tx.row(change.tx.insert(sessions).values(**fields).returning(sessions.c.id))
            change.details["session"] = row[0] if row else None
        return cookie

    def _over(self, at: int) -> sa.ColumnElement[bool]:
        return sa.or_(
            sessions.c.seen_at <= at - self._timeout() * 60 * SECOND, sessions.c.created_at <= at - self._lifetime
        )

    async def current(self, request: Request) -> SignedIn | None:
        """The session that a request's cookie belongs to."""
        cookie = sid_of(request)
        found = None if cookie is None else await self._found(cookie)
        return None if found is None else found[1]

    async def end(self, session: Session, user: User, session_id: int) -> None:
        """Sign a user's browser out. Raises Missing, also for the session of another one."""
        details = {"subject": user.subject, "name": user.name, "session": session_id}
        own = sa.and_(sessions.c.id == session_id, sessions.c.user_id == user.id)
        async with session.change(session.operation("session.delete", details=details)) as change:
            if not await change.tx.execute(sa.delete(sessions).where(own)):
                message = f"you have no session with the id {session_id}"
                raise Missing(message)

    def living(self, user: User) -> sa.Select[Any]:
        """The sessions of a user that have not ended."""
        return sa.select(*FIELDS).where(sessions.c.user_id == user.id, ~self._over(now()))


def _check_csrf(request: Request, cookie: str) -> None:
    expected = csrf_token(cookie)
    given = request.header(CSRF.encode()) or ""
    if not hmac.compare_digest(given.encode(), expected.encode()):
        message = (
            "a change that a cookie authorises needs the header X-Harbor-CSRF-Token; "
            "its value stands in this answer's header of that name, so send the request again with it"
        )
        raise Forbidden(message, headers={CSRF: expected})


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("latin-1")).hexdigest()


def proven(identity: Identity) -> Unauthorized | None:
    """Why somebody who signed in cannot have a session; None when they can: it takes a password."""
    if identity.limits is not None or CREDENTIAL in identity.attributes:
        return Unauthorized("sign in with your password; tokens and CLI secrets are for programs")
    return None
