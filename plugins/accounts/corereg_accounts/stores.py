"""What the plugin works with while its registry is open."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from corereg_accounts.groups import Groups
from corereg_accounts.onboarding import Onboarding
from corereg_accounts.sessions import Sessions
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
