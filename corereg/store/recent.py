"""What SQLite has just answered, kept for as long as nothing is committed.

The first 48 bytes of the wal-index, a file that all processes share in memory, tell what is committed: a counter, where
the log ends, its salts and its checksum (https://sqlite.org/walformat.html, 2.1). SQLite itself compares just these
bytes to know whether the pages that it holds are still true. Where they are what they were when a row was read, the
same question has the same answer; to compare them takes a fraction of a microsecond, to ask takes a sixth of a small
pull.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
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

PROT_READ, MAP_SHARED = 1, 1
Key = tuple[Any, ...]


class Header:
    """The first bytes of an index, as they are now. Raises OSError where they cannot be had.

    The file is never opened here, nor any descriptor of it closed, as Python's own mmap would do: by POSIX that takes
    away every lock that this process has on it, SQLite's as well. It is mapped by a descriptor of SQLite's.
    """

    def __init__(self, index: Path) -> None:
        if sys.platform != "linux":
            raise OSError("descriptors are found in /proc")
        libc = ctypes.CDLL(None, use_errno=True)
        map_, self._unmap = libc.mmap, libc.munmap
        map_.restype, self._unmap.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
        map_.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
        if index.stat().st_size < HEADER:
            raise OSError("no index is so short")  # and to read beyond a file's end would end the process
        address = map_(None, HEADER, PROT_READ, MAP_SHARED, _descriptor_of(index), 0)
        if address in {None, ctypes.c_void_p(-1).value}:
            raise OSError(ctypes.get_errno(), "the index cannot be mapped")
        self._address: int | None = address
        self._bytes = (ctypes.c_char * HEADER).from_address(address)

    def read(self) -> bytes:
        return self._bytes.raw

    def close(self) -> None:
        """They cannot be read any more."""
        if self._address is not None:
            self._unmap(self._address, HEADER)
            self._address, self._bytes = None, (ctypes.c_char * HEADER)()


def _descriptor_of(index: Path) -> int:
    """One by which this process has the file open already."""
    wanted = index.stat()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of the list itself
            found = os.fstat(int(each.name))
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return int(each.name)
    raise FileNotFoundError("SQLite has not opened it")


class Recent:
    """Rows of one database, as one event loop has read them. Close it before the connections it stands beside."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._committed = b""
        self._rows: dict[Key, Row] = {}

    @classmethod
    def beside(cls, database: Path) -> Recent | None:
        """Beside a connection of this process that has read something. None where the index cannot be read, or is of a
        format that is not known here.
        """
        try:
            header = Header(Path(f"{database}-shm"))
        except OSError:
            return None
        if struct.unpack_from("=I", header.read()) != (VERSION,):
            header.close()
            return None
        return cls(header)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, query: Query, parameters: Mapping[str, Any]) -> Row | None:
        """The row, if it was read since the last commit of anybody. What is read next belongs to what is seen here."""
        committed = self._header.read()
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
        """Let go of the index."""
        self._rows.clear()
        self._header.close()
