"""File, environment and command line laid over one another: one tree of raw values, and where each came from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corereg.config.places import locate
from corereg.config.problems import PREFIX, KeyPath, Origin, Problem, dotted

_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Sources:
    """`tree` holds what was given, `origins` where, `problems` what could not even be read.

    Later layers win: file, then environment, then command line.
    """

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[KeyPath, Origin] = {}
        self.problems: list[Problem] = []

    def add_file(self, file: Path) -> None:
        """Read a TOML file. What keeps it from being read is a problem, with its line where there is one."""
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except OSError as error:
            self._refuse(file, f"cannot be read: {error.strerror or error}")
        except UnicodeDecodeError as error:
            self._refuse(file, "is not UTF-8 text", error.object.count(b"\n", 0, error.start) + 1)
        except ValueError as error:  # a NUL in the name
            self._refuse(file, f"cannot be read: {error}")
        else:
            self._read(file, text)

    def _read(self, file: Path, text: str) -> None:
        try:
            self.tree = tomllib.loads(text)
        except RecursionError:
            self._refuse(file, "is nested too deeply")
        except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
            message, line = _sentence(str(error), text)
            self._refuse(file, message, line)
        else:
            for path, line in locate(text).items():
                self.origins[path] = Origin("file", str(file), line)

    def _refuse(self, file: Path, message: str, line: int | None = None) -> None:
        self.problems.append(Problem(str(file), line, "", message))

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Take every ``COREREG__SECTION__KEY``; the fewest parts first, so that an order of names does not matter."""
        names = [name for name in environment if name.startswith(PREFIX)]
        for name in sorted(names, key=lambda name: (name.count("__"), name)):
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            if all(path):
                self._put(path, environment[name], Origin("environment", name))
            else:
                self.problems.append(Problem(name, None, "", f"is no setting: the form is {PREFIX}SECTION__KEY"))

    def add_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Take dotted keys from the command line. None means that the option was not given."""
        for key, value in overrides.items():
            if value is not None:
                self._put(tuple(key.split(".")), value, Origin("command line"))

    def _put(self, path: tuple[str, ...], value: Any, origin: Origin) -> None:
        table = self.tree
        real: KeyPath = ()
        for part in path[:-1]:
            name = _spelled(part, table)
            real = (*real, name)
            inner = table.setdefault(name, {})
            if not isinstance(inner, dict):
                message = f"{dotted(path)} cannot be set: {dotted(real)} is no table"
                if (other := self.origins.get(real)) is not None:
                    message += f" ({other})"
                self.problems.append(Problem(origin.source, None, dotted(path), message))
                return
            table = inner
        name = _spelled(path[-1], table)
        real = (*real, name)
        for below in [known for known in self.origins if known[: len(real)] == real]:
            del self.origins[below]
        table[name] = value
        self.origins[real] = origin


def _spelled(name: str, table: Mapping[str, Any]) -> str:
    """The key as the file spells it: variables know neither case nor hyphens."""
    if name in table:
        return name
    return next((key for key in table if key.lower().replace("-", "_") == name), name)


def _sentence(message: str, text: str) -> tuple[str, int | None]:
    """tomllib's message without its place, and the line."""
    place = _POSITION.search(message)
    if place is None:
        return message, None
    line = int(place[1]) if place[1] else text.rstrip("\n").count("\n") + 1
    said = message[: place.start()]
    return f"{said[:1].lower()}{said[1:]}", line
