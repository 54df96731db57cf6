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
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
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
    # Empty for people who prove elsewhere who they are.
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("administrator", sa.Integer, nullable=False),
    sa.Column("disabled", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    # The plugin that vouches for the user, and what it calls them; nothing for local users.
    sa.Column("source", sa.Text, nullable=False, server_default="accounts"),
    sa.Column("external", sa.Text),
    # Whether that plugin said, when the user last signed in, that they are an administrator.
    sa.Column("vouched_administrator", sa.Integer, nullable=False, server_default="0"),
    # The CLI secret, a second password for clients without a browser.
    sa.Column("secret_hash", sa.Text),
    sa.Index("uq_accounts_users_source_external", "source", "external", unique=True),
    sqlite_autoincrement=True,  # an id is never given twice: who has a deleted user's name is somebody else
)

groups = sa.Table(
    "accounts_groups",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False),
    # Harbor's numbers, and one more: `corereg_accounts.groups.Kind`.
    sa.Column("type", sa.Integer, nullable=False),
    sa.Column("dn", sa.Text, nullable=False),
    # What is unique among the groups of one type (`corereg_accounts.groups.key_of`).
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("type", "key"),
    sqlite_autoincrement=True,
)

members = sa.Table(
    "accounts_members",
    metadata,
    sa.Column("group_id", sa.ForeignKey(groups.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True, index=True),
)

# Browsers that are signed in. Of what their cookie holds, only the SHA-256 is here.
sessions = sa.Table(
    "accounts_sessions",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

# Personal access tokens; here too only the SHA-256 of the secret.
tokens = sa.Table(
    "accounts_tokens",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    # JSON, a list of texts; nothing: all that the user may do.
    sa.Column("scopes", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger),
    sa.Column("used_from", sa.Text),
    sa.UniqueConstraint("user_id", "name"),
    sqlite_autoincrement=True,
)

SCHEMA = Schema("accounts", metadata, Path(__file__).with_name("migrations"))
