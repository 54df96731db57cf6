"""What Harbor's API says about users (swagger.yaml, tag ``user``); so far the caller and passwords."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from corereg import SIGNED_IN, OCIError, Registry, Route, Session, Unauthorized
from corereg_accounts.passwords import PasswordRefused
from corereg_accounts.users import UPDATE, User, Users, UserUnknown, rfc3339


class NoLocalUser(OCIError, code="PRECONDITION", status=412):
    """The caller is no local user: a robot, or somebody another plugin vouches for."""


class PasswordWrong(OCIError, code="FORBIDDEN", status=403):
    """The current password is another one."""


class PasswordReq(msgspec.Struct, frozen=True):
    """The body of a change of password."""

    new_password: str
    old_password: str = ""


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
    """The routes of one registry. `users` gives the store, which is there once the registry is open."""

    def __init__(self, registry: Registry, users: Callable[[], Users]) -> None:
        self._registry = registry
        self._users = users

    def routes(self) -> Sequence[Route]:
        """The table."""
        users = "/api/v2.0/users"
        return [
            Route("GET", f"{users}/current", self.current, SIGNED_IN, "Get current user info."),
            Route(
                "PUT",
                f"{users}/{{user_id}}/password",
                self.change_password,
                SIGNED_IN,
                "Change the password on a user that already exists.",
            ),
        ]

    async def current(self, session: Session) -> UserResp:
        """Who is asking."""
        user = await self._users().of(session.identity)
        if user is None:
            message = f"{session.identity.name} is not a local user of this registry"
            raise NoLocalUser(message)
        return _response(user, by_other_means=session.identity.administrator and not user.administrator)

    async def change_password(self, session: Session, user_id: int, body: PasswordReq) -> None:
        """Users change their own password and prove that they know the old one; administrators change anybody's."""
        users = self._users()
        user = await users.with_id(user_id)
        own = user is not None and await users.of(session.identity) == user
        if not own:
            await session.require(UPDATE)
        if user is None:
            message = f"there is no user with the id {user_id}"
            raise UserUnknown(message)
        if own:
            await self._prove(session, user, body)
        await users.set_password(session, user, body.new_password, own=own)

    async def _prove(self, session: Session, user: User, body: PasswordReq) -> None:
        """Check the old password as a sign-in does: counted, and slowed for whoever guesses."""
        try:
            proven = await self._registry.signin.password(user.name, body.old_password, session.address)
        except Unauthorized:
            proven = None
        if proven is None or proven.identity.subject != user.subject:
            message = "the current password is incorrect; nothing was changed"
            raise PasswordWrong(message)
        if body.new_password == body.old_password:
            message = "the new password is the same as the old one; choose another one"
            raise PasswordRefused(message)


def _response(user: User, *, by_other_means: bool) -> UserResp:
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
