"""``corereg keys``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from corereg.cli.context import CommandContext
from corereg.cli.table import table
from corereg.cli.words import Words

if TYPE_CHECKING:  # for the types alone: `corereg keys --help` must not wait for a database driver
    from corereg.registry import Registry


@click.group(cls=Words)
def keys() -> None:
    """List and rotate the keys that sign tokens."""


@keys.command("list")
@click.pass_obj
def show(place: CommandContext) -> None:
    """List the keys that tokens may be signed with, the newest last."""
    import sqlalchemy as sa

    from corereg.store.schema import signing_keys

    async def work(registry: Registry) -> list[tuple[str, str, str]]:
        found = await registry.database.rows(
            sa.select(signing_keys.c.id, signing_keys.c.created_at, signing_keys.c.retired_at).order_by(
                signing_keys.c.created_at, signing_keys.c.id
            )
        )
        kept = registry.tokens.believed_for
        return [(key, _day(made), _state(retired, kept)) for key, made, retired in found]

    for line in table(("KEY", "MADE", "STATE"), place.run(work)):
        click.echo(line)


@keys.command()
@click.option("--forget", is_flag=True, help="A key leaked: believe no token of the old ones any more.")
@click.pass_obj
def rotate(place: CommandContext, *, forget: bool) -> None:
    """Sign with a new key from now on. Tokens of the old one are believed until they end."""

    async def work(registry: Registry) -> str:
        return await registry.rotate_keys(forget=forget)

    click.echo(place.run(work))
    click.echo("Tokens are signed with this key from now on; servers that run take it up within seconds.", err=True)


def _day(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _state(retired: int | None, kept: int) -> str:
    if retired is None:
        return "signs"
    return f"retired, believed until {_day(retired + kept * 1_000_000)}"
