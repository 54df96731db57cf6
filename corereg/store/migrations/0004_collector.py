"""The collector: when blobs were used, what is being committed and what deleted; what was deleted and can come back.

Revision: core0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core0004"
down_revision = "core0003"
branch_labels = None
depends_on = None

_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_elsewhere = sa.text("substr(storage_key, 1, 8) = 'corereg/'")


def upgrade() -> None:
    for table in ("blobs", "blob_links"):
        op.add_column(table, sa.Column("used_at", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(
        op.f("ix_blobs_elsewhere"), "blobs", ["storage_key"], sqlite_where=_elsewhere, postgresql_where=_elsewhere
    )
    op.add_column("uploads", sa.Column("committing", _name, nullable=True))
    op.create_index(op.f("ix_uploads_committing"), "uploads", ["committing"])
    op.create_table(
        "condemned",
        sa.Column("storage_key", sa.Text(), nullable=False),
        sa.Column("digest", _name, nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("storage_key", name=op.f("pk_condemned")),
    )
    op.create_index(op.f("ix_condemned_digest"), "condemned", ["digest"])
    op.create_table(
        "collector_holds",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_collector_holds")),
    )
    op.create_table(
        "trash",
        sa.Column("id", _serial, autoincrement=True, nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("repository", _name, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", _name, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trash")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_trash_batch"), "trash", ["batch"])
    op.create_index(op.f("ix_trash_repository"), "trash", ["repository", "id"])
    op.create_index(op.f("ix_trash_deleted_at"), "trash", ["deleted_at"])
