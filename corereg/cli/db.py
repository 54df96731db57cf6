"""``corereg db``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from corereg.cli.context import NOT_FOUND, CommandContext, Failure
from corereg.cli.table import table
from corereg.cli.words import Words

if TYPE_CHECKING:  # for the types alone: `corereg --help` loads no database
    from corereg.store.database import Database
    from corereg.store.revisions import Version


@click.group(cls=Words)
def db() -> None:
    """Bring the database up to date, or show where it stands."""


@db.command()
@click.pass_obj
def current(place: CommandContext) -> None:
    """Show where the tables of the core and of each plugin stand. Changes nothing."""
    from corereg.registry import Registry
    from corereg.server.run import stand

    found: Sequence[Version] = place.loop(lambda: stand(Registry(place.config)))
    rows = [(each.name, each.current or "none", each.head or "none", _state(each)) for each in found]
    for line in table(("TABLES", "REVISION", "NEWEST", "STATE"), rows):
        click.echo(line)


def _state(version: Version) -> str:
    if version.is_current:
        return "current"
    if version.broken:
        return f"too new for this release, since {version.broken}"
    return "newer than this release" if version.newer else "to be upgraded"


@db.command()
@click.pass_obj
def upgrade(place: CommandContext) -> None:
    """Bring the tables of the core and of each plugin to their newest revision. `corereg serve` does so by itself."""
    from corereg.registry import Registry
    from corereg.store.schema import upgrade as bring_up
    from corereg.store.schema import versions

    async def work() -> list[str]:
        registry = Registry(place.config)
        before = {each.name: each.current for each in await registry.schema_versions()}
        await registry.database.open()
        try:
            await bring_up(registry.database, registry.schemas)
            after = await versions(registry.database, registry.schemas)
        finally:
            await registry.database.close()
        return [
            f"{each.name}: {each.current or 'no migrations'}, current"
            if before[each.name] == each.current
            else f"{each.name}: {before[each.name] or 'none'} -> {each.current}"
            for each in after
        ]

    for line in place.loop(work):
        click.echo(line)


@db.command()
@click.pass_obj
def check(place: CommandContext) -> None:
    """Look whether the database is as corereg needs it. Changes nothing; exit status 9 where something is wrong."""
    from corereg.cli.context import PROBLEMS
    from corereg.registry import Registry
    from corereg.store.inspection import Finding, inspect

    async def work() -> list[Finding]:
        config = place.config
        registry = Registry(config)
        _there(registry.database)
        await registry.database.open()
        try:
            return await inspect(registry.database, registry.schemas, config.database, config.server.workers)
        finally:
            await registry.database.close()

    found = place.loop(work)
    for line in table(("WHAT", "FOUND", ""), [(each.subject, each.found, each.problem and "!") for each in found]):
        click.echo(line.rstrip())
    problems = [each for each in found if each.problem]
    for each in problems:
        click.echo(f"! {each.subject}: {each.problem}", err=True)
    if problems:
        raise click.exceptions.Exit(PROBLEMS)


def _there(database: Database) -> None:
    """Who only looks makes no database. Raises Failure."""
    from corereg.store.engines import is_new

    if is_new(database):
        message = f"There is no database {database.describe()} yet; corereg serve makes it."
        raise Failure(message, NOT_FOUND)


@db.command()
@click.argument("target", metavar="TARGET_URL")
@click.pass_obj
def move(place: CommandContext, target: str) -> None:
    """Copy everything in the database to the empty one at TARGET_URL: from SQLite to PostgreSQL, or back.

    Stop the registry first. Nothing in the old database is changed; the new one gets all of it or nothing. A password
    is better given in PGPASSWORD or PGPASSFILE than in the URL, which other users of this machine can see.
    """
    from corereg.config import redact
    from corereg.registry import Registry
    from corereg.store.engines import connect
    from corereg.store.move import Moved
    from corereg.store.move import move as move_all

    async def work() -> tuple[str, list[Moved]]:
        registry = Registry(place.config)
        source, other = registry.database, connect(target, place.config.database)
        _there(source)
        await source.open()
        try:
            await other.open()
            try:
                return source.describe(), await move_all(source, other, registry.schemas, lambda *_: None)
            finally:
                await other.close()
        finally:
            await source.close()

    before, moved = place.loop(work)
    for line in table(("TABLE", "ROWS", "CHECKSUM"), [(each.table, str(each.rows), each.checksum) for each in moved]):
        click.echo(line)
    total = sum(each.rows for each in moved)
    click.echo(f"\n{total} rows copied; counts and checksums agree. {before} is as it was. Now configure:\n")
    click.echo(f'[database]\nurl = "{redact(target)}"')
