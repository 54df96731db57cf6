"""The first tables.

Revision: projects0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "projects0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "projects_projects",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_name", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_projects_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_projects_projects_visibility_name"), "projects_projects", ["visibility", "name"])
    op.create_table(
        "projects_members",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("project_id", SERIAL, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("entity_name", NAME, nullable=False),
        sa.Column("role_id", sa.BigInteger(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects_members")),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects_projects.id"],
            name=op.f("fk_projects_members_project_id"),
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(
            "project_id", "subject", "pattern", name=op.f("uq_projects_members_project_id_subject_pattern")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_projects_members_subject"), "projects_members", ["subject"])
    op.create_index(op.f("ix_projects_members_role_id"), "projects_members", ["role_id"])
    op.create_table(
        "projects_roles",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects_roles")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_roles_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "projects_allowlists",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects_allowlists")),
        sa.UniqueConstraint("project_id", name=op.f("uq_projects_allowlists_project_id")),
        sqlite_autoincrement=True,
    )
