"""A configuration as TOML again, without its secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec

from corereg.config.hints import ANYTHING, Hint, take_apart
from corereg.config.problems import KeyPath, Origins, dotted, origin_of, quote, quoted

STARS = "***"

_HIDDEN = r"(?:pass(?:word|wd|phrase)?|secret|token|credential|(?:api|access|private|secret|account)_?key)s?"
_HIDDEN_KEY = re.compile(rf"(?:^|[_.-]){_HIDDEN}$", re.IGNORECASE)
_IN_URL = re.compile(r"(://[^:@\s]*):.*@", re.DOTALL)
_IN_PAIRS = re.compile(rf"(?i)({_HIDDEN}\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^&;\s]+)")


def redact(text: str) -> str:
    """Text without the passwords in it: ``postgresql://u:pw@h/db`` -> ``postgresql://u:***@h/db``, ``?token=``.

    Everything up to the last ``@`` counts as the password, since some drivers take one with ``/`` or ``@`` in it:
    rather too much is hidden than too little.
    """
    return _IN_PAIRS.sub(rf"\1{STARS}", _IN_URL.sub(rf"\1:{STARS}@", text))


def names_secret(key: str) -> bool:
    """Whether a key whose type nobody declared sounds like a secret (``password``, ``bind_password``, ``token``)."""
    return _HIDDEN_KEY.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)) is not None


class Printer:
    """Writes tables line by line. `hide` replaces secrets by ``***``; `tell` adds each value's origin."""

    def __init__(self, origins: Origins, *, hide: bool, tell: bool) -> None:
        self.origins = origins
        self.hide = hide
        self.tell = tell

    def struct(self, table: msgspec.Struct, path: KeyPath, skip: Iterable[str] = ()) -> Iterator[str]:
        """A Settings Struct: its values, then its tables."""
        tables = []
        for field in msgspec.structs.fields(table):
            value = getattr(table, field.name)
            inner = (*path, field.encode_name)
            if field.name in skip:
                continue
            if isinstance(value, msgspec.Struct):
                tables.append((inner, value))
            else:
                yield self.line(inner, take_apart(field.type), value)
        for inner, value in tables:
            yield from ("", f"[{dotted(inner)}]")
            yield from self.struct(value, inner)

    def mapping(self, table: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
        """A table nobody has declared, as it was given."""
        tables = {}
        for key, value in table.items():
            if isinstance(value, Mapping) and not names_secret(key):
                tables[key] = value
            else:
                yield self.line((*path, key), ANYTHING, value)
        for key, value in tables.items():
            inner = (*path, key)
            yield from ("", f"[{dotted(inner)}]")
            yield from self.mapping(value, inner)

    def line(self, path: KeyPath, hint: Hint, value: Any) -> str:
        """One key and its value."""
        key = str(path[-1])
        if value is None:
            unset = hint.told("default")
            return f"# {quoted(key)} is not set" + (f": {unset}" if unset else "")
        text = f"{quoted(key)} = {self.text(hint, value, key)}"
        return f"{text}  # {self.origin(path)}" if self.tell else text

    def origin(self, path: KeyPath) -> str:
        """Where the value was given. The file knows the line of each key, other sources may give a whole table."""
        found = self.origins.get(path) or origin_of(path, self.origins)
        if found is None or (found.kind == "file" and path not in self.origins):
            return "default"
        return str(found)

    def text(self, hint: Hint, value: Any, key: str) -> str:
        """A value as TOML, on one line."""
        if self.hide and _is_secret(hint, value, key):
            return quote(STARS)
        if isinstance(value, msgspec.Struct):
            fields = msgspec.structs.fields(value)
            return self.inline(
                (field.encode_name, take_apart(field.type), getattr(value, field.name)) for field in fields
            )
        if isinstance(value, Mapping):
            return self.inline((str(name), hint.item, item) for name, item in value.items())
        if isinstance(value, (list, tuple, set, frozenset)):
            return "[" + ", ".join(self.text(item, inner, key) for item, inner in _items(hint, value)) + "]"
        return self.scalar(hint.kind.show(value) if hint.kind else value)

    def inline(self, items: Iterable[tuple[str, Hint, Any]]) -> str:
        """A table on one line."""
        pairs = [f"{quoted(name)} = {self.text(hint, value, name)}" for name, hint, value in items if value is not None]
        return "{" + ", ".join(pairs) + "}"

    def scalar(self, value: Any) -> str:
        """A value that holds no others."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else str(value)
        if isinstance(value, int):
            return str(int(value))
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        text = value if isinstance(value, str) else str(msgspec.to_builtins(value, enc_hook=str))
        return quote(redact(text) if self.hide and not isinstance(value, Path) else text)


def _is_secret(hint: Hint, value: Any, key: str) -> bool:
    """Marked; or text whose key sounds like it; or anything below such a key where nobody declared a type."""
    if hint.secret:
        return True
    sounds = not isinstance(value, (bool, Path)) and names_secret(key)
    return sounds and hint.kind is None and (isinstance(value, str) or hint.type is Any)


def _items(hint: Hint, value: Any) -> Iterator[tuple[Hint, Any]]:
    inside = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
    kinds = hint.arguments if hint.fixed else (hint.item,) * len(inside)
    return zip(kinds, inside, strict=False)
