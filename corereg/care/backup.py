"""Backups in a folder: what the database says at one moment, and every blob it names.

The folder::

    blobs/sha256/ab/ab12...                    shared by all backups in the folder: what is there is not copied again
    backups/<id>/<table>.jsonl.gz              one snapshot of the database (`corereg.care.dump`)
    backups/<id>/backup.json                   what there is, with digests
    backups/<id>/backup.json.sha256            comes last: without it the backup is not complete
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from anyio.to_thread import run_sync

from corereg.care.dump import TableDump, dump, rows_of, tables_of
from corereg.care.errors import BackupError, WrongBytes
from corereg.care.files import make_folder, save, write_whole
from corereg.care.holding import Hold
from corereg.care.parallel import parallel
from corereg.oci.digest import hasher
from corereg.session import House, Session
from corereg.store.catalog import StoredBlob
from corereg.store.schema import Schema, versions
from corereg.store.storage import KeyMissing
from corereg.store.unfinished import table_names
from corereg.store.work import Work

FORMAT = 1
WIDTH = 4
"""Blobs copied at once."""
BATCH = 64
HOLD = 3600
"""Seconds nothing is collected, renewed while the backup goes on."""
PIECE = 1 << 20
DOCUMENT = "backup.json"
SUM = "backup.json.sha256"

Item = TypeVar("Item")


class Damaged(msgspec.Struct, frozen=True):
    """A blob that could not be copied as it should be, and why."""

    digest: str
    message: str


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. Times are RFC 3339, sizes in bytes. `revisions` say of each owner of tables where those stood.

    `left_out` are tables of the database whose owners were not enabled. `damaged` are blobs that the registry itself
    could not have served.
    """

    format: int
    id: str
    created_at: str
    database: str
    revisions: dict[str, str | None]
    tables: tuple[TableDump, ...]
    left_out: tuple[str, ...]
    blobs: int
    size: int
    copied: int
    damaged: tuple[Damaged, ...]


def blob_path(folder: Path, digest: str) -> Path:
    """Where a backup folder keeps a blob."""
    algorithm, _, encoded = digest.partition(":")
    return folder / "blobs" / algorithm / encoded[:2] / encoded


# ---- create ----


async def create(house: House, session: Session, schemas: Sequence[Schema], folder: Path, work: Work) -> Backup:
    """Make a backup beside everything else. Raises BackupError, Stopped, StorageError, DatabaseError, OSError."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    place = folder / "backups" / name
    hold = Hold(session, f"backup {name}", HOLD)
    await hold.renew()
    try:
        await run_sync(make_folder, place)
        await work.progress("database", 0)
        tables = tables_of(schemas)
        dumped: list[TableDump] = []
        await house.database.run_sync(lambda connection: dumped.extend(dump(connection, tables, place)))
        copier = _Copier(house, folder, hold, work)
        await copier.run(place, _table(dumped, "blobs"))
        known = {table.name for each in schemas for table in each.metadata.sorted_tables}
        found = Backup(
            format=FORMAT,
            id=name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            database=house.database.dialect,
            revisions={each.name: each.current for each in await versions(house.database, schemas)},
            tables=tuple(dumped),
            left_out=tuple(
                sorted(
                    each
                    for each in await table_names(house.database)
                    if each not in known and not each.startswith(("alembic_version_", "schema_breaks", "sqlite_"))
                )
            ),
            blobs=copier.blobs,
            size=copier.size,
            copied=copier.copied,
            damaged=tuple(copier.damaged),
        )
        await run_sync(_seal, place, found)
    finally:
        await hold.release()
    return found


def _seal(place: Path, found: Backup) -> None:
    document = msgspec.json.format(msgspec.json.encode(found), indent=1)
    write_whole(place / DOCUMENT, document)
    write_whole(place / SUM, f"{hashlib.sha256(document).hexdigest()}  {DOCUMENT}\n".encode())


def _table(dumps: Sequence[TableDump], name: str) -> TableDump:
    return next(each for each in dumps if each.table == name)


class _Copier:
    """Copies the blobs that a snapshot names."""

    def __init__(self, house: House, folder: Path, hold: Hold, work: Work) -> None:
        self._storage = house.storage
        self._folder = folder
        self._hold = hold
        self._work = work
        self.blobs = self.size = self.copied = 0
        self.damaged: list[Damaged] = []

    async def run(self, place: Path, dumped: TableDump) -> None:
        async for rows in batches(rows_of(place, dumped), BATCH):
            await self._work.check()
            blobs = [StoredBlob(row["digest"], row["size"], row["storage_key"]) for row in rows]
            await parallel(self._copy, blobs, width=WIDTH)
            await self._work.progress("blobs", self.blobs, dumped.rows, self.size)
        await self._work.progress("blobs", self.blobs, dumped.rows, self.size)

    async def _copy(self, blob: StoredBlob) -> None:
        await self._hold.renew()
        self.blobs += 1
        self.size += blob.size
        path = blob_path(self._folder, blob.digest)
        if await run_sync(_size, path) == blob.size:
            return
        try:
            await save(path, checked(self._storage.read(blob.key), blob))
            self.copied += 1
        except (KeyMissing, WrongBytes) as error:
            self._work.log(f"{blob.digest}: {error}")
            self.damaged.append(Damaged(blob.digest, str(error)))


async def checked(pieces: AsyncGenerator[bytes], blob: StoredBlob) -> AsyncGenerator[bytes]:
    """The pieces; at their end they are known to be the blob, or an error is raised."""
    running = hasher(blob.digest.partition(":")[0])
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            running.update(piece)
            size += len(piece)
            yield piece
    if size != blob.size:
        message = f"there are {size} bytes, not {blob.size}"
        raise WrongBytes(message)
    if running.hexdigest() != blob.digest.partition(":")[2]:
        message = "the bytes have another digest"
        raise WrongBytes(message)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


async def batches(items: Iterator[Item], size: int) -> AsyncGenerator[list[Item]]:
    """What a blocking iterator gives, in lists of at most `size`."""
    while batch := await run_sync(lambda: list(islice(items, size))):
        yield batch


# ---- find, read, verify ----


def complete(folder: Path) -> tuple[list[str], list[str]]:
    """The ids of the backups in the folder that are complete, oldest first, and of those that are not."""
    there = sorted(path.name for path in (folder / "backups").glob("*") if path.is_dir())
    whole = [name for name in there if (folder / "backups" / name / SUM).is_file()]
    return whole, [name for name in there if name not in whole]


def read(folder: Path, name: str | None = None) -> Backup:
    """What a backup says of itself; without a name the newest complete one. Raises BackupError."""
    whole, rest = complete(folder)
    if name is None and not whole:
        why = f"only incomplete ones: {', '.join(rest)}; make it again" if rest else "none at all"
        message = f"{folder} holds no complete backup ({why})"
        raise BackupError(message)
    name = name or whole[-1]
    if name in rest:
        message = f"the backup {name} is not complete: it was cut off; make it again"
        raise BackupError(message)
    if name not in whole:
        message = f"{folder} holds no backup {name}; there are {', '.join(whole) or 'none'}"
        raise BackupError(message)
    place = folder / "backups" / name
    document = (place / DOCUMENT).read_bytes() if (place / DOCUMENT).is_file() else b""
    if (place / SUM).read_text().split()[:1] != [hashlib.sha256(document).hexdigest()]:
        message = f"{place / DOCUMENT} is damaged: it is not what {SUM} says"
        raise BackupError(message)
    found = msgspec.json.decode(document, type=Backup)
    if found.format != FORMAT:
        message = f"the backup {name} has format {found.format}, and this release reads {FORMAT}: use a newer one"
        raise BackupError(message)
    return found


async def verify(folder: Path, work: Work, name: str | None = None) -> tuple[Backup, list[str]]:
    """Read all of a backup again; what is wrong with it, in sentences. Raises BackupError when nothing can be read."""
    found = await run_sync(read, folder, name)
    place = folder / "backups" / found.id
    problems = [
        f"{place / each.file} is missing or damaged"
        for each in found.tables
        if await run_sync(_file_sum, place / each.file) != each.sha256
    ]
    if problems:
        return found, problems
    damaged = {each.digest for each in found.damaged}
    done = size = 0
    async for rows in batches(rows_of(place, _table(found.tables, "blobs")), BATCH):
        await work.check()
        wanted = [row["digest"] for row in rows if row["digest"] not in damaged]
        for problem in await parallel(partial(_verify_blob, folder), wanted, width=2):
            if problem is not None:
                work.log(problem)
                problems.append(problem)
        done += len(rows)
        size += sum(row["size"] for row in rows)
        await work.progress("blobs", done, found.blobs, size)
    return found, problems


async def _verify_blob(folder: Path, digest: str) -> str | None:
    path = blob_path(folder, digest)
    algorithm, _, encoded = digest.partition(":")
    found = await run_sync(_file_sum, path, algorithm)
    if found is None:
        return f"{path} is missing"
    return None if found == encoded else f"{path} is damaged: its digest is {algorithm}:{found}"


def _file_sum(path: Path, algorithm: str = "sha256") -> str | None:
    running = hasher(algorithm)
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                running.update(piece)
    except FileNotFoundError:
        return None
    return running.hexdigest()


async def pieces_of(path: Path) -> AsyncGenerator[bytes]:
    """A file, piece by piece."""
    file: Any = await run_sync(path.open, "rb")
    try:
        while piece := await run_sync(file.read, PIECE):
            yield piece
    finally:
        file.close()
