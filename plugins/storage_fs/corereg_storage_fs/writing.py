"""How bytes get to the disk: in writes of a size that the kernel keeps cheaply, and early enough."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence

KiB = 1024
MOST_PIECES = 512
"""Pieces gathered or written at once, at most: a system takes 1024."""
WRITTEN_AT_ONCE = 256 * KiB
"""Bytes of one write. Linux keeps a larger one in a larger run of pages that lie together, and takes such a run from
memory that was never used before it takes the smaller ones that were: on a virtual machine that is memory its host has
to find first, and a write of a mebibyte then costs three to five times as much.
"""
WRITEBACK = 4 * 1024 * KiB
"""Bytes of an upload after which the disk is asked to begin."""


def write_all(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
    """Write the pieces at `offset`; where they end."""
    waiting = [memoryview(piece) for piece in pieces if piece]
    while waiting:
        written = os.pwritev(descriptor, _some(waiting), offset)
        offset += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.pop(0))
        if written:
            waiting[0] = waiting[0][written:]
    return offset


def _some(waiting: Sequence[memoryview]) -> list[memoryview]:
    """The first of the pieces, as many as are written at once."""
    found: list[memoryview] = []
    room = WRITTEN_AT_ONCE
    for piece in waiting[:MOST_PIECES]:
        found.append(piece[:room])
        room -= len(found[-1])
        if not room:
            break
    return found


def _sync_file_range() -> Callable[[int, int, int], None] | None:
    """Linux's ``sync_file_range(2)``, which Python does not offer; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    write = 2  # SYNC_FILE_RANGE_WRITE: begin, and do not wait

    def begin(descriptor: int, start: int, size: int) -> None:
        call(descriptor, start, size, write)

    return begin


_begin_writeback = _sync_file_range()


def start_writeback(descriptor: int, start: int, size: int) -> None:
    """Let the disk begin with what was written: the fsync at the end of a long upload then has little left to wait for.

    It promises nothing: what counts is the fsync.
    """
    if _begin_writeback is not None:
        _begin_writeback(descriptor, start, size)
