"""What is wrong with a configuration, and where: Origin, Problem, ConfigError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

KeyPath = tuple[str | int, ...]
"""A key from the root: ``("server", "tls", "cert")``; a number counts in a list."""

PREFIX = "COREREG__"
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Origin(msgspec.Struct, frozen=True):
    """Where a value was given: a file and line, an environment variable's name, or the command line."""

    kind: Literal["file", "environment", "command line"]
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if self.kind == "file":
            return self.name if self.line is None else f"{self.name}:{self.line}"
        return f"env {self.name}" if self.kind == "environment" else self.kind

    @property
    def source(self) -> str:
        """What a problem names: the file, the variable, or ``command line``."""
        return self.name or self.kind


Origins = Mapping[KeyPath, Origin]


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong.

    `file` is the file as the user named it, or the variable's name, or ``command line``, or empty for values made
    in Python. `line` counts from 1. `key` is dotted. `near` is a name the user may have meant.
    """

    file: str
    line: int | None
    key: str
    message: str
    near: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        hint = f" - did you mean {self.near}?" if self.near else ""
        return f"{place}  {self.message}{hint}" if place else f"{self.message}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` holds every problem found; `str()` gives one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingError(ValueError):
    """Raised in a Settings' `__post_init__` to blame one of its keys: ``SettingError("cert", "needs tls.key too")``.

    A plain ValueError there blames the whole table.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def dotted(path: KeyPath) -> str:
    """A path as people write it: ``("a", 0, "b c")`` -> ``a[0]."b c"``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + quoted(part)
    return text


def quoted(key: str) -> str:
    """A key as TOML writes it, bare where it can be."""
    return key if _BARE.fullmatch(key) else quote(key)


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def quote(text: str) -> str:
    """A TOML basic string on one line."""
    return '"' + "".join(_ESCAPES.get(sign) or _printable(sign) for sign in text) + '"'


def _printable(sign: str) -> str:
    return sign if sign.isprintable() else (f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}")


def variable(path: KeyPath) -> str:
    """The environment variable of a key: ``("server", "port")`` -> ``COREREG__SERVER__PORT``."""
    return PREFIX + "__".join(str(part).upper().replace("-", "_") for part in path)


def origin_of(path: KeyPath, origins: Origins) -> Origin | None:
    """Where the value at `path`, or the nearest thing around it, was given; None for a default."""
    for length in range(len(path), 0, -1):
        if (found := origins.get(path[:length])) is not None:
            return found
    return None


def place_of(path: KeyPath, origins: Origins) -> Origin | None:
    """Where to look for the value at `path`: a table made of variables has no place but theirs."""
    inside = (origin for known, origin in origins.items() if known[: len(path)] == path)
    return origin_of(path, origins) or next(inside, None)


def problem(path: KeyPath, message: str, origins: Origins, near: str = "") -> Problem:
    """A problem with the value at `path`, placed where that value was given."""
    origin = place_of(path, origins)
    if origin is None:
        return Problem("", None, dotted(path), message, near)
    return Problem(origin.source, origin.line, dotted(path), message, near)


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` looks like, or an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415 - 9 ms, and only a mistake needs it

    close = get_close_matches(name.lower(), list(names), n=1, cutoff=0.7)
    return close[0] if close else ""
