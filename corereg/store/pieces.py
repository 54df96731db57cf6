"""A piece of an upload on its way: written and hashed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from corereg.oci.digest import hasher
from corereg.store.storage import Writer
from corereg.store.threads import Threads

INLINE_HASH = 32 * 1024
"""Bytes hashed in the event loop; above that a thread costs less than the wait it saves others."""


class RunningHash:
    """A hash over the first `offset` bytes of an upload."""

    __slots__ = ("_threads", "algorithm", "hash", "offset")

    def __init__(self, algorithm: str, threads: Threads) -> None:
        self.algorithm = algorithm
        self.hash = hasher(algorithm)
        self.offset = 0
        self._threads = threads

    async def update(self, piece: bytes) -> None:
        if len(piece) <= INLINE_HASH:
            self._update(piece)
        else:
            await self._threads.run(self._update, piece)

    async def update_after(self, append: Callable[[bytes], None], piece: bytes) -> None:
        """`append` the piece, then `update`, in one thread. A piece that could not be appended is not hashed."""
        await self._threads.run(self._update_after, append, piece)

    def _update_after(self, append: Callable[[bytes], None], piece: bytes) -> None:
        append(piece)
        self._update(piece)

    def _update(self, piece: bytes) -> None:
        """Both or neither, also when whoever waits is cancelled."""
        self.hash.update(piece)
        self.offset += len(piece)


class Receipt:
    """How many bytes of an upload its writer has taken."""

    __slots__ = ("received",)

    def __init__(self, received: int) -> None:
        self.received = received


async def keep(piece: bytes, writer: Writer, running: RunningHash | None, receipt: Receipt) -> None:
    """Write and hash one piece (None: nobody hashes); then the receipt has it."""
    if running is None:
        await writer.write(piece)
    elif len(piece) <= INLINE_HASH:
        await writer.write(piece)
        await running.update(piece)
    elif writer.append is not None:
        await running.update_after(writer.append, piece)
    else:
        await _both(writer.write(piece), running.update(piece))
    receipt.received += len(piece)


async def _both(first: Awaitable[None], second: Awaitable[None]) -> None:
    """Wait for both, also when one fails: neither may still be at work on the piece afterwards."""
    for result in await asyncio.gather(first, second, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
