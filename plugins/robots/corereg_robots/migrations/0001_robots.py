"""The first tables.

Revision: robots0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "robots0001"
down_revision = None
branch_labels = None
depends_on = None

name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "robots_robots",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", name, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Integer(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
        sa.Column("previous_seal", sa.Text(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("creator_type", sa.Text(), nullable=False),
        sa.Column("creator_ref", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_address", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_robots_robots")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_robots_robots_project_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_robots_robots_namespace_name"), "robots_robots", ["namespace", "name"])
    op.create_table(
        "robots_permissions",
        sa.Column("robot_id", serial, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("namespace", name, nullable=False),
        sa.Column("namespace_id", sa.BigInteger(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["robot_id"], ["robots_robots.id"], name=op.f("fk_robots_permissions_robot_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("robot_id", "place", name=op.f("pk_robots_permissions")),
    )
    op.create_index(op.f("ix_robots_permissions_namespace_id"), "robots_permissions", ["namespace_id"])
