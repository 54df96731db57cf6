"""Who calls, as far as the credentials that prove it matter."""

from __future__ import annotations

from corereg import Action, Forbidden, Precondition, Session
from corereg_accounts.users import CREDENTIAL, SECRET, TOKEN, User, Users

WHOLE = Action("*", "*", "*")
"""What only somebody who may do everything may do."""


async def user_of_caller(users: Users, session: Session) -> User:
    """The user who calls. Raises Precondition for robots, and people that are no users here."""
    user = await users.of(session.identity)
    if user is None:
        message = f"{session.identity.name} is no user of this registry"
        raise Precondition(message)
    return user


def require_all_rights(session: Session) -> None:
    """Raise Forbidden for credentials that stand for less than their owner: scoped tokens, bearer tokens."""
    if session.narrow or session.identity.limits is not None:
        message = "these credentials are for less than that; sign in with your password"
        raise Forbidden(message)


def require_own_sign_in(session: Session) -> None:
    """Raise Forbidden unless a password or a browser's session proves who calls: credentials do not breed others."""
    require_all_rights(session)
    if session.identity.attributes.get(CREDENTIAL) in {TOKEN, SECRET}:
        message = "tokens and CLI secrets cannot make or change credentials; sign in with your password"
        raise Forbidden(message)


def require_peer(session: Session, user: User) -> None:
    """Raise Forbidden where somebody who may change users, but not do everything, would change an administrator."""
    if (user.administrator or user.vouched_administrator) and not session.may(WHOLE):
        message = f"{user.name} is an administrator; only administrators may do this to another one"
        raise Forbidden(message)
