"""The mark of a restore that is not done: while its table is there, nobody serves from this database."""

from __future__ import annotations

import sqlalchemy as sa

from corereg.store.database import Database, DatabaseUnavailable

_metadata = sa.MetaData()
MARK = sa.Table(
    "corereg_restore",
    _metadata,
    # Empty for the one row that says which backup it is; the others are blobs that lie under other keys than their own.
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("storage_key", sa.Text, nullable=False),
)


async def table_names(database: Database) -> list[str]:
    """Every table that is there."""
    found: list[str] = []
    await database.run_sync(lambda connection: found.extend(sa.inspect(connection).get_table_names()))
    return found


async def restoring(database: Database) -> str | None:
    """Which backup is half restored into this database, or None."""
    if MARK.name not in await table_names(database):
        return None
    row = await database.row(sa.select(MARK.c.storage_key).where(MARK.c.digest == ""))
    return row[0] if row else ""


async def check_finished(database: Database) -> None:
    """Raise DatabaseUnavailable, with what to do, when a restore was cut off."""
    backup = await restoring(database)
    if backup is not None:
        message = (
            f"a restore of the backup {backup} into {database.describe()} was cut off, so not everything is there: "
            "run the same `corereg restore` again, it goes on from there"
        )
        raise DatabaseUnavailable(message)
