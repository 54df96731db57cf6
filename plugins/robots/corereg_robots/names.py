"""What robots are called: ``robot$ci`` in the system, ``robot$library+ci`` in the project library.

Stored are the bare name and the project's. Prefix and separator are settings, so what people see can change; names that
were shown before go on signing in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product

import msgspec

from corereg import BadRequest

SOURCE = "robots"
"""The `Identity.source` of robots."""
LONGEST = 255
"""Characters of a name that can sign in."""
LONGEST_PREFIX = 64
LONGEST_SEPARATOR = 8

_name = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_printable = re.compile(r"[!-9;-~]+")
"""ASCII without spaces and without the colon, which ends the name in Basic credentials."""


class Naming(msgspec.Struct, frozen=True):
    """One way to write names."""

    prefix: str
    separator: str

    def shown(self, namespace: str, name: str) -> str:
        """The whole name; `namespace` is empty for a robot of the system."""
        return f"{self.head(namespace)}{name}"

    def head(self, namespace: str) -> str:
        """What stands before the bare name."""
        return f"{self.prefix}{namespace}{self.separator}" if namespace else self.prefix

    def parse(self, text: str) -> tuple[str, str] | None:
        """Namespace and bare name, or None: no name holds a separator, so there is one way to read a text."""
        if not text.startswith(self.prefix):
            return None
        namespace, separator, name = text[len(self.prefix) :].rpartition(self.separator)
        if not _name.fullmatch(name) or bool(namespace) != bool(separator):
            return None
        return namespace, name


HARBOR = Naming("robot$", "+")
SHELL_SAFE = Naming("robot-", "--")
"""Without a character that a shell, a URL or a Kubernetes name takes for something else."""


class Names:
    """The names of one registry: how they are shown now, and all the ways they may be written.

    `current` is asked each time, because the settings change while the registry runs.
    """

    def __init__(self, current: Callable[[], Naming], former_prefixes: Iterable[str] = ()) -> None:
        self._current = current
        self._former = tuple(former_prefixes)

    @property
    def current(self) -> Naming:
        """How names are shown now."""
        return self._current()

    def shown(self, namespace: str, name: str) -> str:
        """The whole name."""
        return self.current.shown(namespace, name)

    def _ways(self) -> Iterator[Naming]:
        current = self.current
        prefixes = (current.prefix, HARBOR.prefix, SHELL_SAFE.prefix, *self._former)
        separators = (current.separator, HARBOR.separator, SHELL_SAFE.separator)
        yield from (Naming(*each) for each in product(dict.fromkeys(prefixes), dict.fromkeys(separators)))

    def parse(self, text: str) -> list[tuple[str, str]]:
        """Every (namespace, bare name) that somebody who signs in as `text` may mean; most often one or none."""
        if len(text) > LONGEST:
            return []
        return list(dict.fromkeys(found for way in self._ways() if (found := way.parse(text)) is not None))


def check_name(name: str, shown: str) -> None:
    """Raise BadRequest for a bare name that no robot can have, or that makes too long a whole one."""
    if not _name.fullmatch(name):
        message = (
            f"robot name is not in lower case or contains illegal characters: {name[:60]!r}; "
            f"use a-z and 0-9, with one . _ or - between them"
        )
        raise BadRequest(message)
    if len(shown) > LONGEST:
        message = f"the robot would be called {shown[:40]}..., {len(shown)} characters; at most {LONGEST} can sign in"
        raise BadRequest(message)


def check_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix that would not tell robots from people, or could not be typed."""
    if not _printable.fullmatch(prefix) or len(prefix) > LONGEST_PREFIX or "/" in prefix:
        message = f"use 1 to {LONGEST_PREFIX} characters of ASCII, without space, colon and slash"
        raise ValueError(message)


def check_separator(separator: str) -> None:
    """Raise ValueError for a separator that a name could hold: then one text could mean two robots."""
    if not _printable.fullmatch(separator) or len(separator) > LONGEST_SEPARATOR or set(separator) & set("/$`"):
        message = f"use 1 to {LONGEST_SEPARATOR} characters of ASCII, without space, colon, slash, $ and `"
        raise ValueError(message)
    if separator in {".", "_", "-"} or any(sign.isalnum() for sign in separator):
        message = "names of projects and robots can hold it; use + or, for shells, --"
        raise ValueError(message)
