"""The plugin's tables: what lists are read from, kept beside the core's rows in the same transactions."""

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


def _repository() -> sa.ForeignKey:
    return sa.ForeignKey(tables.repositories.c.id, ondelete="CASCADE")


# One row for each manifest, which goes when the manifest does. Times are microseconds since 1970, flags 0 or 1.
artifacts = sa.Table(
    "management_artifacts",
    metadata,
    sa.Column("id", tables.Serial, primary_key=True, autoincrement=True),
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("digest", tables.Name, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    # What Harbor calls the media type: the config's; of an index its own.
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("manifest_media_type", sa.Text, nullable=False),
    sa.Column("artifact_type", sa.Text, nullable=False),
    sa.Column("config_digest", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("pushed_at", sa.BigInteger, nullable=False),
    sa.Column("pulled_at", sa.BigInteger),
    # Whether the usual list shows it: it is no accessory, and it has a tag or no index needs it.
    sa.Column("listed", sa.Integer, nullable=False),
    sa.Column("accessory_type", sa.Text),
    sa.Column("subject", tables.Name),
    sa.Column("annotations", sa.Text),
    sa.Column("icon", sa.Text),
    # JSON from the config; NULL until it was read.
    sa.Column("extra_attrs", sa.Text),
    sa.ForeignKeyConstraint(
        ["repository_id", "digest"],
        [tables.manifests.c.repository_id, tables.manifests.c.digest],
        ondelete="CASCADE",
    ),
    sa.UniqueConstraint("repository_id", "digest"),
    sa.Index("ix_management_artifacts_listed", "repository_id", "listed", "pushed_at", "id"),
    sa.Index("ix_management_artifacts_pushed", "repository_id", "pushed_at", "id"),
    sa.Index("ix_management_artifacts_subject", "repository_id", "subject", "pushed_at", "id"),
    sa.Index("ix_management_artifacts_icon", "icon"),
    sqlite_autoincrement=True,  # an id is never given twice: clients keep them
)

# What indexes are made of. No foreign key to the parent: when that goes, its children are looked at once more.
references = sa.Table(
    "management_references",
    metadata,
    sa.Column("repository_id", _repository(), primary_key=True),
    sa.Column("parent", tables.Name, primary_key=True),
    sa.Column("child", tables.Name, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    # The descriptor's platform, annotations and URLs (JSON).
    sa.Column("descriptor", sa.Text, nullable=False),
    sa.Index("ix_management_references_child", "repository_id", "child"),
)

tags = sa.Table(
    "management_tags",
    metadata,
    sa.Column("id", tables.Serial, primary_key=True, autoincrement=True),
    sa.Column("repository_id", sa.BigInteger, nullable=False),
    sa.Column("name", tables.Name, nullable=False),
    # Where it pointed when it was last seen here: when it moves on, that artifact is looked at once more.
    sa.Column("digest", tables.Name, nullable=False),
    sa.Column("pulled_at", sa.BigInteger),
    sa.ForeignKeyConstraint(
        ["repository_id", "name"], [tables.tags.c.repository_id, tables.tags.c.name], ondelete="CASCADE"
    ),
    sa.UniqueConstraint("repository_id", "name"),
    sqlite_autoincrement=True,
)

repositories = sa.Table(
    "management_repositories",
    metadata,
    sa.Column("repository_id", _repository(), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("pull_count", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    # The serial of the last event whose pulls are in the count: an event told twice counts once.
    sa.Column("counted", sa.BigInteger, nullable=False),
)

SCHEMA = Schema("management", metadata, Path(__file__).with_name("migrations"))
