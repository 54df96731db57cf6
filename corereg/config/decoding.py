"""From raw values to a Settings Struct, with every problem found and placed, not only the first."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import msgspec

from corereg.config.hints import LISTS, TABLES, Hint, take_apart
from corereg.config.kinds import located
from corereg.config.problems import (
    ConfigError,
    KeyPath,
    Origins,
    Problem,
    SettingError,
    dotted,
    nearest,
    origin_of,
    place_of,
    problem,
    variable,
)

S = TypeVar("S", bound=msgspec.Struct)

_NOUNS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
    type(None): "nothing",
}
_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "array": "a list",
    "object": "a table",
}
_MISMATCH = re.compile(r"Expected `([^`]*)`, got `[^`]*`")


class Table(dict[str, Any]):
    """A plugin's own table as it was given, which remembers where. Its `repr` shows no values: some are secrets."""

    def __init__(self, raw: Mapping[str, Any], origins: Origins) -> None:
        super().__init__(raw)
        self.origins = origins

    def __repr__(self) -> str:
        return f"Table({', '.join(self)})"


def decode_table(name: str, raw: Mapping[str, Any], settings: type[S]) -> S:
    """The table of the plugin `name` as its `settings` Struct. Raises ConfigError with every problem.

    Hand over the table as it stands in `Config.tables`: it knows its lines and variables. A plain mapping does too,
    its problems then have no place.
    """
    decoder = Decoder(raw.origins if isinstance(raw, Table) else {})
    try:
        return decoder.table(settings, raw, (name,))
    except Wrong:
        raise ConfigError(in_order(decoder.problems)) from None


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """By line; what has no line comes last."""
    return sorted(problems, key=lambda found: (found.line is None, found.line or 0))


class Wrong(Exception):
    """The value cannot be used; the problem is written down already."""


class Decoder:
    """Decodes values and gathers their problems. Methods raise Wrong once a problem is written down."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.problems: list[Problem] = []

    # ---------------------------------------------------------------------------------------------------- tables

    def table(self, cls: type[S], raw: object, path: KeyPath) -> S:
        """A table as a Struct; goes on to the next key after a problem."""
        if isinstance(raw, cls):
            return raw
        if self.is_text(raw, path):
            raw = self.inline(raw, path)
        if not isinstance(raw, Mapping):
            raise self.refused(path, f"must be a table, got {_noun(raw)}")
        before = len(self.problems)
        fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
        values: dict[str, Any] = {}
        for key, value in raw.items():
            field = fields.get(self.spelled(key, fields, (*path, key)))
            if field is None:
                self.unknown((*path, key), fields)
                continue
            values[field.name] = None
            try:
                values[field.name] = self.value(take_apart(field.type), value, (*path, key))
            except Wrong:
                continue
        for field in fields.values():
            if field.required and field.name not in values:
                self.missing((*path, field.encode_name))
        if len(self.problems) > before:
            raise Wrong
        return self.built(cls, values, path)

    def built(self, cls: type[S], values: dict[str, Any], path: KeyPath) -> S:
        """The Struct; its `__post_init__` may still refuse."""
        try:
            return cls(**values)
        except SettingError as error:
            raise self.refused((*path, error.key), str(error)) from None
        except (ValueError, TypeError) as error:
            self.problems.append(problem(path, f"{dotted(path)}: {error}", self.origins))
            raise Wrong from None

    def mapping(self, hint: Hint, raw: Any, path: KeyPath) -> dict[Any, Any]:
        """A table whose keys are free."""
        if not isinstance(raw, Mapping):
            raise self.refused(path, f"must be a table, got {_noun(raw)}")
        keys = (
            raw
            if len(hint.arguments) < 2
            else [self.leaf(hint.arguments[0], key, (*path, key), loose=True) for key in raw]
        )
        values = self.each((hint.item, value, (*path, key)) for key, value in raw.items())
        return dict(zip(keys, values, strict=True))

    # ---------------------------------------------------------------------------------------------------- values

    def value(self, hint: Hint, raw: Any, path: KeyPath) -> Any:
        """One value as its hint says, within its bounds."""
        if raw is None and hint.optional:
            return None
        if hint.optional and self.is_text(raw, path) and not raw.strip():
            raise self.refused(path, "is empty: give it a value or leave it out")
        value = self.unbounded(hint, raw, path)
        if excess := _excess(hint, value):
            raise self.refused(path, excess)
        return value

    def unbounded(self, hint: Hint, raw: Any, path: KeyPath) -> Any:
        text = self.is_text(raw, path)
        if hint.union:
            value = self.first(hint, raw, path)
        elif hint.type is Path or (hint.kind and hint.kind.parse):
            value = self.parsed(hint, raw, path)
        elif hint.struct:
            value = self.table(hint.struct, raw, path)
        elif hint.shape in LISTS:
            value = self.items(hint, self.split(raw, path) if text else raw, path)
        elif hint.shape in TABLES:
            value = self.mapping(hint, self.inline(raw, path) if text else raw, path)
        elif hint.options:
            value = self.leaf(hint, self.option(hint, raw, path, loose=text), path, loose=text)
        else:
            value = self.leaf(hint, raw, path, loose=text)
        return value

    def first(self, hint: Hint, raw: Any, path: KeyPath) -> Any:
        """What the first fitting member of a union makes of it."""
        for member in hint.arguments:
            attempt = Decoder(self.origins)
            try:
                return attempt.value(member, raw, path)
            except Wrong:
                continue
        raise self.refused(path, f"must be {hint.name}, got {_noun(raw)}")

    def parsed(self, hint: Hint, raw: Any, path: KeyPath) -> Any:
        """A path, or what the kind makes of it."""
        folder = self.folder(path)
        try:
            if hint.kind and hint.kind.parse:
                return hint.kind.parse(raw, folder)
            return located(str(raw) if isinstance(raw, (str, Path)) else "", folder)
        except ValueError as error:
            raise self.refused(path, str(error)) from None

    def items(self, hint: Hint, raw: Any, path: KeyPath) -> Any:
        """A list, tuple or set, item by item."""
        if not isinstance(raw, (list, tuple, set, frozenset)):
            raise self.refused(path, f"must be a list, got {_noun(raw)}")
        kinds = hint.arguments if hint.fixed else (hint.item,) * len(raw)
        if len(raw) != len(kinds):
            raise self.refused(path, f"must have {len(kinds)} items, got {len(raw)}")
        return hint.shape(
            self.each((kind, item, (*path, at)) for at, (kind, item) in enumerate(zip(kinds, raw, strict=True)))
        )

    def each(self, values: Iterable[tuple[Hint, Any, KeyPath]]) -> list[Any]:
        """All of them, or Wrong after the last."""
        before = len(self.problems)
        done = []
        for hint, raw, path in values:
            try:
                done.append(self.value(hint, raw, path))
            except Wrong:
                continue
        if len(self.problems) > before:
            raise Wrong
        return done

    def option(self, hint: Hint, raw: Any, path: KeyPath, *, loose: bool) -> Any:
        """One of a few words, in any case."""
        if raw in hint.options:
            return raw
        words = {str(option).lower(): option for option in hint.options if loose or isinstance(option, str)}
        word = raw.strip().lower() if isinstance(raw, str) else ""
        if word in words:
            return words[word]
        message = f"must be one of {', '.join(map(str, hint.options))}"
        raise self.refused(path, message, str(words.get(nearest(word, words), "")))

    def leaf(self, hint: Hint, raw: Any, path: KeyPath, *, loose: bool) -> Any:
        """A value without inner keys; `loose` reads numbers and truth from text."""
        try:
            return msgspec.convert(raw, hint.type, strict=not loose)
        except msgspec.ValidationError as error:
            raise self.refused(path, _plain(str(error), _noun(raw))) from None
        except TypeError as error:  # a type msgspec cannot read: the plugin's mistake
            raise self.refused(path, f"cannot be decoded: {error}") from None

    # ------------------------------------------------------------------------------------------- where it came from

    def is_text(self, raw: Any, path: KeyPath) -> TypeGuard[str]:
        """Whether this came from the environment or the command line, where everything is text."""
        origin = origin_of(path, self.origins)
        return isinstance(raw, str) and origin is not None and origin.kind != "file"

    def spelled(self, key: str, names: Iterable[str], path: KeyPath) -> str:
        """The field a key means: variables know neither case nor hyphens."""
        origin = origin_of(path, self.origins)
        if key in names or origin is None or origin.kind != "environment":
            return key
        return next((name for name in names if name.lower().replace("-", "_") == key), key)

    def split(self, raw: str, path: KeyPath) -> Any:
        """``a, b`` or a TOML list."""
        if raw.lstrip().startswith("["):
            return self.inline(raw, path)
        return [part.strip() for part in raw.split(",") if part.strip()]

    def inline(self, raw: str, path: KeyPath) -> Any:
        """A list or table given as TOML in one text."""
        try:
            read = tomllib.loads(f"value = {raw.strip()}")
        except (ValueError, RecursionError):
            read = {}
        if read.keys() != {"value"}:
            raise self.refused(path, 'must be a list or table in TOML, such as ["a", "b"] or {key = "value"}')
        return read["value"]

    def folder(self, path: KeyPath) -> Path:
        """What relative paths count from: the file's folder, or the working directory."""
        origin = origin_of(path, self.origins)
        return Path(origin.name).parent if origin and origin.kind == "file" else Path()

    # -------------------------------------------------------------------------------------------------- problems

    def unknown(self, path: KeyPath, names: Iterable[str]) -> None:
        """Write down a key that nobody knows."""
        near = nearest(str(path[-1]), names)
        origin = place_of(path, self.origins)
        if near and origin and origin.kind == "environment":
            near = variable((*path[:-1], near))
        self.problems.append(problem(path, f"unknown key {dotted(path)}", self.origins, near))

    def missing(self, path: KeyPath) -> None:
        """Write down a key that must be given."""
        way = f" (or set {variable(path)})" if all(isinstance(part, str) for part in path) else ""
        self.problems.append(problem(path, f"{dotted(path)} is required{way}", self.origins))

    def refused(self, path: KeyPath, message: str, near: str = "") -> Wrong:
        """Write down a problem with the value at `path`; the error to raise."""
        self.problems.append(problem(path, f"{dotted(path)} {message}", self.origins, near))
        return Wrong()


def _excess(hint: Hint, value: Any) -> str:
    """Which bound of the Metas the value breaks, as a sentence without its subject; empty when none."""
    if not hint.metas or value is None or isinstance(value, bool):
        return ""
    if isinstance(value, (int, float)):
        return _out_of_range(hint, value)
    if isinstance(value, (str, list, tuple, set, frozenset, dict)):
        return _out_of_measure(hint, value)
    return ""


def _out_of_range(hint: Hint, value: float) -> str:
    low, above, high, below, step = (hint.bound(name) for name in ("ge", "gt", "le", "lt", "multiple_of"))
    show = hint.kind.show if hint.kind else str
    rules = [
        (low is not None and value < low, "at least", low),
        (above is not None and value <= above, "more than", above),
        (high is not None and value > high, "at most", high),
        (below is not None and value >= below, "less than", below),
        (step is not None and value % step, "a multiple of", step),
    ]
    for broken, words, limit in rules:
        if broken:
            wanted = f"from {show(low)} to {show(high)}" if limit in (low, high) and None not in (low, high) else ""
            got = "" if hint.secret else f", got {show(value)}"
            return f"must be {wanted or f'{words} {show(limit)}'}{got}"
    return ""


def _out_of_measure(hint: Hint, value: Any) -> str:
    unit = "characters" if isinstance(value, str) else "items"
    short, long, pattern = (hint.bound(name) for name in ("min_length", "max_length", "pattern"))
    if short is not None and len(value) < short:
        return f"must have at least {short} {unit}" if len(value) else "cannot be empty"
    if long is not None and len(value) > long:
        return f"must have at most {long} {unit}"
    if pattern is not None and isinstance(value, str) and not re.search(pattern, value):
        return f"must match {pattern}"
    return ""


def _noun(raw: object) -> str:
    """What a value is, in words a person who writes TOML knows; never the value: it may be a secret."""
    return _NOUNS.get(type(raw), type(raw).__name__)


def _plain(message: str, got: str) -> str:
    """msgspec's message without its type names."""
    found = _MISMATCH.search(message)
    if found is None:
        return f"cannot be used: {message[:1].lower()}{message[1:]}"
    kinds = [_WORDS.get(kind.strip(), kind.strip()) for kind in found[1].split("|")]
    return f"must be {' or '.join(kinds)}, got {got}"
