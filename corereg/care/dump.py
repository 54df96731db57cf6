"""Tables as files that any database can take in: JSON lines, one row each, gzipped; bytes are base64.

All tables of one dump are read in one snapshot (SQLite: a read transaction on the log; PostgreSQL: REPEATABLE READ).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg.care.files import WholeFile
from corereg.store.schema import Schema

ROWS = 500
"""Rows read or written in one go."""
PASSING = frozenset({"nodes", "uploads", "condemned", "collector_holds"})
"""What means nothing in another place or at another time: processes, uploads under way, leases of the collector."""
_encoder = msgspec.json.Encoder()

Edit = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What becomes of a row while it is loaded; None leaves it out."""


class TableDump(msgspec.Struct, frozen=True, kw_only=True):
    """One table's file: name, its columns, which of them hold bytes, how many rows, the file's sha256.

    `sequence` is the last number that was given to a row, where the database counts them by itself.
    """

    table: str
    file: str
    columns: tuple[str, ...]
    binary: tuple[str, ...] = ()
    rows: int
    sha256: str
    sequence: int | None = None


class _Summed:
    """A `WholeFile` that knows the digest of what was written; what gzip needs of a file."""

    def __init__(self, file: WholeFile) -> None:
        self._file = file
        self.sum = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sum.update(data)
        self._file.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """`WholeFile.finish` does it."""


def tables_of(schemas: Iterable[Schema]) -> list[sa.Table]:
    """Every table that is kept, those that others point at first."""
    return [table for each in schemas for table in each.metadata.sorted_tables if table.name not in PASSING]


def dump(connection: sa.Connection, tables: Sequence[sa.Table], folder: Path) -> list[TableDump]:
    """Write each table into the folder. Blocks."""
    postgres = connection.dialect.name == "postgresql"
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY" if postgres else "BEGIN")
    try:
        return [_dump_one(connection, table, folder) for table in tables]
    finally:
        if not postgres:
            connection.exec_driver_sql("ROLLBACK")  # the BEGIN was ours, so SQLAlchemy knows of no transaction to end
        connection.rollback()


def _dump_one(connection: sa.Connection, table: sa.Table, folder: Path) -> TableDump:
    path = folder / f"{table.name}.jsonl.gz"
    file = WholeFile(path)
    summed = _Summed(file)
    rows = 0
    try:
        with gzip.GzipFile(fileobj=summed, mode="wb", compresslevel=1, mtime=0) as packed:
            result = connection.execution_options(stream_results=True).execute(sa.select(table))
            for part in result.partitions(ROWS):
                packed.write(b"".join(_encoder.encode(tuple(row)) + b"\n" for row in part))
                rows += len(part)
        file.finish()
    except BaseException:
        file.discard()
        raise
    return TableDump(
        table=str(table.name),
        file=path.name,
        columns=tuple(str(column.name) for column in table.c),
        binary=tuple(str(column.name) for column in table.c if isinstance(column.type, sa.LargeBinary)),
        rows=rows,
        sha256=summed.sum.hexdigest(),
        sequence=_sequence(connection, table),
    )


def _sequence(connection: sa.Connection, table: sa.Table) -> int | None:
    column = table.autoincrement_column
    if column is None:
        return None
    if connection.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"]["autoincrement"]:
            return None
        row = connection.execute(
            sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}
        ).first()
        return int(row[0]) if row else None
    name = connection.execute(
        sa.select(sa.func.pg_get_serial_sequence(sa.cast(table.name, sa.Text), sa.cast(column.name, sa.Text)))
    ).scalar()
    if name is None:
        return None
    row = connection.exec_driver_sql(f"SELECT last_value, is_called FROM {name}").first()  # noqa: S608 - its own name
    return int(row[0]) if row and row[1] else None


def rows_of(folder: Path, dumped: TableDump) -> Iterator[dict[str, Any]]:
    """The rows of a dump, one at a time. Blocks. Raises OSError, EOFError, ValueError when the file is damaged."""
    decoder = msgspec.json.Decoder(list[Any])
    with gzip.open(folder / dumped.file, "rb") as lines:
        for line in lines:
            row = dict(zip(dumped.columns, decoder.decode(line), strict=True))
            for name in dumped.binary:
                if row[name] is not None:
                    row[name] = base64.b64decode(row[name])
            yield row


def load(
    connection: sa.Connection,
    tables: Sequence[sa.Table],
    dumps: Mapping[str, TableDump],
    folder: Path,
    edits: Mapping[str, Edit],
) -> None:
    """Make the tables hold what was dumped, and nothing else, inside the connection's transaction. Blocks."""
    for table in reversed(tables):
        connection.execute(sa.delete(table))
    for table in tables:
        dumped = dumps.get(table.name)
        if dumped is not None:
            _load_one(connection, table, dumped, folder, edits.get(table.name))


def _load_one(connection: sa.Connection, table: sa.Table, dumped: TableDump, folder: Path, edit: Edit | None) -> None:
    # The columns of then: a newer release may have more of them, which its migrations fill in afterwards.
    columns: list[Any] = [
        sa.column(name, table.c[name].type) if name in table.c else sa.column(name) for name in dumped.columns
    ]
    insert = sa.insert(sa.table(table.name, *columns))
    waiting: list[dict[str, Any]] = []
    for row in rows_of(folder, dumped):
        edited = row if edit is None else edit(row)
        if edited is not None:
            waiting.append(edited)
        if len(waiting) == ROWS:
            connection.execute(insert, waiting)
            waiting = []
    if waiting:
        connection.execute(insert, waiting)
    _go_on_counting(connection, table, dumped.sequence)


def _go_on_counting(connection: sa.Connection, table: sa.Table, sequence: int | None) -> None:
    """No number is given twice, also those of rows that were dropped before the backup."""
    column = table.autoincrement_column
    if column is None:
        return
    newest = max(connection.execute(sa.select(sa.func.max(column))).scalar() or 0, sequence or 0)
    if not newest:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(
            sa.select(
                sa.func.setval(
                    sa.func.pg_get_serial_sequence(sa.cast(table.name, sa.Text), sa.cast(column.name, sa.Text)), newest
                )
            )
        )
    elif table.dialect_options["sqlite"]["autoincrement"]:
        values = {"name": table.name, "newest": newest}
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :newest)"), values)
