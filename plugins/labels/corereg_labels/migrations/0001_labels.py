"""The first tables.

Revision: labels0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "labels0001"
down_revision = None
branch_labels = None
depends_on = None

name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "labels_labels",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("namespace", name, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels_labels")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_labels_labels_project_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "labels_attachments",
        sa.Column("repository_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", name, nullable=False),
        sa.Column("label_id", serial, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_id"], ["labels_labels.id"], name=op.f("fk_labels_attachments_label_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id", "digest"],
            ["manifests.repository_id", "manifests.digest"],
            name=op.f("fk_labels_attachments_repository_id_digest"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", "label_id", name=op.f("pk_labels_attachments")),
    )
    op.create_index(op.f("ix_labels_attachments_label_id"), "labels_attachments", ["label_id"])
