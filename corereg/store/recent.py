"""What SQLite has just answered, kept for as long as nothing is committed.

The first 48 bytes of the wal-index, a file that all processes share in memory, tell what is committed: a counter, where
the log ends, its salts and its checksum (https://sqlite.org/walformat.html, 2.1). SQLite itself compares just these
bytes to know whether the pages that it holds are still true. Where they are what they were when a row was read, the
same question has the same answer; to compare them takes a fraction of a microsecond, to ask takes a sixth of a small
pull.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corereg.store.database import Query, Row

HEADER = 48
VERSION = 3007000
"""The format of the wal-index, which it begins with; the same in every release of SQLite since 2010."""
MOST = 1024
"""Rows that are kept."""
LARGEST = 16 * 1024
"""Bytes and characters of a row that is kept."""

Key = tuple[Any, ...]


class Recent:
    """Rows of one database, as one event loop has read them. Open it beside a connection that has read something."""

    def __init__(self, index: mmap.mmap) -> None:
        self._index = index
        self._committed = b""
        self._rows: dict[Key, Row] = {}

    @classmethod
    def beside(cls, database: Path) -> Recent | None:
        """None where the index cannot be read, or is of a format that is not known here."""
        try:
            descriptor = os.open(f"{database}-shm", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError:
            return None
        try:
            index = mmap.mmap(descriptor, HEADER, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # ValueError: it is shorter than that
            return None
        finally:
            os.close(descriptor)
        if struct.unpack_from("=I", index) != (VERSION,):
            index.close()
            return None
        return cls(index)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, query: Query, parameters: Mapping[str, Any]) -> Row | None:
        """The row, if it was read since the last commit of anybody. What is read next belongs to what is seen here."""
        committed = self._index[:HEADER]
        if committed != self._committed:
            self._committed = committed
            self._rows.clear()
        return self._rows.get((query, *parameters.items()))

    def keep(self, query: Query, parameters: Mapping[str, Any], row: Row) -> None:
        """Keep what was read right after `find`: it is as new as that, or newer, and then soon forgotten."""
        if sum(len(value) for value in row if isinstance(value, bytes | str)) > LARGEST:
            return
        if len(self._rows) >= MOST:
            self._rows.clear()
        self._rows[query, *parameters.items()] = row

    def close(self) -> None:
        """Let go of the file."""
        self._rows.clear()
        self._index.close()
