"""What the plugin works with while its registry is open."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from corereg import Registry
from corereg_accounts.groups import Groups
from corereg_accounts.onboarding import Onboarding
from corereg_accounts.passwords import Passwords
from corereg_accounts.sessions import Sessions
from corereg_accounts.settings import REGISTRATION, TIMEOUT
from corereg_accounts.tokens import Tokens
from corereg_accounts.users import Users


class Stores(msgspec.Struct, frozen=True):
    """One store for each noun. `registration` says whether anybody may sign up."""

    users: Users
    groups: Groups
    sessions: Sessions
    tokens: Tokens
    onboarding: Onboarding
    registration: Callable[[], bool]


def stores_of(registry: Registry, passwords: Passwords, session_lifetime: float) -> Stores:
    """The stores of an open registry; `session_lifetime` is in seconds."""
    database, settings = registry.database, registry.settings
    users, groups = Users(database, passwords), Groups(database)
    return Stores(
        users=users,
        groups=groups,
        sessions=Sessions(database, lambda: settings.get(TIMEOUT), session_lifetime),
        tokens=Tokens(database),
        onboarding=Onboarding(registry, users, groups),
        registration=lambda: settings.get(REGISTRATION),
    )
