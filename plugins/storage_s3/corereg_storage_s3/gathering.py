"""Bytes on their way to becoming a part: in memory while there is room for all uploads, else in a temporary file."""

from __future__ import annotations

import io
import tempfile
from typing import IO, Any

from corereg import Threads


class Room:
    """How many bytes all gathered parts of a process hold in memory."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, size: int) -> bool:
        """Whether there was room."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give(self, size: int) -> None:
        """The bytes are gone."""
        self._free += size


class Gathered:
    """The bytes of one part. One call at a time; `clear` gives back what it holds."""

    def __init__(self, room: Room, threads: Threads) -> None:
        self._room = room
        self._threads = threads
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    async def add(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; the buffer is the caller's again afterwards. OSError where the temporary folder is full."""
        if self._file is None and self._room.take(len(data)):
            self._memory += data
        else:
            await self._threads.run(self._spill, data)
        self.size += len(data)

    def _spill(self, data: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            file = tempfile.TemporaryFile(prefix="corereg-part-")  # noqa: SIM115 - closed by `clear`
            try:
                file.write(self._memory)
            except BaseException:
                file.close()
                raise
            self._file = file
            self._room.give(len(self._memory))
            self._memory = bytearray()
        self._file.seek(self.size)  # a failed write may have left some bytes
        self._file.write(data)
        self._file.flush()

    def body(self) -> Any:
        """All of it as a file to be read from the beginning."""
        if self._file is not None:
            self._file.truncate(self.size)
            self._file.seek(0)
            return self._file
        return Window(self._memory)

    def clear(self) -> None:
        """Forget the bytes."""
        self._room.give(len(self._memory))
        self._memory = bytearray()
        self.size = 0
        if self._file is not None:
            self._file.close()
            self._file = None


class Window(io.RawIOBase):
    """Bytes as a file, without a copy of the whole."""

    def __init__(self, data: bytes | bytearray) -> None:
        super().__init__()
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        with memoryview(self._data) as data:
            piece = data[self._position : self._position + len(buffer)]
            buffer[: len(piece)] = piece
            self._position += len(piece)
            return len(piece)
