"""The plugin's tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from corereg import Schema, tables

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are microseconds since 1970, UTC.
labels = sa.Table(
    "labels_labels",
    metadata,
    sa.Column("id", tables.Serial, primary_key=True, autoincrement=True),
    sa.Column("name", tables.Name, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("color", sa.Text, nullable=False),
    # The project it belongs to, 0 and "" for a global one: projects are another plugin's, and no key of ours.
    sa.Column("project_id", sa.BigInteger, nullable=False),
    sa.Column("namespace", tables.Name, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,  # an id is never given twice: what has a deleted label's name is another one
)

# Which artifact carries which label. It goes with the artifact, and with the label.
attachments = sa.Table(
    "labels_attachments",
    metadata,
    sa.Column("repository_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", tables.Name, primary_key=True),
    sa.Column("label_id", sa.ForeignKey(labels.c.id, ondelete="CASCADE"), primary_key=True, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(
        ["repository_id", "digest"],
        [tables.manifests.c.repository_id, tables.manifests.c.digest],
        ondelete="CASCADE",
    ),
)

SCHEMA = Schema("labels", metadata, Path(__file__).with_name("migrations"))
