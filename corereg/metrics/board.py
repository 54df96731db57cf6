"""The board: memory that the workers of one server share, where each writes what it has counted.

The parent makes it before it forks: anonymous memory, so there is no file to protect or to leave behind. Each worker
has a place of its own, writes there once a second and before it tells of all, and reads the others'. A place outlives
its worker: the successor counts on from what stands there, and a crash loses at most the last second of one worker.

A place holds two halves, written in turn: a reader never sees one that is being written, and a worker killed in the
middle of a write leaves the other half whole.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Sequence

import msgspec

from corereg.metrics.families import Labels, Numbers, Value, add

HALF = 512 * 1024
"""Bytes a worker may write. Memory that is never written is never taken."""
_HEAD = struct.Struct("<QII")
"""Before each half: its number in the order of writing, its length and its checksum."""
_PLACE = 2 * (HALF + _HEAD.size)


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    name: str
    kind: str
    help: str
    labels: Labels
    values: list[tuple[Labels, Value]]


class Board:
    """Places for `count` workers, numbered from 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(-1, count * _PLACE)

    def write(self, worker: int, families: Sequence[Numbers]) -> bool:
        """Put down what `worker` has counted; whether there was room for it."""
        data = msgspec.msgpack.encode([_entry(family) for family in families])
        if len(data) > HALF:
            return False
        number = max(self._head(worker, 0)[0], self._head(worker, 1)[0]) + 1
        start = self._start(worker, number % 2)
        self._memory[start + _HEAD.size : start + _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._memory, start, number, len(data), zlib.crc32(data))
        return True

    def read(self, worker: int) -> list[Numbers]:
        """What `worker`, or who was there before it, has put down."""
        halves = sorted((0, 1), key=lambda half: -self._head(worker, half)[0])
        for half in halves:
            number, length, checksum = self._head(worker, half)
            start = self._start(worker, half) + _HEAD.size
            data = self._memory[start : start + min(length, HALF)]
            if number and zlib.crc32(data) == checksum:
                return [_family(entry) for entry in msgspec.msgpack.decode(data, type=list[_Entry])]
        return []

    def _start(self, worker: int, half: int) -> int:
        if not 1 <= worker <= self.count:
            message = f"there is no place {worker} on this board"
            raise ValueError(message)
        return (worker - 1) * _PLACE + half * (HALF + _HEAD.size)

    def _head(self, worker: int, half: int) -> tuple[int, int, int]:
        return _HEAD.unpack_from(self._memory, self._start(worker, half))


def _entry(family: Numbers) -> _Entry:
    return _Entry(family.name, family.kind, family.help, family.labels, list(family.values.items()))


def _family(entry: _Entry) -> Numbers:
    values: dict[Labels, Value] = {}
    add(values, dict(entry.values))
    return Numbers(entry.name, entry.kind, entry.help, entry.labels, values)
