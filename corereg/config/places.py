"""On which line each key of a TOML text stands.

`tomllib` forgets lines. This reads the text a second time, after `tomllib` has found it sound, and only looks for
keys: strings, comments and scalars are stepped over, so nothing inside them can look like a key.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from contextlib import suppress

from corereg.config.problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)


def locate(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table, key and list item of a sound TOML text.

    A table made of several headers or dotted keys stands where it is first mentioned. Should the text not be
    sound after all, what was found so far is the answer: a problem without a line is still a problem told.
    """
    scanner = _Scanner(text)
    with suppress(_Lost, RecursionError):
        scanner.document()
    return scanner.lines


class _Lost(Exception):
    """This is not TOML as the scanner knows it."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._last: dict[KeyPath, int] = {}  # arrays of tables -> the index of their last table

    def document(self) -> None:
        table: KeyPath = ()
        self.blank()
        while self.at < len(self.text):
            table = self.header() if self.peek("[") else self.pair(table)
            self.blank()

    def header(self) -> KeyPath:
        line = self.line()
        many = self.peek("[[")
        self.at += 2 if many else 1
        path = self.resolve(self.key())
        self.expect("]]" if many else "]")
        self.mention(path, line)
        if many:
            index = self._last[path] = self._last.get(path, -1) + 1
            path = (*path, index)
            self.mention(path, line)
        return path

    def resolve(self, names: list[str]) -> KeyPath:
        """The path a header means: below an array of tables it means the array's last table."""
        path: KeyPath = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self._last:
                path = (*path, self._last[path])
        return (*path, names[-1])

    def pair(self, table: KeyPath) -> KeyPath:
        line = self.line()
        path = (*table, *self.key())
        self.expect("=")
        self.mention(path, line)
        self.blank()
        self.value(path)
        return table

    def value(self, path: KeyPath) -> None:
        if self.peek("["):
            self.array(path)
        elif self.peek("{"):
            self.table(path)
        elif self.peek('"') or self.peek("'"):
            self.string()
        else:
            self.step(_SCALAR)

    def array(self, path: KeyPath) -> None:
        self.expect("[")
        index = 0
        while not self.ends("]"):
            self.mention((*path, index), self.line())
            self.value((*path, index))
            index += 1

    def table(self, path: KeyPath) -> None:
        self.expect("{")
        while not self.ends("}"):
            self.pair(path)

    def ends(self, bracket: str) -> bool:
        """Step over blanks and one comma; whether the bracket closes here."""
        self.blank()
        if self.peek(","):
            self.at += 1
            self.blank()
        if not self.peek(bracket):
            return False
        self.at += 1
        return True

    def key(self) -> list[str]:
        names = [self.name()]
        self.blank()
        while self.peek("."):
            self.at += 1
            names.append(self.name())
            self.blank()
        return names

    def name(self) -> str:
        self.blank()
        if self.peek('"') or self.peek("'"):
            start = self.at
            self.string()
            try:
                return str(tomllib.loads(f"key = {self.text[start : self.at]}")["key"])
            except tomllib.TOMLDecodeError:
                raise _Lost from None
        return self.step(_BARE_KEY)

    def string(self) -> None:
        for pattern in _STRINGS:
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                return
        raise _Lost

    def mention(self, path: KeyPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def line(self) -> int:
        return bisect_left(self._ends, self.at) + 1

    def blank(self) -> None:
        self.step(_BLANK)

    def peek(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def expect(self, sign: str) -> None:
        self.blank()
        if not self.peek(sign):
            raise _Lost
        self.at += len(sign)

    def step(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _Lost
        self.at = found.end()
        return found.group()
