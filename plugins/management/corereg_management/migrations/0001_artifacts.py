"""The first tables.

Revision: management0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "management0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "management_artifacts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("manifest_media_type", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("pulled_at", sa.BigInteger(), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("accessory_type", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True),
        sa.Column("annotations", sa.Text(), nullable=True),
        sa.Column("icon", sa.Text(), nullable=True),
        sa.Column("extra_attrs", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id", "digest"],
            ["manifests.repository_id", "manifests.digest"],
            name=op.f("fk_management_artifacts_repository_id_digest"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_management_artifacts")),
        sa.UniqueConstraint("repository_id", "digest", name=op.f("uq_management_artifacts_repository_id_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_management_artifacts_listed", "management_artifacts", ["repository_id", "listed", "pushed_at", "id"]
    )
    op.create_index("ix_management_artifacts_pushed", "management_artifacts", ["repository_id", "pushed_at", "id"])
    op.create_index(
        "ix_management_artifacts_subject", "management_artifacts", ["repository_id", "subject", "pushed_at", "id"]
    )
    op.create_index("ix_management_artifacts_icon", "management_artifacts", ["icon"])
    op.create_table(
        "management_references",
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("parent", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("child", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("descriptor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_management_references_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "parent", "child", name=op.f("pk_management_references")),
    )
    op.create_index("ix_management_references_child", "management_references", ["repository_id", "child"])
    op.create_table(
        "management_tags",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("digest", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("pulled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id", "name"],
            ["tags.repository_id", "tags.name"],
            name=op.f("fk_management_tags_repository_id_name"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_management_tags")),
        sa.UniqueConstraint("repository_id", "name", name=op.f("uq_management_tags_repository_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "management_repositories",
        sa.Column("repository_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("pull_count", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("counted", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_management_repositories_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_management_repositories")),
    )
