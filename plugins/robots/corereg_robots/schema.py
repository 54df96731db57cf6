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

# Times are microseconds since 1970, UTC; flags are 0 or 1.
robots = sa.Table(
    "robots_robots",
    metadata,
    sa.Column("id", tables.Serial, primary_key=True, autoincrement=True),
    sa.Column("name", tables.Name, nullable=False),
    # The project it belongs to, 0 and "" for a robot of the system: projects are another plugin's, and no key of ours.
    sa.Column("project_id", sa.BigInteger, nullable=False),
    sa.Column("namespace", tables.Name, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("disabled", sa.Integer, nullable=False),
    # In days, and in seconds since 1970 (2**31 days do not fit into microseconds); -1 is never.
    sa.Column("duration", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    # How a secret is kept: `corereg_robots.secret`. The previous one works until `previous_until`.
    sa.Column("seal", sa.Text, nullable=False),
    sa.Column("previous_seal", sa.Text),
    sa.Column("previous_until", sa.BigInteger),
    sa.Column("creator_type", sa.Text, nullable=False),
    sa.Column("creator_ref", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger),
    sa.Column("last_used_address", sa.Text),
    sa.UniqueConstraint("project_id", "name"),
    sa.Index("ix_robots_robots_namespace_name", "namespace", "name"),
    sqlite_autoincrement=True,  # an id is never given twice: who has a deleted robot's name is another one
)

# One row for each place that a robot has rights in; `place` keeps their order. `access` is JSON.
permissions = sa.Table(
    "robots_permissions",
    metadata,
    sa.Column("robot_id", sa.ForeignKey(robots.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("namespace", tables.Name, nullable=False),
    # Of the project that `namespace` names, else 0.
    sa.Column("namespace_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("access", sa.Text, nullable=False),
)

SCHEMA = Schema("robots", metadata, Path(__file__).with_name("migrations"))
