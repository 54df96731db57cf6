"""Signing in and out with a browser (``/c/...``), and one's own sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    Fields,
    Listed,
    Listing,
    Precondition,
    Registry,
    Request,
    Response,
    Route,
    Session,
    Unauthorized,
    page,
)
from corereg_accounts.origins import check_origin, is_https
from corereg_accounts.routes.callers import require_all_rights, require_own_sign_in, user_of_caller
from corereg_accounts.routes.tables import table
from corereg_accounts.schema import sessions
from corereg_accounts.sessions import COOKIE, CSRF, LOGIN, csrf_token, proven, session_of, sid_of
from corereg_accounts.stores import Stores
from corereg_accounts.users import UserUnknown, rfc3339

TAG = "session"
SEE_USERS = Action("user", "list")
SORTED: Fields = {"id": sessions.c.id, "creation_time": sessions.c.created_at, "last_seen_time": sessions.c.seen_at}


class LoginForm(msgspec.Struct, frozen=True):
    """Name and password."""

    principal: str
    password: str


class ExistsForm(msgspec.Struct, frozen=True):
    """What is looked for, and among what."""

    target: Literal["username", "email"]
    value: str


class SessionResp(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that is signed in. `current`: the one that asks."""

    id: int
    creation_time: str
    last_seen_time: str
    expiration_time: str
    address: str
    user_agent: str
    current: bool


class SessionRoutes:
    """The routes of one registry. `stores` gives the stores, which are there once the registry is open."""

    def __init__(self, registry: Registry, stores: Callable[[], Stores]) -> None:
        self._registry = registry
        self._stores = stores
        self._external_url = registry.config.server.external_url

    def routes(self) -> Sequence[Route]:
        """The table."""
        own = "/api/v2.0/users/current/sessions"
        say, more = table(TAG), table(TAG, extension=True)
        return [
            say("POST", LOGIN, self.login, OPEN, "Sign in with a browser."),
            say("GET", "/c/log_out", self.log_out, OPEN, "Sign out.", 403),
            say("POST", "/c/userExists", self.user_exists, OPEN, "Whether a name or an address is taken.", 412),
            more("GET", own, self.list_own_sessions, SIGNED_IN, "My browsers that are signed in.", 403, 412),
            more("DELETE", f"{own}/{{session_id}}", self.end_own_session, SIGNED_IN, "Sign a browser out.", 412),
        ]

    # ---- in and out ----

    async def login(self, session: Session, form: LoginForm, request: Request) -> Response:
        """A new session, whatever the browser had before: nobody can fix it in advance."""
        check_origin(request, self._external_url)
        await self._registry.rights.refresh(now=True)  # a password that was changed a moment ago starts no session
        signed_in = await self._registry.signin.password(form.principal, form.password, session.address)
        identity, stores = signed_in.identity, self._stores()
        refusal = proven(identity)
        if refusal is not None:
            raise refusal
        user = await stores.users.of(identity)
        if user is None:
            message = f"{identity.name} is no user of this registry and can sign in with programs only"
            raise Unauthorized(message)
        acting = self._registry.session(identity, address=session.address, serial=signed_in.serial)
        agent = request.headers.get("user-agent", "")
        cookie = await stores.sessions.begin(acting, user, agent, sid_of(request))
        return self._answer(request, cookie)

    async def log_out(self, session: Session, request: Request) -> Response:
        """The cookie is worth nothing from now on, on every node."""
        check_origin(request, self._external_url)
        stores = self._stores()
        current = await stores.sessions.current(request)
        user = None if current is None else await stores.users.with_id(current.user_id)
        if current is not None and user is not None:
            acting = self._registry.session(user.identity(), address=session.address)
            await stores.sessions.end(acting, user, current.id)
        return self._answer(request, None)

    def _answer(self, request: Request, cookie: str | None) -> Response:
        parts = [f"{COOKIE}={cookie or ''}", f"Path={request.prefix or '/'}", "HttpOnly", "SameSite=Lax"]
        if cookie is None:
            parts.append("Max-Age=0")
        if is_https(request, self._external_url):
            parts.append("Secure")
        headers = [("content-length", "0"), ("cache-control", "no-store"), ("set-cookie", "; ".join(parts))]
        return Response(200, headers if cookie is None else [*headers, (CSRF, csrf_token(cookie))])

    async def user_exists(self, session: Session, form: ExistsForm) -> bool:
        """For whoever signs up, and for administrators."""
        if not session.may(SEE_USERS) and not self._stores().registration():
            message = "only administrators may ask who is there; nobody can sign up here (self_registration)"
            raise Precondition(message)
        users = self._stores().users
        if form.target == "email":
            return await users.with_email(form.value)
        try:
            await users.named(form.value)
        except UserUnknown:
            return False
        return True

    # ---- one's own ----

    async def list_own_sessions(self, session: Session, request: Request, query: Listing) -> Listed[SessionResp]:
        """The newest first."""
        require_all_rights(session)
        stores = self._stores()
        user = await user_of_caller(stores.users, session)
        current = await stores.sessions.current(request)
        living = stores.sessions.living(user)
        rows, total = await page(self._registry.database, living, query, SORTED, sessions.c.id.desc())
        found = [session_of(row) for row in rows]
        return Listed(
            [
                SessionResp(
                    id=each.id,
                    creation_time=rfc3339(each.created_at),
                    last_seen_time=rfc3339(each.seen_at),
                    expiration_time=rfc3339(stores.sessions.ends_at(each)),
                    address=each.address,
                    user_agent=each.agent,
                    current=current is not None and each.id == current.id,
                )
                for each in found
            ],
            total,
        )

    async def end_own_session(self, session: Session, session_id: int) -> None:
        """Sign one of one's own browsers out, at once and everywhere."""
        require_own_sign_in(session)
        stores = self._stores()
        await stores.sessions.end(session, await user_of_caller(stores.users, session), session_id)
