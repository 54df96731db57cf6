"""Name and password, in the order of what they cost: a personal access token, the password, the CLI secret."""

from __future__ import annotations

import msgspec

from corereg import Identity
from corereg_accounts.names import problem_of
from corereg_accounts.stores import Stores
from corereg_accounts.tokens import presented
from corereg_accounts.users import CREDENTIAL, SECRET


async def check(stores: Stores, name: str, password: str, address: str | None) -> Identity | None:
    """Who this is; None when it is nobody here. Raises Unauthorized.

    A wrong password costs two checks whether or not there is such a user, and such a secret.
    """
    if problem_of(name) is not None:
        return None  # everybody can see that nobody has this name: it may be a robot's
    given = presented(password)
    if given is not None:
        return await stores.tokens.check(name, given, address)
    user = await stores.users.check(name, password)
    if user is not None:
        return user.identity()
    user = await stores.users.check_secret(name, password)
    if user is None:
        return None
    return msgspec.structs.replace(user.identity(**{CREDENTIAL: SECRET}), groups=(user.program,))
