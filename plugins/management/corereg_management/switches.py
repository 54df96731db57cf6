"""The settings of the whole registry that this plugin declares, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from corereg import SYSTEM, Operation, Refusal, Registry, Setting

READ_ONLY = "read_only"
BANNER = "banner_message"
TOKENS = "token_expiration"
NO_PULL_COUNT = "pull_count_update_disable"
NO_PULL_TIME = "pull_time_update_disable"

LONGEST = 30 * 24 * 60
"""Minutes a token may live: it cannot be called back while nothing about its owner changes."""
LONGEST_BANNER = 8192

ALLOWED = frozenset({"configuration.update", "keys.rotate", "collection.hold", "collection.release", "quota.reconcile"})
"""Changes that a read-only registry makes: the switch back, keys that would otherwise grow too old, the collector kept
away for a backup, and counters that follow what is there.
"""
BY_ITSELF = frozenset({"user.create", "project.create", "member.rename", "member.delete"})
"""Changes that the registry makes by itself: at its first start, and after users were renamed or deleted."""
SIGNING_IN = "signing_in"
"""The detail by which `accounts` says that a change is part of a sign-in."""

SENTENCE = "The system is in read only mode. Any modification is prohibited."


def declared() -> Sequence[Setting[Any]]:
    """The settings."""
    return [
        Setting(
            name=READ_ONLY,
            type=bool,
            default=False,
            description="Refuse every change: pushes, deletes, and changes of users, projects and everything else.",
        ),
        Setting(
            name=BANNER,
            type=str,
            default="",
            description="What every page shows to everybody: Harbor's JSON text with message, closable and type.",
            check=_check_banner,
        ),
        Setting(
            name=TOKENS,
            type=int,
            default=30,
            description="Minutes that a bearer token is good for.",
            check=_check_minutes,
        ),
        Setting(
            name=NO_PULL_COUNT,
            type=bool,
            default=False,
            description="Do not count the pulls of repositories.",
        ),
        Setting(
            name=NO_PULL_TIME,
            type=bool,
            default=False,
            description="Do not keep when artifacts and tags were pulled last.",
        ),
    ]


def _check_banner(text: str) -> None:
    if len(text) > LONGEST_BANNER or "\0" in text:
        message = f"write at most {LONGEST_BANNER} characters, and no NUL"
        raise ValueError(message)


def _check_minutes(minutes: int) -> None:
    if not 1 <= minutes <= LONGEST:
        message = f"give minutes from 1 to {LONGEST}"
        raise ValueError(message)


def refusal_of(operation: Operation) -> Refusal | None:
    """Whether a registry that is read-only refuses the operation.

    Pulls go on, and so do sessions: whoever may switch it back has to sign in. So does what signing in makes: a user
    who was seen for the first time, and the groups that another plugin vouches for.
    """
    kind = operation.kind
    if kind.endswith(".pull") or kind.startswith("session.") or kind in ALLOWED:
        return None
    if operation.details.get(SIGNING_IN) is True or (kind in BY_ITSELF and operation.identity == SYSTEM):
        return None
    return Refusal(SENTENCE)


class TokenLifetime:
    """Keeps the lifetime of tokens what the setting says, from its first change on; before, the configuration's."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        configured = registry.config.tokens.lifetime
        self._configured = configured
        self._minutes = max(1, configured // 60)
        setting = registry.settings.declared[TOKENS]
        registry.settings.declared[TOKENS] = msgspec.structs.replace(setting, default=self._minutes)

    async def apply(self) -> None:
        """Take the setting's value over."""
        minutes = self._registry.settings.get(TOKENS)
        tokens = self._registry.tokens
        tokens.lifetime = self._configured if minutes == self._minutes else minutes * 60
        # Tokens from before live as long as they were told: their keys are believed until the last has ended.
        tokens.believed_for = max(tokens.believed_for, tokens.lifetime + 2 * tokens.leeway)
