"""How far one owner's tables are, and whether this release can work with tables that are further than it knows.

Migrations add: a node of the release before goes on serving beside the new one, and one that is started late serves
too, with a warning. A migration that takes away what the release before needs says so, ``breaks = True`` at the top of
its file; then that release refuses to start on those tables. Which revision broke is noted in the table
``schema_breaks``, which is made when the first one does.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

breaks = sa.Table(
    "schema_breaks",
    sa.MetaData(),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("revision", sa.Text, nullable=False),
)


class Version(msgspec.Struct, frozen=True):
    """Where one owner's tables stand: the applied revision (None: nothing yet) and the newest one known here.

    `newer`: a later release has brought them further than this one knows. `broken`: the revision in which it took
    away what this one needs, if it did.
    """

    name: str
    current: str | None
    head: str | None
    newer: bool = False
    broken: str | None = None

    @property
    def is_current(self) -> bool:
        return self.current == self.head


def script(migrations: Path) -> ScriptDirectory:
    """The revisions in a folder."""
    return ScriptDirectory(str(migrations), version_locations=[str(migrations)])


def version_table(owner: str) -> str:
    """Where Alembic notes an owner's revision."""
    return f"alembic_version_{owner}"


def version(connection: sa.Connection, owner: str, migrations: Path | None) -> Version:
    """Where the owner's tables stand. Changes nothing."""
    if migrations is None:
        return Version(owner, None, None)
    context = MigrationContext.configure(connection, opts={"version_table": version_table(owner)})
    current, known = context.get_current_revision(), script(migrations)
    revisions = {each.revision for each in known.walk_revisions()}
    newer = current is not None and current not in revisions
    broken = _broken(connection, owner) if newer else None
    return Version(owner, current, known.get_current_head(), newer, None if broken in revisions else broken)


def _broken(connection: sa.Connection, owner: str) -> str | None:
    if not sa.inspect(connection).has_table(breaks.name):
        return None
    found: str | None = connection.scalar(sa.select(breaks.c.revision).where(breaks.c.owner == owner))
    return found


def note_breaks(connection: sa.Connection, owner: str, known: ScriptDirectory) -> None:
    """Note the newest revision that breaks older releases, inside the transaction that applied it."""
    newest = next((each.revision for each in known.walk_revisions() if getattr(each.module, "breaks", False)), None)
    if newest is None or _broken(connection, owner) == newest:
        return
    breaks.create(connection, checkfirst=True)
    connection.execute(sa.delete(breaks).where(breaks.c.owner == owner))
    connection.execute(sa.insert(breaks).values(owner=owner, revision=newest))
