"""``corereg db``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from corereg.cli.context import CommandContext
from corereg.cli.table import table
from corereg.cli.words import Words

if TYPE_CHECKING:  # for the type alone: `corereg --help` loads no database
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
