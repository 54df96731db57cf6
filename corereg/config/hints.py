"""Annotations taken apart: what a Settings' field says about its key."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import msgspec

from corereg.config.kinds import Kind

LISTS = {list: "list", tuple: "list", set: "list without repeats", frozenset: "list without repeats"}
TABLES = (dict, Mapping)
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "any value"}


class Hint(msgspec.Struct, frozen=True):
    """An annotation taken apart: the bare `type`, whether None may stand for it, and what its Metas say."""

    type: Any
    optional: bool
    metas: tuple[msgspec.Meta, ...]

    @property
    def kind(self) -> Kind | None:
        found = self.told("kind")
        return found if isinstance(found, Kind) else None

    @property
    def secret(self) -> bool:
        return (self.kind is not None and self.kind.secret) or self.told("secret") is True

    @property
    def description(self) -> str:
        return next((meta.description for meta in reversed(self.metas) if meta.description), "")

    def told(self, name: str) -> Any:
        """What the Metas' `extra` tells under `name`, the outermost first; None when it tells nothing."""
        return next((meta.extra[name] for meta in reversed(self.metas) if meta.extra and name in meta.extra), None)

    def bound(self, name: str) -> Any:
        """A bound (``ge``, ``min_length`` ...), the outermost first; None when there is none."""
        return next((found for meta in reversed(self.metas) if (found := getattr(meta, name)) is not None), None)

    @property
    def shape(self) -> Any:
        """``tuple`` of ``tuple[str, ...]``; the type itself where nothing stands in brackets."""
        return get_origin(self.type) or self.type

    @property
    def union(self) -> bool:
        return self.shape in (Union, types.UnionType)

    @property
    def arguments(self) -> tuple[Hint, ...]:
        """What stands in brackets, taken apart too; a closing ``...`` is left out."""
        return tuple(take_apart(argument) for argument in get_args(self.type) if argument is not ...)

    @property
    def fixed(self) -> bool:
        """A tuple of so and so many items: ``tuple[str, int]``."""
        return self.shape is tuple and bool(get_args(self.type)) and ... not in get_args(self.type)

    @property
    def item(self) -> Hint:
        """What each item of a list, or each value of a table, is."""
        arguments = self.arguments
        return arguments[-1] if arguments else ANYTHING

    @property
    def options(self) -> tuple[Any, ...]:
        """The few values a Literal or an Enum allows; empty for other types."""
        if self.shape is Literal:
            return get_args(self.type)
        if isinstance(self.type, type) and issubclass(self.type, enum.Enum):
            return tuple(member.value for member in self.type)
        return ()

    @property
    def struct(self) -> type[msgspec.Struct] | None:
        """The Struct that describes a table below this key."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, msgspec.Struct) else None

    @property
    def name(self) -> str:
        """The type in words a person who writes TOML knows."""
        if self.kind:
            return self.kind.name
        if self.options:
            return ", ".join(f"`{option}`" for option in self.options)
        if self.union:
            return " or ".join(member.name for member in self.arguments)
        if self.shape in LISTS or self.shape in TABLES:
            return f"{LISTS.get(self.shape, 'table')} of {self.item.name}"
        if self.struct:
            return "table"
        return _PLAIN.get(self.type, getattr(self.type, "__name__", str(self.type)))


def take_apart(annotation: Any) -> Hint:
    """``Annotated[Duration | None, Meta(...)]`` -> Hint(int, optional, both Metas), the innermost Meta first."""
    metas: tuple[msgspec.Meta, ...] = ()
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *found = get_args(annotation)
            metas = (*(meta for meta in found if isinstance(meta, msgspec.Meta)), *metas)
        elif origin in (Union, types.UnionType) and type(None) in get_args(annotation):
            optional = True
            rest = tuple(part for part in get_args(annotation) if part is not type(None))
            annotation = rest[0] if len(rest) == 1 else cast("Any", Union)[rest]
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__  # type X = ... of Python 3.12
        else:
            return Hint(annotation, optional, metas)


ANYTHING = take_apart(Any)
