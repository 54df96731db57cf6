"""Groups, sessions of browsers, personal access tokens, CLI secrets, and people who prove elsewhere who they are.

Columns are added, the table of users is not made anew: its ids must go on where they are, past those of deleted users.

Revision: accounts0002
Revises: accounts0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "accounts0002"
down_revision = "accounts0001"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("accounts_users", sa.Column("source", sa.Text(), nullable=False, server_default="accounts"))
    op.add_column("accounts_users", sa.Column("external", sa.Text(), nullable=True))
    op.add_column(
        "accounts_users", sa.Column("vouched_administrator", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("accounts_users", sa.Column("secret_hash", sa.Text(), nullable=True))
    op.create_index("uq_accounts_users_source_external", "accounts_users", ["source", "external"], unique=True)
    op.create_table(
        "accounts_groups",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("dn", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_groups")),
        sa.UniqueConstraint("type", "key", name=op.f("uq_accounts_groups_type_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "accounts_members",
        sa.Column("group_id", SERIAL, nullable=False),
        sa.Column("user_id", SERIAL, nullable=False),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_accounts_members")),
        _belongs("accounts_members", "group_id", "accounts_groups"),
        _belongs("accounts_members", "user_id", "accounts_users"),
    )
    op.create_index(op.f("ix_accounts_members_user_id"), "accounts_members", ["user_id"])
    op.create_table(
        "accounts_sessions",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("user_id", SERIAL, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_sessions")),
        sa.UniqueConstraint("hash", name=op.f("uq_accounts_sessions_hash")),
        _belongs("accounts_sessions", "user_id", "accounts_users"),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_accounts_sessions_user_id"), "accounts_sessions", ["user_id"])
    op.create_table(
        "accounts_tokens",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("user_id", SERIAL, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_from", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_tokens")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_accounts_tokens_user_id_name")),
        _belongs("accounts_tokens", "user_id", "accounts_users"),
        sqlite_autoincrement=True,
    )


def _belongs(table: str, column: str, owner: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{owner}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE")
