"""Users (swagger.yaml, tag ``user``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    Created,
    Fields,
    Forbidden,
    Listed,
    Listing,
    Registry,
    Request,
    Route,
    Session,
    Told,
    Unauthorized,
    page,
)
from corereg_accounts.names import check_profile
from corereg_accounts.origins import check_origin
from corereg_accounts.passwords import PasswordRefused, generate
from corereg_accounts.routes.callers import (
    WHOLE,
    require_all_rights,
    require_own_sign_in,
    require_peer,
    user_of_caller,
)
from corereg_accounts.routes.tables import table
from corereg_accounts.schema import users
from corereg_accounts.sessions import CSRF, csrf_token, sid_of
from corereg_accounts.stores import Stores
from corereg_accounts.users import (
    CREATE,
    CREDENTIAL,
    DELETE,
    FIELDS,
    UPDATE,
    User,
    Users,
    UserUnknown,
    rfc3339,
    user_of,
)

LIST, READ = Action("user", "list"), Action("user", "read")
FIRST = 1
"""The id of the administrator who is made at the first start."""
TAG = "user"

SORTED: Fields = {
    "user_id": users.c.id,
    "username": users.c.name,
    "email": users.c.email,
    "realname": users.c.realname,
    "comment": users.c.comment,
    "sysadmin_flag": users.c.administrator,
    "creation_time": users.c.created_at,
    "update_time": users.c.updated_at,
}
"""What ``q`` and ``sort`` may name."""


class PasswordWrong(Forbidden):
    """The current password is another one."""


class UserListing(Listing, frozen=True, kw_only=True):
    """`username` and `email` are what the older clients filter by: parts, in any case."""

    username: str = ""
    email: str = ""


class UserSearch(Listing, frozen=True, kw_only=True):
    """`username` is a part of the name, in any case."""

    username: str


class UserCreationReq(msgspec.Struct, frozen=True):
    """A new user."""

    username: str = ""
    password: str = ""
    email: str | None = ""
    realname: str | None = ""
    comment: str | None = ""


class UserProfile(msgspec.Struct, frozen=True):
    """What users say of themselves."""

    email: str | None = ""
    realname: str | None = ""
    comment: str | None = ""


class UserSysAdminFlag(msgspec.Struct, frozen=True):
    """Whether a user is an administrator."""

    sysadmin_flag: bool


class PasswordReq(msgspec.Struct, frozen=True):
    """The body of a change of password."""

    new_password: str
    old_password: str | None = ""


class CliSecretReq(msgspec.Struct, frozen=True):
    """A CLI secret; an empty one is made up and shown in the answer."""

    secret: str | None = ""


class CliSecretResp(msgspec.Struct, frozen=True, omit_defaults=True):
    """The CLI secret that was made up, shown this once."""

    secret: str = ""


class UserSearchRespItem(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a search finds."""

    user_id: int
    username: str


class UserResp(msgspec.Struct, frozen=True, kw_only=True):
    """A user as Harbor's clients know one."""

    user_id: int
    username: str
    email: str
    realname: str
    comment: str
    sysadmin_flag: bool
    admin_role_in_auth: bool
    creation_time: str
    update_time: str


class UserRoutes:
    """The routes of one registry. `stores` gives the stores, which are there once the registry is open."""

    def __init__(self, registry: Registry, stores: Callable[[], Stores]) -> None:
        self._registry = registry
        self._stores = stores

    @property
    def _users(self) -> Users:
        return self._stores().users

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/api/v2.0/users"
        one = f"{base}/{{user_id}}"
        say = table(TAG)
        return [
            say("GET", base, self.list_users, LIST, "List users."),
            say("POST", base, self.create_user, OPEN, "Make a user, or sign up.", 403, 409),
            say("GET", f"{base}/current", self.get_current_user_info, SIGNED_IN, "Who is asking.", 412),
            say("GET", f"{base}/search", self.search_users, SIGNED_IN, "Search users by name."),
            say("GET", one, self.get_user, SIGNED_IN, "A user.", 403),
            say("PUT", one, self.update_user_profile, SIGNED_IN, "Change a user's profile.", 403),
            say("DELETE", one, self.delete_user, DELETE, "Delete a user."),
            say("PUT", f"{one}/sysadmin", self.set_user_sys_admin, UPDATE, "Make or unmake an administrator."),
            say("PUT", f"{one}/password", self.update_user_password, SIGNED_IN, "Change a password.", 403),
            say("PUT", f"{one}/cli_secret", self.set_cli_secret, SIGNED_IN, "Set the CLI secret.", 403),
        ]

    # ---- many ----

    async def list_users(self, session: Session, query: UserListing) -> Listed[UserResp]:
        """For administrators: everybody, by name unless asked otherwise."""
        select = sa.select(*FIELDS)
        for column, text in ((users.c.name, query.username), (users.c.email, query.email)):
            if text:
                select = select.where(column.icontains(text, autoescape=True))
        rows, total = await page(self._registry.database, select, query, SORTED, users.c.name_key)
        return Listed([response(user_of(row)) for row in rows], total)

    async def search_users(self, session: Session, query: UserSearch) -> Listed[UserSearchRespItem]:
        """For everybody who has signed in: ids and names alone."""
        select = sa.select(users.c.id, users.c.name).where(users.c.name.icontains(query.username, autoescape=True))
        rows, total = await page(self._registry.database, select, query, {}, users.c.name_key)
        return Listed([UserSearchRespItem(user_id=row[0], username=row[1]) for row in rows], total)

    async def create_user(self, session: Session, body: UserCreationReq, request: Request) -> Created[None]:
        """Administrators make users. Everybody may make their own where `self_registration` is set."""
        registers = not session.may(CREATE)
        if registers:
            if not self._stores().registration():
                await session.require(CREATE)
            check_origin(request, self._registry.config.server.external_url)
        email, realname, comment = _said(body)
        check_profile(email, realname, comment)
        user = await self._users.create(
            session,
            body.username,
            body.password,
            email=email,
            realname=realname,
            comment=comment,
            registers=registers,
        )
        return Created(user.id)

    # ---- oneself ----

    async def get_current_user_info(self, session: Session, request: Request) -> Told[UserResp]:
        """The user who is asking. To a browser's session the header X-Harbor-CSRF-Token goes out, too."""
        user = await user_of_caller(self._users, session)
        elsewhere = session.identity.administrator and not user.administrator
        cookie = sid_of(request) if request.header(b"authorization") is None else None
        headers = [] if cookie is None else [(CSRF, csrf_token(cookie)), ("cache-control", "no-store")]
        return Told(response(user, by_other_means=elsewhere), headers)

    async def get_user(self, session: Session, user_id: int) -> UserResp:
        """Users see themselves, administrators everybody."""
        user, own = await self._one(session, user_id, READ)
        return response(user, by_other_means=own and session.identity.administrator and not user.administrator)

    async def update_user_profile(self, session: Session, user_id: int, body: UserProfile) -> None:
        """Users change their own profile, administrators everybody's. Nothing else is changed, whatever is sent."""
        user, own = await self._one(session, user_id, UPDATE)
        if own:
            require_all_rights(session)
        else:
            require_peer(session, user)
        email, realname, comment = _said(body)
        await self._users.set_profile(session, user, email=email, realname=realname, comment=comment, own=own)

    async def delete_user(self, session: Session, user_id: int) -> None:
        """Administrators delete users; never themselves, and never the first administrator."""
        user, own = await self._one(session, user_id, DELETE)
        if own or user.id == FIRST:
            message = f"{user.name} cannot be deleted: nobody deletes themselves, and nobody the first administrator"
            raise Forbidden(message)
        require_peer(session, user)
        await self._users.delete(session, user)

    async def set_user_sys_admin(self, session: Session, user_id: int, body: UserSysAdminFlag) -> None:
        """Administrators make others administrators, or ordinary users."""
        user, _ = await self._one(session, user_id, UPDATE)
        if not session.may(WHOLE):
            message = "only administrators make administrators"
            raise Forbidden(message)
        if user.administrator is not body.sysadmin_flag:
            await self._users.set_administrator(session, user, administrator=body.sysadmin_flag)

    async def update_user_password(self, session: Session, user_id: int, body: PasswordReq) -> None:
        """Users change their own password and prove that they know the old one; administrators change anybody's."""
        user, own = await self._one(session, user_id, UPDATE)
        if not user.local:
            message = f"{user.name} signs in with {user.source}; the password is changed there"
            raise Forbidden(message)
        if own:
            await self._prove(session, user, body)
        else:
            require_peer(session, user)
        await self._users.set_password(session, user, body.new_password, own=own)

    async def set_cli_secret(self, session: Session, user_id: int, body: CliSecretReq) -> CliSecretResp:
        """Set the second password that programs may use. An empty one is made up, and shown this once."""
        user, own = await self._one(session, user_id, UPDATE)
        if own:
            require_own_sign_in(session)
        else:
            require_peer(session, user)
        made = "" if body.secret else generate()
        await self._users.set_secret(session, user, body.secret or made, own=own)
        return CliSecretResp(made)

    async def _one(self, session: Session, user_id: int, needs: Action) -> tuple[User, bool]:
        """The user of that id, and whether that is who calls; others need the right before they hear who is there."""
        user = await self._users.with_id(user_id)
        own = user is not None and await self._users.of(session.identity) == user
        if not own:
            await session.require(needs)
        if user is None:
            message = f"there is no user with the id {user_id}"
            raise UserUnknown(message)
        return user, own

    async def _prove(self, session: Session, user: User, body: PasswordReq) -> None:
        """Check the old password as a sign-in does: counted, and slowed for whoever guesses."""
        try:
            proven = await self._registry.signin.password(user.name, body.old_password or "", session.address)
        except Unauthorized:
            proven = None
        if proven is None or proven.identity.subject != user.subject or CREDENTIAL in proven.identity.attributes:
            message = "Current password is incorrect; nothing was changed"
            raise PasswordWrong(message)
        if body.new_password == body.old_password:
            message = "the new password is the same as the old one; choose another one"
            raise PasswordRefused(message)


def _said(body: UserCreationReq | UserProfile) -> tuple[str, str, str]:
    """Address, name and comment; there are clients of Harbor's that write null where nothing is to be said."""
    return body.email or "", body.realname or "", body.comment or ""


def response(user: User, *, by_other_means: bool = False) -> UserResp:
    """A user as JSON; `by_other_means`: the caller's rights of an administrator come from another plugin."""
    return UserResp(
        user_id=user.id,
        username=user.name,
        email=user.email or "",
        realname=user.realname,
        comment=user.comment,
        sysadmin_flag=user.administrator,
        admin_role_in_auth=by_other_means,
        creation_time=rfc3339(user.created_at),
        update_time=rfc3339(user.updated_at),
    )
