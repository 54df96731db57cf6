"""The plugin's tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from corereg import Schema

# SQLite counts rows by itself only in a column spelled INTEGER.
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are microseconds since 1970, UTC; flags are 0 or 1.
users = sa.Table(
    "accounts_users",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    # The name as it is compared: without case (`corereg_accounts.names.key_of`).
    sa.Column("name_key", sa.Text, nullable=False, unique=True),
    sa.Column("email", sa.Text),
    sa.Column("realname", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("administrator", sa.Integer, nullable=False),
    sa.Column("disabled", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # an id is never given twice: who has a deleted user's name is somebody else
)

SCHEMA = Schema("accounts", metadata, Path(__file__).with_name("migrations"))
