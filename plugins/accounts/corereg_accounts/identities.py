"""What is added to an identity: its user's name, groups and rights, as they are now."""

from __future__ import annotations

import re

import msgspec

from corereg import Identity, Unauthorized
from corereg_accounts.onboarding import GROUP_TYPE, GROUPS
from corereg_accounts.stores import Stores
from corereg_accounts.tokens import SUBJECT as TOKEN
from corereg_accounts.users import PROGRAM, SOURCE, User, disabled

_own = re.compile(r"group:[0-9]+\Z")  # read anew each time; what other plugins call groups stays


async def completed(stores: Stores, identity: Identity) -> Identity | None:
    """The identity of a user; None for somebody that is none. Raises Unauthorized for whoever may not sign in."""
    if stores.onboarding.concerns(identity):
        user = await stores.onboarding.user(identity)
        rest = {name: value for name, value in identity.attributes.items() if name not in {GROUPS, GROUP_TYPE}}
        identity = msgspec.structs.replace(identity, subject=user.subject, groups=(), attributes=rest)
    else:
        found = await stores.users.of(identity)
        if found is None:
            if identity.source == SOURCE:
                message = f"{identity.name} was deleted; ask an administrator for a new account"
                raise Unauthorized(message)
            return None
        user = found
    if user.disabled:
        raise disabled(user)
    identity = await stores.tokens.still(identity, user)
    return msgspec.structs.replace(
        identity,
        name=user.name,
        administrator=_administrator(identity, user),
        groups=(*(each for each in identity.groups if not _own.match(each)), *await stores.groups.subjects_of(user)),
    )


def _administrator(identity: Identity, user: User) -> bool:
    """What another plugin once vouched for is not handed on to tokens: they are here longer than its word holds."""
    by_program = any(each.startswith((TOKEN, PROGRAM)) for each in identity.groups)
    return user.administrator or (user.vouched_administrator and not by_program)
