"""Everything in one database, copied to an empty other one, of the same kind or not.

Rows are read in one transaction, in the order of their primary keys, some at a time, and written in one transaction:
the target holds all of it or nothing. Afterwards both sides are counted and summed up, row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg.store.database import Database, DatabaseError, Query, Row, Transaction
from corereg.store.nodes import Nodes
from corereg.store.revisions import breaks, version_table
from corereg.store.schema import Schema, upgrade, versions

BATCH = 100
"""Rows that are held at once; a manifest has 4 MiB at most, and mostly less than 10 KiB."""

_encode = msgspec.msgpack.encode

Told = Callable[[str, int], None]
"""Called with the name of a table and how many of its rows have been copied."""


class MoveRefused(DatabaseError):
    """The databases are not what a move needs; nothing was changed."""


class Moved(msgspec.Struct, frozen=True):
    """What was copied of one table: rows, and a sum over their contents that does not depend on their order."""

    table: str
    rows: int
    checksum: str


class Sum:
    """Counts rows and sums up what is in them."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.rows += 1
            self._sum += int.from_bytes(hashlib.blake2b(_encode(tuple(row)), digest_size=16).digest())

    def __str__(self) -> str:
        return f"{self._sum % 2**128:032x}"


def whole(schemas: Iterable[Schema]) -> sa.MetaData:
    """The tables of all owners together, so that foreign keys of plugins find the core's tables."""
    together = sa.MetaData()
    for each in schemas:
        for table in each.metadata.tables.values():
            table.to_metadata(together)
    return together


async def move(source: Database, target: Database, schemas: Sequence[Schema], told: Told) -> list[Moved]:
    """Copy all tables of `schemas` from `source` to `target`; both are open. Raises MoveRefused, DatabaseError."""
    tables = whole(schemas).sorted_tables
    await _check_source(source, schemas, {table.name for table in tables})
    found = await names(target)
    if found:
        raise MoveRefused(f"{target.describe()} is not empty: it has the tables {', '.join(sorted(found)[:5])}, ...")
    try:
        await upgrade(target, schemas)
        return await _copy(source, target, tables, told)
    except BaseException:
        await target.run_sync(_drop_all)  # it was empty, and is again
        raise


async def _check_source(source: Database, schemas: Sequence[Schema], known: set[str]) -> None:
    for each in await versions(source, schemas):
        if not each.is_current:
            state = "newer than this release" if each.newer else "not up to date; run corereg db upgrade first"
            raise MoveRefused(f"the tables of {each.name} in {source.describe()} are {state}")
    bookkeeping = {version_table(each.name) for each in schemas} | {breaks.name}
    strange = {name for name in await names(source) if not name.startswith("sqlite_")} - known - bookkeeping
    if strange:
        message = (
            f"{source.describe()} has tables that no enabled plugin knows ({', '.join(sorted(strange))}): enable their "
            "plugin, or drop them"
        )
        raise MoveRefused(message)
    alive = [each for each in await Nodes(source, version="", slots=0).all() if each.alive]
    if alive:
        where = ", ".join(f"process {each.process} on {each.host}" for each in alive)
        raise MoveRefused(
            f"{source.describe()} is being served ({where}): stop that first, so that no push is left out"
        )


async def names(database: Database) -> set[str]:
    """The tables there are."""
    found: set[str] = set()
    await database.run_sync(lambda connection: found.update(sa.inspect(connection).get_table_names()))
    return found


def _drop_all(connection: sa.Connection) -> None:
    found = sa.MetaData()
    found.reflect(connection)
    found.drop_all(connection)
    connection.commit()


@asynccontextmanager
async def _frozen(database: Database) -> AsyncGenerator[Transaction]:
    """A transaction that sees one state of the database, whatever others write (to SQLite nobody else can)."""
    async with database.transaction() as tx:
        if database.dialect == "postgresql":
            await tx.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield tx


async def _copy(source: Database, target: Database, tables: Sequence[sa.Table], told: Told) -> list[Moved]:
    moved = []
    async with _frozen(source) as old, target.transaction() as new:
        for table in reversed(tables):  # what migrations put there is among what comes
            await new.execute(sa.delete(table))
        for table in tables:
            read = Sum()
            insert = Query(sa.insert(table).values({each.name: sa.bindparam(each.name) for each in table.columns}))
            async for rows in batches(old, table):
                read.add(rows)
                await new.execute_many(insert, [_parameters(table, row) for row in rows])
                told(table.name, read.rows)
            await _go_on_counting(old, new, source.dialect, target.dialect, table)
            moved.append(Moved(table.name, read.rows, str(read)))
        for table, each in zip(tables, moved, strict=True):
            written = Sum()
            async for rows in batches(new, table):
                written.add(rows)
            if (written.rows, str(written)) != (each.rows, each.checksum):
                message = f"{each.table} holds {written.rows} rows that differ from the {each.rows} that were read"
                raise DatabaseError(message)
    return moved


def _parameters(table: sa.Table, row: Row) -> dict[str, Any]:
    return dict(zip((each.name for each in table.columns), row, strict=True))


async def batches(tx: Transaction, table: sa.Table) -> AsyncIterator[Sequence[Row]]:
    """All rows in the order of the primary key, `BATCH` at a time."""
    key = list(table.primary_key.columns)
    if not key:
        yield await tx.rows(sa.select(*table.columns))
        return
    positions = [list(table.columns).index(each) for each in key]
    first = Query(sa.select(*table.columns).order_by(*key).limit(BATCH))
    marks = sa.tuple_(*(sa.bindparam(f"last_{each.name}", type_=each.type) for each in key))
    later = Query(sa.select(*table.columns).where(sa.tuple_(*key) > marks).order_by(*key).limit(BATCH))
    rows = await tx.rows(first)
    while rows:
        yield rows
        last = {f"last_{each.name}": rows[-1][position] for each, position in zip(key, positions, strict=True)}
        rows = await tx.rows(later, **last) if len(rows) == BATCH else []


async def _go_on_counting(old: Transaction, new: Transaction, source: str, target: str, table: sa.Table) -> None:
    """The target gives no number that the source has given, also of rows that are gone."""
    column = table.autoincrement_column
    if column is None:
        return
    highest = await old.row(sa.select(sa.func.coalesce(sa.func.max(column), 0)))
    given = [int(highest[0]) if highest else 0]
    if source == "sqlite":
        counted = await _sqlite_counts(old)
        given += [int(row[1]) for row in counted if row[0] == table.name]
    else:
        row = await old.row(_SEQUENCE_LAST, table=table.name, column=column.name)
        given += [int(row[0])] if row is not None and row[0] is not None else []
    last = max(given)
    if not last:
        return
    if target == "postgresql":
        await new.rows(_SEQUENCE_SET, table=table.name, column=column.name, last=last)
    elif table.dialect_options["sqlite"]["autoincrement"]:
        await new.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), name=table.name)
        insert = sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")
        await new.execute(insert, name=table.name, last=last)


async def _sqlite_counts(tx: Transaction) -> Sequence[Row]:
    there = await tx.row(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"))
    return await tx.rows(sa.text("SELECT name, seq FROM sqlite_sequence")) if there else []


_SEQUENCE = sa.func.pg_get_serial_sequence(
    sa.func.quote_ident(sa.bindparam("table", type_=sa.Text)), sa.bindparam("column", type_=sa.Text)
)
_SEQUENCE_LAST = sa.select(sa.func.pg_sequence_last_value(sa.cast(_SEQUENCE, sa.dialects.postgresql.REGCLASS)))
_SEQUENCE_SET = sa.select(sa.func.setval(_SEQUENCE, sa.bindparam("last", type_=sa.BigInteger)))
