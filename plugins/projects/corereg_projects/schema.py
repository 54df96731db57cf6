"""The plugin's tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from corereg import Schema, tables

Name, Serial = tables.Name, tables.Serial

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are microseconds since 1970, UTC. An id is never given twice: what has a deleted project's name is another one.
projects = sa.Table(
    "projects_projects",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", Name, nullable=False, unique=True),
    # public, internal or private (`corereg_projects.metadata`)
    sa.Column("visibility", sa.Text, nullable=False),
    # Who made it; 0 and empty where that was no user.
    sa.Column("owner_id", sa.BigInteger, nullable=False),
    sa.Column("owner_name", sa.Text, nullable=False),
    # The metadata beyond `public` and `visibility`: a JSON object of texts.
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Index(None, "visibility", "name"),
    sqlite_autoincrement=True,
)

members = sa.Table(
    "projects_members",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    # What `Identity.subject` or `Identity.groups` holds for the user or the group.
    sa.Column("subject", sa.Text, nullable=False, index=True),
    # user or group
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("entity_id", sa.BigInteger, nullable=False),
    sa.Column("entity_name", Name, nullable=False),
    # A number of Harbor's, or that of a custom role (`corereg_projects.roles.FIRST_CUSTOM` and more).
    sa.Column("role_id", sa.BigInteger, nullable=False, index=True),
    # Where in the project: empty for all of it, or `app/web`, or `app/*`.
    sa.Column("pattern", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("project_id", "subject", "pattern"),
    sqlite_autoincrement=True,
)

# Roles beyond Harbor's five.
roles = sa.Table(
    "projects_roles",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", Name, nullable=False, unique=True),
    # A JSON list of pairs: a resource and an action.
    sa.Column("permissions", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# One for each project, and one for the whole registry under the project number 0, which also says that the registry
# has had its first start.
allowlists = sa.Table(
    "projects_allowlists",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("project_id", sa.BigInteger, nullable=False, unique=True),
    # A JSON list of names, such as CVE-2019-10164.
    sa.Column("items", sa.Text, nullable=False),
    # Seconds since 1970, as Harbor counts; none: it does not expire.
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

SCHEMA = Schema("projects", metadata, Path(__file__).with_name("migrations"))
