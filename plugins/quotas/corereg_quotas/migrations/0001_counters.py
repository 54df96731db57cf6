"""The first tables.

Revision: quotas0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "quotas0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quotas_counters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("hard", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("warned", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotas_counters")),
        sa.UniqueConstraint("namespace_id", name=op.f("uq_quotas_counters_namespace_id")),
        sa.UniqueConstraint("namespace", name=op.f("uq_quotas_counters_namespace")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "quotas_marks",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotas_marks")),
    )
