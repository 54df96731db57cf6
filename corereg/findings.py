"""Finding and Check: what `corereg doctor` looks at, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One line: how it is, what was found, and, where it is not ``ok``, what to do."""

    status: Status
    found: str
    do: str = ""


class Check(msgspec.Struct, frozen=True):
    """One thing to look at. `look` changes nothing; it may raise, and that is told as a failure.

    With `tables` it reads the database, and is left out while the tables are missing or not up to date.
    """

    name: str
    look: Callable[[], Awaitable[Iterable[Finding]]]
    tables: bool = False


def ok(found: str) -> Finding:
    """All is well."""
    return Finding("ok", found)


def warn(found: str, do: str) -> Finding:
    """It works, but somebody should do something."""
    return Finding("warn", found, do)


def fail(found: str, do: str) -> Finding:
    """It does not work."""
    return Finding("fail", found, do)
