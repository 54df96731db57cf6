"""People whom another plugin vouches for: they get a user of their own, so that members, tokens and sessions can name
them by a number.

A sign-in plugin asks for it by the attribute ``groups`` of the identity it gives: names or DNs of the groups its
directory knows (none is fine). ``group_type`` says which of Harbor's kinds they are; ``email`` and ``realname`` are
taken over the first time. Identities without that attribute are somebody else's business and left as they are.
"""

from __future__ import annotations

import msgspec

from corereg import Identity, OCIError, Registry, Unauthorized
from corereg_accounts.groups import Groups, names_in
from corereg_accounts.names import LONGEST, check_email, problem_of
from corereg_accounts.users import SOURCE, NameTaken, User, Users

GROUPS, GROUP_TYPE = "groups", "group_type"


class Onboarding:
    """Finds, or makes, the users of people from elsewhere."""

    def __init__(self, registry: Registry, users: Users, groups: Groups) -> None:
        self._registry = registry
        self._users = users
        self._groups = groups

    def concerns(self, identity: Identity) -> bool:
        """Whether a sign-in plugin asks for a user."""
        return identity.kind == "user" and identity.source not in {"", SOURCE} and GROUPS in identity.attributes

    async def user(self, identity: Identity) -> User:
        """The user of somebody who signs in, with the groups and rights that their plugin says. Raises Unauthorized."""
        user = await self._users.known_as(identity.source, identity.subject) or await self._made(identity)
        session = self._registry.session(identity)
        if user.vouched_administrator is not identity.administrator:
            await self._users.set_vouched(session, user, administrator=identity.administrator)
            user = msgspec.structs.replace(user, vouched_administrator=identity.administrator)
        kind = identity.attributes.get(GROUP_TYPE)
        wanted = await self._groups.among_names(names_in(identity.attributes[GROUPS]), kind)
        await self._groups.fill(session, user, wanted)
        return user

    async def _made(self, identity: Identity) -> User:
        problem = problem_of(identity.name)
        if problem is not None:
            message = f"you cannot sign in here under your name: the name of a user {problem}"
            raise Unauthorized(message)
        email, realname = identity.attributes.get("email"), identity.attributes.get("realname")
        try:
            return await self._users.onboard(
                self._registry.session(identity),
                identity.name,
                external=identity.subject,
                email=email if isinstance(email, str) and _is_email(email) else None,
                realname=realname[:LONGEST] if isinstance(realname, str) and realname.isprintable() else "",
            )
        except NameTaken:
            user = await self._users.known_as(identity.source, identity.subject)
            if user is None:
                message = (
                    f"the name {identity.name} belongs to another user of this registry; "
                    "ask an administrator to rename or delete that one"
                )
                raise Unauthorized(message) from None
            return user


def _is_email(text: str) -> bool:
    try:
        check_email(text)
    except OCIError:
        return False
    return True
