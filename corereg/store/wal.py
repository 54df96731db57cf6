"""SQLite's write-ahead log: made durable after the lock is given back, and copied into the file beside the work.

``synchronous = FULL`` waits for the disk inside COMMIT, while every other writer waits for the lock. Here a commit
writes its frames (``NORMAL``) and gives the lock back; then the log is synced from a thread, once for all who committed
meanwhile, and nobody is told "done" before. Recovery replays every whole frame of the log, so what was synced survives
a power failure.

Weaker than FULL in one thing only: a reader may see a row some hundred microseconds before it is durable.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from pathlib import Path

from corereg.store.database import DatabaseUnavailable
from corereg.store.threads import Threads

OWN_SYNC = sys.platform == "linux"
"""Elsewhere fdatasync may not reach the disk; SQLite knows what does."""
CHECKPOINT_BYTES = 8 * 1024 * 1024
"""A log this long is copied into the database file."""
CHECKPOINT_PAUSE = 1.0
"""Seconds between two such copies, at least."""


class WriteAheadLog:
    """The ``-wal`` file of one database. Its descriptor is our own; SQLite keeps no locks on that file."""

    def __init__(self, database: Path, checkpointer: sqlite3.Connection) -> None:
        self.path = Path(f"{database}-wal")
        self._checkpointer = checkpointer
        self._checkpointed = 0.0
        self._descriptor: int | None = None
        self._threads = Threads(1, "database-log")
        self._next: asyncio.Future[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def durable(self) -> None:
        """Return when everything committed until now is on the disk; DatabaseUnavailable when the disk refuses."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        mine = self._next
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync(), name="corereg database sync")
        await asyncio.shield(mine)

    async def _sync(self) -> None:
        """Sync until nobody waits: a commit that comes while the disk is busy is part of the next round."""
        try:
            while self._next is not None:
                waiting, self._next = self._next, None
                try:
                    await self._threads.run(self._sync_file)
                except OSError as error:
                    message = f"the database log {self.path} cannot be made durable: {error.strerror}"
                    waiting.set_exception(DatabaseUnavailable(message))
                    waiting.exception()  # whoever waited may have been cancelled
                else:
                    waiting.set_result(None)
                await self._checkpoint_if_long()
        finally:
            self._syncing = None

    def _sync_file(self) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # the log was made a moment ago
            finally:
                os.close(folder)
        os.fdatasync(self._descriptor)

    async def _checkpoint_if_long(self) -> None:
        if self._descriptor is None or time.monotonic() - self._checkpointed < CHECKPOINT_PAUSE:
            return
        if os.fstat(self._descriptor).st_size > CHECKPOINT_BYTES:
            await self._threads.run(self._checkpoint)
            self._checkpointed = time.monotonic()

    def _checkpoint(self) -> None:
        try:
            self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            return  # somebody else is at it, or the disk is full: the log grows a little longer

    async def close(self) -> None:
        """Wait for the last sync."""
        if self._syncing is not None:
            await self._syncing
        self._threads.close()
        self._checkpointer.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
