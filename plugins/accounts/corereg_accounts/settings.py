"""What may be changed while the registry runs (Harbor's names where Harbor has them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from corereg import Setting

REGISTRATION, TIMEOUT, MOST_DAYS = "self_registration", "session_timeout", "personal_token_max_days"


def _between(least: int, most: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not least <= value <= most:
            message = f"it is a whole number from {least} to {most}"
            raise ValueError(message)

    return check


SETTINGS: Sequence[Setting[Any]] = (
    Setting(name=REGISTRATION, type=bool, default=False, description="Whether anybody may sign up."),
    Setting(
        name=TIMEOUT,
        type=int,
        default=60,
        description="Minutes without a request after which a browser is signed out.",
        check=_between(1, 60 * 24 * 365),
    ),
    Setting(
        name=MOST_DAYS,
        type=int,
        default=365,
        description="The most days a new personal access token may live.",
        check=_between(1, 3650),
    ),
)
