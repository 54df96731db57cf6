"""Settings that change while the registry runs; manifests by digest, in whichever repository;
a manifest's tags by age; repositories by the first word of their name.

Revision: core0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "core0002"
down_revision = "core0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_index(op.f("ix_manifests_digest"), "manifests", ["digest"], unique=False)
    op.drop_index(op.f("ix_tags_digest"), table_name="tags")
    op.create_index(op.f("ix_tags_digest"), "tags", ["repository_id", "digest", "updated_at", "name"], unique=False)
    length = {"postgresql": "greatest(strpos(name, '/') - 1, 0)"}.get(
        op.get_bind().dialect.name, "instr(name, '/') - 1"
    )
    first_word = sa.text(f"substr(name, 1, {length})")
    op.create_index(op.f("ix_repositories_first_word"), "repositories", [first_word, "name"], unique=False)
