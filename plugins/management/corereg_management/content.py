"""Reading what people pushed: never more of it than was asked for, never onto a disk.

Configs, charts and model files come from anybody who may push. Every reader here has an end: in bytes read, in bytes
unpacked, in members looked at, and in how many work at once.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Self

import msgspec

from corereg import Digest, Registry, Threads

LARGEST_CONFIG = 4 * 1024 * 1024
LARGEST_LAYER = 20 * 1024 * 1024
"""Bytes of a packed chart or model document that are read."""
LARGEST_UNPACKED = 64 * 1024 * 1024
LARGEST_FILE = 4 * 1024 * 1024
MOST_MEMBERS = 10_000
UNPACKERS = 2
"""Archives unpacked at once in this process."""


class Unreadable(Exception):
    """The content is too large, is not what its media type says, or is not there; `str()` is a sentence."""


class Content:
    """Blobs of one registry, in whole and small."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._threads: Threads | None = None

    def __enter__(self) -> Self:
        self._threads = Threads(UNPACKERS, "management-unpack")
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.close()
            self._threads = None

    async def blob(self, repository: str, digest: str, limit: int) -> bytes:
        """All bytes of a blob of the repository. Raises Unreadable above `limit`; OCIError, StorageError."""
        session = self._registry.session()
        found = await session.blob(repository, Digest.parse(digest))
        if found.size > limit:
            message = f"it has {found.size} bytes; {limit} are read at most"
            raise Unreadable(message)
        pieces: Any = session.read(found)
        async with aclosing(pieces):
            return b"".join([piece async for piece in pieces])

    async def document(self, repository: str, digest: str) -> dict[str, Any]:
        """A config: one JSON object. Raises Unreadable."""
        return parsed(await self.blob(repository, digest, LARGEST_CONFIG))

    async def member(
        self, repository: str, digest: str, wanted: Callable[[Sequence[str]], bool], *, packed: bool
    ) -> bytes | None:
        """The first file of a tar archive whose path is wanted; None without one. Raises Unreadable."""
        if self._threads is None:
            message = "the registry is not open"
            raise RuntimeError(message)
        archive = await self.blob(repository, digest, LARGEST_LAYER)
        return await self._threads.run(unpacked, archive, wanted, packed)


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Unreadable."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        message = "it is no JSON object"
        raise Unreadable(message) from error


def unpacked(archive: bytes, wanted: Callable[[Sequence[str]], bool], packed: bool) -> bytes | None:  # noqa: FBT001 - Threads.run passes by position
    """The first regular file that is wanted. Nothing is written anywhere, so no name can lead out of anything."""
    plain: Any = io.BytesIO(archive)
    source: Any = Bounded(gzip.GzipFile(fileobj=plain) if packed else plain)
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for number, each in enumerate(tar):
                if number >= MOST_MEMBERS:
                    message = f"the archive has more than {MOST_MEMBERS} members"
                    raise Unreadable(message)
                if each.isreg() and wanted(each.name.split("/")):
                    return _whole(tar, each)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        message = "the archive cannot be unpacked"
        raise Unreadable(message) from error
    return None


def _whole(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > LARGEST_FILE:
        message = f"the file has {member.size} bytes; {LARGEST_FILE} are read at most"
        raise Unreadable(message)
    file = tar.extractfile(member)
    return b"" if file is None else file.read(LARGEST_FILE)


class Bounded:
    """A stream that gives at most `LARGEST_UNPACKED` bytes: a small archive may hold a very large nothing."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._left = LARGEST_UNPACKED

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Raises Unreadable where they are too many."""
        piece: bytes = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(piece)
        if self._left < 0:
            message = f"the archive unpacks to more than {LARGEST_UNPACKED} bytes"
            raise Unreadable(message)
        return piece
