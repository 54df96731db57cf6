"""Whether a database is as corereg needs it: it answers, quickly; tables are as the code says; names sort as bytes."""

from __future__ import annotations

import asyncio
import statistics
import time
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from corereg.config import DatabaseConfig
from corereg.store.database import Database, DatabaseError
from corereg.store.move import whole
from corereg.store.schema import CORE, Schema, versions

OLDEST = 130000
"""PostgreSQL 13, the oldest that its makers still mend."""
ROUNDS = 20


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `problem` says what to do about it, where that is needed."""

    subject: str
    found: str
    problem: str = ""


async def inspect(
    database: Database, schemas: Sequence[Schema], options: DatabaseConfig, workers: int
) -> list[Finding]:
    """Look at an open database. Changes nothing; DatabaseError when it does not answer at all."""
    findings = [await _latency(database)]
    if database.dialect == "postgresql":
        findings += await _server(database, options, workers)
        findings.append(await _order(database, schemas))
    else:
        findings += await _file(database)
    found = await versions(database, schemas)
    for each in found:
        text = each.current or ("made where missing" if each.head is None else "none")
        problem = "" if each.is_current or each.newer else "run corereg db upgrade"
        if each.newer:
            text = f"{text}, newer than {each.head}, which this release knows"
            problem = f"{each.broken} broke with this release: install a later one" if each.broken else ""
        findings.append(Finding(f"tables of {each.name}", text, problem))
    if all(each.is_current for each in found):
        findings.append(await _differences(database, schemas))
    return findings


async def _latency(database: Database) -> Finding:
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await database.rows(sa.text("SELECT 1"))
        taken.append(time.perf_counter() - begun)
    milliseconds = statistics.median(taken) * 1000
    slow = "a push asks a dozen times: bring it nearer to the registry" if milliseconds > 10 else ""
    return Finding("an answer takes", f"{milliseconds:.2f} ms", slow)


async def _value(database: Database, sql: str) -> str:
    row = await database.row(sa.text(sql))
    return "" if row is None else str(row[0])


async def _server(database: Database, options: DatabaseConfig, workers: int) -> list[Finding]:
    version = int(await _value(database, "SHOW server_version_num"))
    encoding = await _value(database, "SHOW server_encoding")
    standby = await _value(database, "SELECT pg_is_in_recovery()") == "True"
    findings = [
        Finding(
            "server",
            f"PostgreSQL {await _value(database, 'SHOW server_version')}{', a standby' if standby else ''}",
            "a standby takes no writes: name the primary"
            if standby
            else "too old: corereg needs 13 or newer"
            if version < OLDEST
            else "",
        ),
        Finding(
            "encoding", encoding, "" if encoding == "UTF8" else "names need UTF8: CREATE DATABASE ... ENCODING 'UTF8'"
        ),
        await _connections(database, options, workers),
    ]
    durable = await _value(database, "SHOW fsync"), await _value(database, "SHOW synchronous_commit")
    problem = "" if durable[0] == "on" and durable[1] != "off" else "what was acknowledged may be lost: switch both on"
    return [*findings, Finding("durability", "fsync = {}, synchronous_commit = {}".format(*durable), problem)]


async def _connections(database: Database, options: DatabaseConfig, workers: int) -> Finding:
    """Whether the pool of one process can be filled, and what the server has for all of them."""
    most = int(await _value(database, "SHOW max_connections"))
    reserved = int(await _value(database, "SHOW superuser_reserved_connections"))
    wanted = workers * (options.pool_size + options.pool_overflow)
    text = f"{wanted} at most from this node, {most - reserved} on the server"
    try:
        pause = sa.text("SELECT pg_sleep(0.1)")
        await asyncio.gather(*(database.rows(pause) for _ in range(options.pool_size)))
    except DatabaseError as error:
        return Finding("connections", text, f"{options.pool_size} at once were too many: {error}")
    short = f"lower database.pool_size, or raise max_connections above {wanted} for each node"
    return Finding("connections", text, short if wanted > most - reserved else "")


async def _order(database: Database, schemas: Sequence[Schema]) -> Finding:
    """Names are compared byte by byte, whatever the database's own collation."""
    collated = sa.text(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND collation_name = 'C'"
    )
    there = {(row[0], row[1]) for row in await database.rows(collated)}
    wanted = {
        (table.name, column.name)
        for table in whole(schemas).tables.values()
        for column in table.columns
        if getattr(column.type.dialect_impl(_dialect), "collation", None) == "C"
    }
    known = {row[0] for row in await database.rows(sa.text("SELECT tablename FROM pg_tables"))}
    wrong = sorted(".".join(each) for each in wanted - there if each[0] in known)
    default = await _value(database, "SELECT datcollate FROM pg_database WHERE datname = current_database()")
    return Finding(
        "order of names",
        f"bytes (the database's own collation is {default})",
        f"these columns have another collation: {', '.join(wrong)}" if wrong else "",
    )


_dialect: sa.Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy gives it no types


async def _file(database: Database) -> list[Finding]:
    sound = [str(row[0]) for row in await database.rows(sa.text("PRAGMA quick_check(5)"))]
    keys = await database.rows(sa.text("PRAGMA foreign_key_check"))
    torn = "" if sound == ["ok"] else f"the file is damaged ({'; '.join(sound)}): restore a backup"
    lost = f"{len(keys)} rows point to rows that are gone, in {keys[0][0]} first" if keys else ""
    return [
        Finding("engine", f"SQLite {await _value(database, 'SELECT sqlite_version()')}"),
        Finding("file", "whole" if not torn else "damaged", torn),
        Finding("foreign keys", "kept" if not lost else "broken", lost),
    ]


async def _differences(database: Database, schemas: Sequence[Schema]) -> Finding:
    found: list[Any] = []

    def compare(connection: sa.Connection) -> None:
        for each in schemas:
            found.extend(differences(connection, each))

    await database.run_sync(compare)
    if not found:
        return Finding("tables, indexes, keys", "as this release makes them")
    return Finding("tables, indexes, keys", f"{len(found)} differences", "; ".join(str(each) for each in found[:5]))


def differences(connection: sa.Connection, schema: Schema) -> list[Any]:
    """What Alembic would still have to do to make the database what the owner's metadata says."""
    known = whole({each.name: each for each in (CORE, schema)}.values())
    # Those of one dialect hold expressions, which SQLite cannot read back: of them the names alone are compared.
    special = {
        str(index.name)
        for table in schema.metadata.tables.values()
        for index in table.indexes
        if getattr(index, "_ddl_if", None) is not None
    }

    def ours(_object: object, name: str | None, kind: str, _reflected: object, _other: object) -> bool:
        if kind == "index":
            return name not in special
        return kind != "table" or name in schema.metadata.tables or str(name).startswith(f"{schema.name}_")

    options = {"include_object": ours, "compare_type": True, "compare_server_default": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*expression-based index")
        found = list(compare_metadata(MigrationContext.configure(connection, opts=options), known))
    catalog = {
        "postgresql": "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()",
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index'",
    }
    there = set(connection.scalars(sa.text(catalog[connection.dialect.name])))
    return [*found, *(("missing_index", name) for name in sorted(special - there))]
