"""A backup becomes a registry again: in an empty database and an empty storage, of whatever kind.

Bytes first, then all rows in one transaction. From the first step to the last a mark stands in the database
(`corereg.store.unfinished`): what was cut off is served by nobody, and goes on with the same command.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from alembic.util import CommandError
from anyio.to_thread import run_sync

from corereg.care.backup import Backup, batches, blob_path, checked, pieces_of, read
from corereg.care.dump import load, rows_of, tables_of
from corereg.care.errors import BackupError, WrongBytes
from corereg.care.parallel import parallel
from corereg.store.catalog import StoredBlob
from corereg.store.database import Database
from corereg.store.schema import Schema, upgrade, upgrade_to
from corereg.store.schema import blobs as blob_rows
from corereg.store.storage import BLOBS, Storage, blob_key, shown
from corereg.store.unfinished import MARK, restoring, table_names
from corereg.store.work import Work

BATCH, WIDTH = 64, 4


async def restore(
    folder: Path,
    database: Database,
    storage: Storage,
    schemas: Sequence[Schema],
    work: Work,
    *,
    name: str | None = None,
    new_keys: bool = False,
) -> Backup:
    """Bring a backup (the newest, or the one called `name`) into an open database and storage that are empty.

    With `new_keys` the keys that sign tokens stay behind: every token of before is worthless, and a start makes a new
    key. Raises BackupError, Stopped, StorageError, DatabaseError.
    """
    backup = await run_sync(read, folder, name)
    _check_owners(backup, schemas)
    restored = _Restore(folder, backup, database, storage, work)
    await restored.begin()
    await restored.put_blobs()
    await restored.put_rows(schemas, new_keys=new_keys)
    return backup


def _check_owners(backup: Backup, schemas: Sequence[Schema]) -> None:
    lacking = sorted(set(backup.revisions) - {each.name for each in schemas})
    if lacking:
        message = f"the backup has tables of {', '.join(lacking)}: enable these plugins in the configuration"
        raise BackupError(message)


class _Restore:
    """One restore."""

    def __init__(self, folder: Path, backup: Backup, database: Database, storage: Storage, work: Work) -> None:
        self.folder = folder
        self.place = folder / "backups" / backup.id
        self.backup = backup
        self.database = database
        self.storage = storage
        self.work = work
        self.damaged = frozenset(each.digest for each in backup.damaged)

    async def begin(self) -> None:
        """Put up the mark, where nothing is."""
        going_on = await restoring(self.database)
        if going_on == self.backup.id:
            return
        where = self.database.describe()
        if going_on is not None:
            message = f"a restore of the backup {going_on} into {where} was begun: end that one, or empty both first"
            raise BackupError(message)
        if await table_names(self.database):
            message = f"{where} is not empty: restore into a new one"
            raise BackupError(message)
        async with aclosing(self.storage.list(BLOBS)) as keys:
            async for stat in keys:
                message = f"the storage is not empty, it holds {shown(stat.key)}: restore into a new one"
                raise BackupError(message)
        await self.database.run_sync(self._mark)

    def _mark(self, connection: sa.Connection) -> None:
        _begin(connection)
        MARK.create(connection)
        connection.execute(sa.insert(MARK).values(digest="", storage_key=self.backup.id))
        _end(connection, "COMMIT")

    # ---- bytes ----

    async def put_blobs(self) -> None:
        """Every blob, checked on the way."""
        dumped = next(each for each in self.backup.tables if each.table == "blobs")
        done = size = 0
        async for rows in batches(rows_of(self.place, dumped), BATCH):
            await self.work.check()
            blobs = [StoredBlob(row["digest"], row["size"], row["storage_key"]) for row in rows]
            await parallel(self._put, [each for each in blobs if each.digest not in self.damaged], width=WIDTH)
            done += len(rows)
            size += sum(each.size for each in blobs)
            await self.work.progress("blobs", done, dumped.rows, size)

    async def _put(self, blob: StoredBlob) -> None:
        key = blob_key(blob.digest)
        stat = await self.storage.stat(key)
        if stat is not None and stat.size == blob.size:
            return  # from before it was cut off
        if await self.database.row(sa.select(MARK.c.digest).where(MARK.c.digest == blob.digest)) is not None:
            return
        placed = await self._upload(blob)
        if placed != key:
            async with self.database.transaction() as tx:
                await tx.execute(sa.insert(MARK).values(digest=blob.digest, storage_key=placed))

    async def _upload(self, blob: StoredBlob) -> str:
        upload = str(uuid.uuid4())
        state = await self.storage.begin(upload)
        path = blob_path(self.folder, blob.digest)
        try:
            writer = await self.storage.writer(upload, state, 0)
            try:
                async with aclosing(checked(pieces_of(path), blob)) as pieces:
                    async for piece in pieces:
                        await writer.write(piece)
            finally:
                state = await writer.close()
            return await self.storage.commit(upload, state, blob.size, blob.digest)
        except (FileNotFoundError, WrongBytes) as error:
            await self.storage.abort(upload, state)
            why = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
            message = f"{path} {why}; `corereg backup verify` tells what else is"
            raise BackupError(message) from error
        except BaseException:
            await self.storage.abort(upload, state)
            raise

    # ---- rows ----

    async def put_rows(self, schemas: Sequence[Schema], *, new_keys: bool) -> None:
        """The tables as they were at the backup, their rows, then what this release has changed since."""
        await self.work.progress("database", 0)
        try:
            await upgrade_to(self.database, schemas, self.backup.revisions)
        except CommandError as error:
            message = f"the backup was made by a newer release than this one: {error}"
            raise BackupError(message) from error
        tables = tables_of(schemas)
        await self.database.run_sync(lambda connection: self._load(connection, tables, new_keys=new_keys))
        await upgrade(self.database, schemas)

    def _load(self, connection: sa.Connection, tables: Sequence[sa.Table], *, new_keys: bool) -> None:
        dumps = {each.table: each for each in self.backup.tables if not (new_keys and each.table == "signing_keys")}
        there = set(sa.inspect(connection).get_table_names())
        _begin(connection)
        try:
            edits = {"blobs": self._blob, "blob_links": self._link}
            load(connection, [each for each in tables if each.name in there], dumps, self.place, edits)
            elsewhere = sa.select(MARK.c.storage_key).where(MARK.c.digest == blob_rows.c.digest).scalar_subquery()
            moved = blob_rows.c.digest.in_(sa.select(MARK.c.digest))
            connection.execute(sa.update(blob_rows).where(moved).values(storage_key=elsewhere))
            MARK.drop(connection)
        except BaseException:
            _end(connection, "ROLLBACK")
            raise
        _end(connection, "COMMIT")

    def _blob(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A blob lies under its own key, wherever it lay before; the mark knows those that do not."""
        return None if row["digest"] in self.damaged else {**row, "storage_key": blob_key(row["digest"])}

    def _link(self, row: dict[str, Any]) -> dict[str, Any] | None:
        return None if row["digest"] in self.damaged else row


def _begin(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _end(connection: sa.Connection, how: Literal["COMMIT", "ROLLBACK"]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(how)  # the BEGIN was ours, so SQLAlchemy knows of no transaction to end
    getattr(connection, how.lower())()
