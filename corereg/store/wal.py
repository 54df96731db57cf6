"""SQLite's write-ahead log: made durable after the lock is given back, and copied into the file beside the work.

``synchronous = FULL`` waits for the disk inside COMMIT, while every other writer waits for the lock. Here a commit
writes its frames (``NORMAL``) and gives the lock back; then the log is synced from a thread, once for all who committed
meanwhile, and nobody is told "done" before. Recovery replays every whole frame of the log, so what was synced survives
a power failure.

Weaker than FULL in one thing only: a reader may see a row some hundred microseconds before it is durable.

A sync that fails ends that. Linux tells of it once, to each descriptor that was open, and forgets: the next sync would
succeed and leave a hole in the log, at which recovery stops, so that whatever is written behind it is lost. Nobody can
tell from then on what the disk holds. So nothing more is written, by no process, and nothing is copied into the
database file, for SQLite does not look at checksums there; a file beside the log says so to those who come later.
Whoever opens the database alone, after all have ended, reads the log anew, frame by frame with its checksum, copies
what is whole into the database file and syncs that (`mend`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

from corereg.store.database import DatabaseUnavailable
from corereg.store.threads import Threads

log = logging.getLogger(__name__)

OWN_SYNC = sys.platform == "linux"
"""Elsewhere fdatasync may not reach the disk; SQLite knows what does."""
CHECKPOINT_BYTES = 8 * 1024 * 1024
"""A log this long is copied into the database file."""
CHECKPOINT_PAUSE = 1.0
"""Seconds between two such copies, at least."""
ALONE_AFTER = 10.0
"""Seconds that the first who mends waits for the last of those who ended."""


class _SyncFailed(Exception):
    """The log was handed to the disk, and not all of it is there."""


class WriteAheadLog:
    """The ``-wal`` file of one database, which is there. Its descriptor is our own; SQLite keeps no locks on that file.

    It is opened at once, not with the first commit: only then Linux tells it of a failure that another process has met.
    """

    def __init__(self, database: Path, checkpointer: sqlite3.Connection) -> None:
        self.path = Path(f"{database}-wal")
        self._database = database
        self._checkpointer = checkpointer
        self._checkpointed = 0.0
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._in_folder = False
        self._lost = False
        self._threads = Threads(1, "database-log")
        self._next: asyncio.Future[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise DatabaseUnavailable when nothing can be made durable any more."""
        if self._lost:
            raise DatabaseUnavailable(_sentence(self._database))

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
                except _SyncFailed:
                    waiting.set_exception(DatabaseUnavailable(_sentence(self._database)))
                    waiting.exception()  # whoever waited may have been cancelled
                except OSError as error:  # the disk was not asked yet
                    message = f"the database log {self.path} cannot be made durable: {error.strerror}"
                    waiting.set_exception(DatabaseUnavailable(message))
                    waiting.exception()
                else:
                    waiting.set_result(None)
                    await self._checkpoint_if_long()
        finally:
            self._syncing = None

    def _sync_file(self) -> None:
        self._check_kept()
        folder = None if self._in_folder else os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if folder is not None:
                os.fsync(folder)  # the log may have been made a moment ago
                self._in_folder = True
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._lose(str(error))
        finally:
            if folder is not None:
                os.close(folder)
        if unsynced(self._database):
            self._lose("another process was told")
        self._check_kept()

    def _check_kept(self) -> None:
        if self._lost:
            raise _SyncFailed

    def _lose(self, why: str) -> None:
        if self._lost:
            return
        self._lost = True
        log.critical("%s (%s)", _sentence(self._database), why)
        try:
            _mark(self._database).touch(mode=0o600)
        except OSError as error:
            log.critical("%s cannot be made: %s", _mark(self._database), error.strerror)

    async def _checkpoint_if_long(self) -> None:
        if time.monotonic() - self._checkpointed < CHECKPOINT_PAUSE:
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
        if self._lost or unsynced(self._database):
            _keep_open(self._checkpointer)
        else:
            self._checkpointer.close()
        os.close(self._descriptor)


def _mark(database: Path) -> Path:
    """The file that is there while nobody knows what of the log is on the disk."""
    return Path(f"{database}-unsynced")


def unsynced(database: Path) -> bool:
    """Whether a sync of its log has failed, and nobody has looked since what is there: `mend` does."""
    return os.path.exists(f"{database}-unsynced")  # noqa: PTH110 - with every commit, and a third of the time


def _sentence(database: Path) -> str:
    return (
        f"the log of the database {database} could not be written to the disk, so nothing more is changed; look at the "
        "disk, then stop every process of this registry and start it again: the last changes may be undone"
    )


def _keep_open(connection: sqlite3.Connection) -> None:
    """Until the process ends: whoever closes the last connection copies the log into the file, holes and all."""

    def hold(_connection: sqlite3.Connection) -> None:
        threading.Event().wait()

    # Python closes what modules hold when it ends; what a daemon's call holds stays.
    threading.Thread(target=hold, args=(connection,), name="database-unsynced", daemon=True).start()


def mend(database: Path) -> None:
    """Keep what is whole of an `unsynced` log, before anybody works with the database.

    Raises DatabaseUnavailable while somebody else has the database open, or when the disk refuses again.
    """
    until = time.monotonic() + ALONE_AFTER
    while unsynced(database):
        try:
            _mend(database)
        except sqlite3.Error as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                why = "another process has it open" if busy else str(error)
                message = f"{_sentence(database)} ({why})"
                raise DatabaseUnavailable(message) from error
            time.sleep(0.05)


def _mend(database: Path) -> None:
    if database.exists():
        connection = sqlite3.connect(str(database), isolation_level=None)
        try:
            # Alone, SQLite takes nobody's word for what the log holds: it reads it whole.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = FULL")
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise sqlite3.OperationalError("the log is in use")
            log.warning("what is whole of the log of the database %s is kept; all else in it is undone", database)
        finally:
            connection.close()
    _mark(database).unlink(missing_ok=True)
