"""The C library's allocator, told what a worker does all day."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD`` of mallopt(3)."""
KEPT = 16 * 1024 * 1024
"""Bytes that may stay free at the end of an arena."""
MAPPED = 4 * 1024 * 1024
"""Bytes from which a block gets pages of its own: more than the largest piece of a blob."""


def keep_freed_pages() -> bool:
    """Let glibc keep the pages of a piece for the next one; whether it does.

    By itself it gives them back after each piece and asks for them again, a page fault for every 4 KiB, or it does
    not, by the luck of what else lies in the arena: a download took either 45 or 100 ms of processor time for 100 MiB,
    the same as long as the process lived.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, MAPPED))
