"""Tables are made once: a registry of a test on a new SQLite file gets a copy of those that migrations made before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from corereg.store.database import Database
from corereg.store.schema import Schema, upgrade
from corereg.store.sqlite import SQLiteDatabase

Key = tuple[tuple[str, str], ...]
_made: dict[Key, sqlite3.Connection] = {}


def forget() -> None:
    """Let go of all copies."""
    for each in _made.values():
        each.close()
    _made.clear()


async def upgrade_or_copy(database: Database, schemas: Iterable[Schema]) -> None:
    """`upgrade`, in the place of which a new file is given the tables that it made in another with the same owners."""
    wanted = tuple(schemas)
    if not isinstance(database, SQLiteDatabase) or not all(each.migrations for each in wanted):
        await upgrade(database, wanted)
        return
    raw = database._raw_writer
    if raw.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        await upgrade(database, wanted)
        return
    key = tuple((each.name, str(each.migrations)) for each in wanted)
    if key in _made:
        _made[key].backup(raw)
        return
    await upgrade(database, wanted)
    made = sqlite3.connect(":memory:", check_same_thread=False)
    raw.backup(made)
    _made[key] = made
