"""The core's tables, and how every owner of tables brings its own up to date.

Each owner (the core first, then each plugin in the order of the config) has one Alembic line and one version table,
``alembic_version_<name>``, so that a plugin can be taken away again. Foreign keys point from a plugin to the core only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec
import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext

from corereg.store.database import Database, DatabaseBusy, DatabaseError
from corereg.store.revisions import Version, note_breaks, script, version, version_table

log = logging.getLogger(__name__)

# Byte order on both engines: paging by name (`last`) compares the way the protocol does.
Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# SQLite counts rows by itself only in a column spelled INTEGER.
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Schema(msgspec.Struct, frozen=True):
    """The tables of one owner. `name` prefixes the tables of a plugin (``accounts_users``).

    `migrations` is a folder of Alembic revision files. None is for a policy of one file: its tables are made where they
    are missing, and never changed.
    """

    name: str
    metadata: sa.MetaData
    migrations: Path | None = None


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)


def first_word(dialect: str, name: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A repository's name up to its first slash, in the very words of the index below: no parameters. A name without a
    slash has none.
    """
    slash: sa.ColumnElement[str] = sa.literal_column("'/'")
    zero, one = sa.literal_column("0", sa.Integer), sa.literal_column("1", sa.Integer)
    length: sa.ColumnElement[int] = sa.func.instr(name, slash, type_=sa.Integer) - one
    if dialect == "postgresql":
        length = sa.func.greatest(sa.func.strpos(name, slash, type_=sa.Integer) - one, zero, type_=sa.Integer)
    return sa.func.substr(name, one, length, type_=sa.Text)


# A list for somebody who may see a thousand namespaces (`corereg.store.scopes`).
for dialect in ("sqlite", "postgresql"):
    sa.Index("ix_repositories_first_word", first_word(dialect, repositories.c.name), repositories.c.name).ddl_if(
        dialect=dialect
    )

ELSEWHERE = sa.text("substr(storage_key, 1, 8) = 'corereg/'")

# Every blob that storage holds for us, and under which key.
blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("digest", Name, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("storage_key", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # When somebody last pushed it once more, or gave it up: the collector leaves alone what was used of late.
    sa.Column("used_at", sa.BigInteger, nullable=False, server_default="0"),
    # Most keys are made of the digest; the others have to be found, too.
    sa.Index("ix_blobs_elsewhere", "storage_key", sqlite_where=ELSEWHERE, postgresql_where=ELSEWHERE),
)

# Which repository may serve which blob.
blob_links = sa.Table(
    "blob_links",
    metadata,
    sa.Column("repository_id", sa.ForeignKey(repositories.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("digest", sa.ForeignKey(blobs.c.digest), primary_key=True, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # When somebody last pushed it here once more, mounted it or asked (HEAD) whether it is here.
    sa.Column("used_at", sa.BigInteger, nullable=False, server_default="0"),
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("repository_id", sa.ForeignKey(repositories.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("digest", Name, primary_key=True),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("artifact_type", sa.Text),
    sa.Column("subject", Name),
    # How a referrers list shows it (JSON); only where there is a subject.
    sa.Column("descriptor", sa.Text),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    # When somebody last pushed it here once more, or asked (HEAD) whether it is here.
    sa.Column("used_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("ix_manifests_subject", "repository_id", "subject", "digest"),
    # Who else has it: what is counted once in a namespace, what a collector may take.
    sa.Index("ix_manifests_digest", "digest"),
)

# What a manifest needs: its config, layers and children, where they are kept here.
manifest_members = sa.Table(
    "manifest_members",
    metadata,
    sa.Column("repository_id", sa.BigInteger, primary_key=True),
    sa.Column("member", Name, primary_key=True),
    sa.Column("digest", Name, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(
        ["repository_id", "digest"], ["manifests.repository_id", "manifests.digest"], ondelete="CASCADE"
    ),
    sa.Index("ix_manifest_members_manifest", "repository_id", "digest"),
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("repository_id", sa.BigInteger, primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("digest", Name, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(
        ["repository_id", "digest"], ["manifests.repository_id", "manifests.digest"], ondelete="CASCADE"
    ),
    sa.Index("ix_tags_digest", "repository_id", "digest", "updated_at", "name"),  # those of a manifest, newest first
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("writer", sa.Text),
    sa.Column("leased_until", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False, index=True),
    # The digest that the request at work is about to commit: the collector keeps its hands off it.
    sa.Column("committing", Name, index=True),
    # All its bytes are durable under this digest and key; the rows could not be written, the request may be repeated.
    sa.Column("stored_digest", sa.Text),
    sa.Column("stored_key", sa.Text),
)

# Bytes that are being deleted; whoever comes with the same digest waits for that (`corereg.store.condemned`).
condemned = sa.Table(
    "condemned",
    metadata,
    sa.Column("storage_key", sa.Text, primary_key=True),
    sa.Column("digest", Name, index=True),
    sa.Column("leased_until", sa.BigInteger, nullable=False),
    # What a push may do with them once the lease has ended: 1 take them as they are, for a deletion of them failed;
    # 0 never that, for they are corrupt. Null is to delete them first.
    sa.Column("usable", sa.Integer),
)

# Until when nothing may be collected, and for whose sake (a backup that goes on).
collector_holds = sa.Table(
    "collector_holds",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("until", sa.BigInteger, nullable=False),
)

# What was deleted, until the collector takes it. What one deletion took together has one `batch`.
trash = sa.Table(
    "trash",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("batch", sa.Text, nullable=False, index=True),
    sa.Column("repository", Name, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("digest", Name, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("deleted_at", sa.BigInteger, nullable=False, index=True),
    sa.Column("deleted_by", sa.Text, nullable=False),
    # Blobs that a sparse manifest named and the repository did not serve; null is none.
    sa.Column("lacking", sa.Text),
    sa.Index("ix_trash_repository", "repository", "id"),
    sqlite_autoincrement=True,
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("serial", Serial, primary_key=True, autoincrement=True),
    sa.Column("time", sa.BigInteger, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("repository", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sqlite_autoincrement=True,  # a serial is never given twice, also after old rows were dropped
)

journal_cursors = sa.Table(
    "journal_cursors",
    metadata,
    sa.Column("reader", sa.Text, primary_key=True),
    sa.Column("serial", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("leased_until", sa.BigInteger, nullable=False),
)

# One row per subject whose rights ever changed: `serial` orders the changes, `revoked` is the serial of the last one
# after which credentials handed out before must not be believed at all.
rights_changes = sa.Table(
    "rights_changes",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("serial", sa.BigInteger, nullable=False, index=True),
    sa.Column("revoked", sa.BigInteger, nullable=False),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("private", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("retired_at", sa.BigInteger),
)

# Values (JSON) of settings that were changed while running; who declares one has its default.
settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

# What runs in the background (`corereg.store.jobs`): an execution is one start of a kind of job, made of tasks.
job_executions = sa.Table(
    "job_executions",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    # What of that kind it is for: the id of a policy, of a project; 0 for the whole registry.
    sa.Column("vendor_id", sa.BigInteger, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),
    sa.Column("operator", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("stopping", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Index("ix_job_executions_kind", "kind", "vendor_id", "id"),
    sa.Index("ix_job_executions_ended_at", "ended_at"),
    sqlite_autoincrement=True,  # an id in a link or a log never means another execution
)

# `due_at` is when somebody has to look at the task: a waiting one begins then, a running one's lease ends then, an
# ended one has none. `unique_key` is there while it has not ended: of equal ones there is one.
job_tasks = sa.Table(
    "job_tasks",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("execution_id", sa.ForeignKey(job_executions.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("unique_key", sa.Text, unique=True),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("due_at", sa.BigInteger, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("ended_at", sa.BigInteger),
    sa.Index("ix_job_tasks_kind", "kind", "status"),
    sqlite_autoincrement=True,
)

job_logs = sa.Table(
    "job_logs",
    metadata,
    sa.Column("task_id", sa.ForeignKey(job_tasks.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
)

job_schedules = sa.Table(
    "job_schedules",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("vendor_id", sa.BigInteger, nullable=False),
    # As it was chosen (Hourly, Daily, Weekly, Custom), and what it means: six fields, UTC. An empty cron never fires.
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("next_at", sa.BigInteger, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("kind", "vendor_id"),
    sqlite_autoincrement=True,
)

# Kinds of jobs that somebody paused.
job_pauses = sa.Table(
    "job_pauses",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("paused_at", sa.BigInteger, nullable=False),
)

# Every process that serves this registry, with a heartbeat.
nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.BigInteger, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("draining", sa.Integer, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
)

CORE = Schema("core", metadata, Path(__file__).with_name("migrations"))


LOCK_TIMEOUT = 3
"""Seconds a migration waits for a table: whoever comes after it waits behind it, so it rather begins anew."""
PAUSES = (1, 2, 4, 8, 8, 8, 8, 8, 8, 8)
"""Seconds between its tries."""


class SchemaTooNew(DatabaseError):
    """A later release has changed the tables in a way this one cannot work with."""


async def upgrade(database: Database, schemas: Iterable[Schema]) -> None:
    """Bring every owner's tables to its newest revision. Nodes starting together wait for one another.

    Where a later release has been before, its tables stay as they are. Raises SchemaTooNew when it broke with this one.
    """
    wanted = tuple(schemas)
    found = await versions(database, wanted)
    for each in found:
        if each.broken:
            message = (
                f"the tables of {each.name} stand at {each.current}, and what {each.broken} changed this release "
                f"(it knows them up to {each.head}) cannot work with: install the release that upgraded them"
            )
            raise SchemaTooNew(message)
        if each.newer:
            log.warning(
                "the tables of %s stand at %s, further than this release knows (%s); it works with them all the same",
                each.name,
                each.current,
                each.head,
            )
    if all(each.migrations for each in wanted) and all(each.is_current or each.newer for each in found):
        return
    for pause in PAUSES:
        try:
            await database.run_sync(lambda connection: _upgrade(connection, wanted))
        except DatabaseBusy as error:
            log.warning("the tables are in use; the upgrade is tried again in %d s: %s", pause, error)
            await anyio.sleep(pause)
        else:
            return
    await database.run_sync(lambda connection: _upgrade(connection, wanted))


async def upgrade_to(database: Database, schemas: Iterable[Schema], revisions: Mapping[str, str | None]) -> None:
    """Make every owner's tables as they were at these revisions: for rows that an older release wrote.

    Raises alembic's CommandError for a revision that nobody here knows.
    """
    wanted = tuple(schemas)
    await database.run_sync(lambda connection: _upgrade(connection, wanted, revisions))


async def versions(database: Database, schemas: Iterable[Schema]) -> list[Version]:
    """Where every owner's tables stand."""
    wanted = tuple(schemas)
    found: list[Version] = []
    await database.run_sync(
        lambda connection: found.extend(version(connection, each.name, each.migrations) for each in wanted)
    )
    return found


def _upgrade(
    connection: sa.Connection, schemas: Iterable[Schema], revisions: Mapping[str, str | None] | None = None
) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('corereg migrations', 0))")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        for schema in schemas:
            _upgrade_one(connection, schema, (revisions or {}).get(schema.name) or "heads")
    except BaseException:
        _end(connection, "rollback")
        raise
    _end(connection, "commit")


def _end(connection: sa.Connection, how: Literal["commit", "rollback"]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(how.upper())  # the BEGIN was ours, so SQLAlchemy knows of no transaction to end
    getattr(connection, how)()


def _upgrade_one(connection: sa.Connection, schema: Schema, revision: str) -> None:
    if schema.migrations is None:
        schema.metadata.create_all(connection, checkfirst=True)
        return
    if version(connection, schema.name, schema.migrations).newer:
        return
    known = script(schema.migrations)
    # Alembic's own transaction is off: all owners move together, in the one opened above.
    with EnvironmentContext(
        AlembicConfig(),
        known,
        fn=lambda rev, _: known._upgrade_revs(revision, rev),  # noqa: SLF001 - Alembic has no other door for programs
    ) as environment:
        environment.configure(
            connection=connection,
            target_metadata=schema.metadata,
            version_table=version_table(schema.name),
            render_as_batch=connection.dialect.name == "sqlite",
            transactional_ddl=False,
        )
        environment.run_migrations()
    note_breaks(connection, schema.name, known)
