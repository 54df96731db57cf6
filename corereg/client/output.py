"""What a command prints: a table for a person; JSON, JSON lines, YAML or names for programs.

Answers go to standard output, notes and errors to standard error. Nothing is cut, and nothing coloured in a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import IO, Any

import click
import msgspec

from corereg.client.errors import ClientError, Misuse
from corereg.client.table import printable, sentences, table

FORMATS = ("table", "json", "jsonl", "yaml", "name")
"""What ``-o`` takes."""

Item = Mapping[str, Any]


class Column(msgspec.Struct, frozen=True):
    """A column of a table, or a line about one thing: its name, and where its value stands in a document.

    `at` is a key, keys with dots between them, or a function of the whole document.
    """

    name: str
    at: str | Callable[[Item], Any]
    show: Callable[[Any], str] | None = None

    def value(self, item: Item) -> Any:
        """The value, None where there is none."""
        if not isinstance(self.at, str):
            return self.at(item)
        found: Any = item
        for key in self.at.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def cell(self, item: Item) -> str:
        """The value for a person."""
        value = self.value(item)
        return "-" if value is None or value in ("", []) else printable((self.show or plain)(value))


def plain(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value)
    return msgspec.json.encode(value).decode() if isinstance(value, Mapping) else str(value)


def size(value: Any) -> str:
    """Bytes for a person: ``9.8 GiB``; -1 is ``unlimited``."""
    number = float(value)
    if number < 0:
        return "unlimited"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def moment(value: Any) -> str:
    """RFC 3339, or seconds since 1970, as ``2026-11-25 07:32`` in UTC; Harbor's times that never were are ``-``."""
    from datetime import UTC, datetime

    try:
        at = datetime.fromtimestamp(value, UTC) if isinstance(value, int) else datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return str(value)
    return "-" if at.year <= 1970 else at.strftime("%Y-%m-%d %H:%M")


class Printer:
    """Prints in one format. `columns` are the names that ``--columns`` picks, None for all."""

    def __init__(
        self, form: str = "table", columns: Sequence[str] | None = None, *, colour: bool | None = None
    ) -> None:
        self.form = form
        self.columns = columns
        self._colour = colour

    def items(self, items: Iterable[Item], columns: Sequence[Column], name: str) -> None:
        """A list; `name` is the key whose value ``-o name`` prints."""
        chosen = self._chosen(columns)
        if self.form == "name":
            for item in items:
                click.echo(plain(Column(name, name).value(item)))
        elif self.form == "jsonl":
            for item in items:
                click.echo(_json(self._cut(item, chosen)))
        elif self.form in {"json", "yaml"}:
            self._whole({"items": [self._cut(item, chosen) for item in items], "next": None})
        else:
            head, *lines = table(
                [column.name.replace("-", " ").upper() for column in chosen],
                [[column.cell(item) for column in chosen] for item in items],
            )
            click.echo(self.paint(head, bold=True))
            for line in lines:
                click.echo(line)

    def one(self, item: Item, columns: Sequence[Column], name: str) -> None:
        """One document."""
        chosen = self._chosen(columns)
        if self.form == "name":
            click.echo(plain(Column(name, name).value(item)))
        elif self.form == "jsonl":
            click.echo(_json(self._cut(item, chosen)))
        elif self.form in {"json", "yaml"}:
            self._whole(self._cut(item, chosen))
        else:
            rows = [(column.name.replace("-", " "), column.cell(item)) for column in chosen]
            for line in list(table(("", ""), rows))[1:]:
                click.echo(line)

    def done(self, sentence: str, item: Item, name: str) -> None:
        """What a change has done: the sentence for a person, `item` for a program."""
        if self.form == "table":
            click.echo(sentences(sentence))
        else:
            self.one(item, (), name)

    def error(self, error: ClientError) -> None:
        """On standard error; as JSON where the answer would have been JSON."""
        if self.form in {"json", "jsonl"}:
            click.echo(_json(error.document()), err=True)
            return
        first = f"{self.paint('Error:', sys.stderr, fg='red', bold=True)} {sentences(error.message)}"
        number = f"request {error.request_id}" if error.request_id and (error.status or 500) >= 500 else None
        for line in filter(None, (first, sentences(error.hint or ""), number)):
            click.echo(line, err=True)

    def paint(self, text: str, stream: IO[str] | None = None, **style: Any) -> str:
        """`text` in colour, where `stream` (standard output) shows any."""
        stream = stream or sys.stdout
        if self._colour if self._colour is not None else coloured(stream, os.environ):
            return click.style(text, **style)
        return text

    def _whole(self, document: Any) -> None:
        if self.form == "yaml":
            click.echo(yaml_text(document), nl=False)
        else:
            click.echo(_json(document))

    def _chosen(self, columns: Sequence[Column]) -> Sequence[Column]:
        if self.columns is None:
            return columns
        known = {column.name: column for column in columns}
        for name in self.columns:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f" - did you mean {near[0]}?" if near else ""
                message = f"there is no column {name!r}{hint}"
                raise Misuse(message, hint=f"Columns: {', '.join(known)}.")
        return [known[name] for name in self.columns]

    def _cut(self, item: Item, chosen: Sequence[Column]) -> Item:
        return item if self.columns is None else {column.name: column.value(item) for column in chosen}


def coloured(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Colour only on a terminal; NO_COLOR says never, CLICOLOR_FORCE always."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def yaml_text(document: Any) -> str:
    """YAML, keys in their order."""
    import yaml

    return str(yaml.safe_dump(msgspec.to_builtins(document), allow_unicode=True, sort_keys=False, width=120))


def _json(document: Any) -> str:
    return msgspec.json.encode(document).decode()
