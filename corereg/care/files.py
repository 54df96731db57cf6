"""Files on this machine that hold what others must not read: whole or not there, 0600 in folders of 0700."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from io import FileIO
from pathlib import Path

from anyio.to_thread import run_sync

PART = ".part"
"""How the name of a file ends that is not whole yet."""


class WholeFile:
    """Writes `path` under another name until `finish` has put it in its place, durably. Every method blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}{PART}")
        make_folder(path.parent)
        self._file = FileIO(os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "r+")

    def write(self, data: bytes) -> None:
        """Append."""
        with memoryview(data) as left:
            at = 0
            while at < len(left):
                at += self._file.write(left[at:])

    def finish(self) -> None:
        """Make it durable, then visible."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """It was not meant to be."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._part.unlink()


def make_folder(folder: Path) -> None:
    """Make it and what is missing above it, for nobody else."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Its entries survive a power failure from here on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """A small file."""
    file = WholeFile(path)
    try:
        file.write(data)
        file.finish()
    except BaseException:
        file.discard()
        raise


async def save(path: Path, pieces: AsyncGenerator[bytes]) -> None:
    """Stream `pieces` into a file. What the generator raises leaves as it is, and nothing is left behind."""
    file = await run_sync(WholeFile, path)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await run_sync(file.write, piece)
        await run_sync(file.finish)
    except BaseException:
        file.discard()
        raise
