"""YAML (and JSON, which is YAML, too) with the line of every key and item, so that mistakes can say where they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from corereg.client.errors import Misuse

if TYPE_CHECKING:  # for the types alone: `corereg --help` must not wait for a YAML parser
    import yaml

Place = tuple[str | int, ...]
MOST_PLACES = 1_000_000
DEEPEST = 50
"""Levels of lists and mappings that are looked at; deeper, or in a circle, is refused."""


class Located(msgspec.Struct, frozen=True):
    """What a file says, and the line (from 1) of each place in it."""

    path: Path
    data: Any
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of what it stands in."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def told(self, place: Place, sentence: str) -> str:
        """``file:line  sentence``."""
        return f"{self.path}:{self.line(place)}  {sentence}"


def located(path: Path) -> Located:
    """Read a file. Raises Misuse for what is no YAML, keys that are given twice, and values that JSON does not know."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise Misuse(message) from error
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8"
        raise Misuse(message, code="DOCUMENT") from None
    lines: dict[Place, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _walk(path, node, (), lines)
        data = None if node is None else loader.construct_document(node)
        msgspec.json.encode(data)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        message = f"{where}  this is not YAML: {getattr(error, 'problem', None) or error}"
        raise Misuse(message, code="DOCUMENT") from error
    except (RecursionError, TypeError, ValueError) as error:
        message = f"{path}: {error}"
        raise Misuse(message, code="DOCUMENT") from error
    return Located(path, data, lines)


def _walk(path: Path, node: yaml.Node, place: Place, lines: dict[Place, int]) -> None:
    import yaml

    if len(place) > DEEPEST or len(lines) > MOST_PLACES:
        message = f"{path}:{node.start_mark.line + 1}  this is nested too deeply, or repeats itself too often"
        raise Misuse(message, code="DOCUMENT")
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:
                message = f"{path}:{key.start_mark.line + 1}  {key.value} is given twice; see line {lines[inner]}"
                raise Misuse(message, code="DOCUMENT")
            lines[inner] = key.start_mark.line + 1
            _walk(path, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            _walk(path, value, (*place, at), lines)
