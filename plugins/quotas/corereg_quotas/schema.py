"""The plugin's tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from corereg import Schema, tables

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# One row for each namespace: what it may hold (-1: anything) and what it holds, in bytes. Times are microseconds since
# 1970, UTC; flags are 0 or 1.
counters = sa.Table(
    "quotas_counters",
    metadata,
    sa.Column("id", tables.Serial, primary_key=True, autoincrement=True),
    sa.Column("namespace_id", sa.BigInteger, nullable=False, unique=True),
    sa.Column("namespace", tables.Name, nullable=False, unique=True),
    sa.Column("hard", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    # Whether quota.warning was told since the namespace last had room.
    sa.Column("warned", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an id is never given twice
)

# One row: up to which event of the journal this plugin was there to count. What happened after it while the plugin was
# switched off is found by that at the next start.
marks = sa.Table(
    "quotas_marks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("serial", sa.BigInteger, nullable=False),
)

SCHEMA = Schema("quotas", metadata, Path(__file__).with_name("migrations"))
