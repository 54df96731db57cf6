"""``corereg backup`` and ``corereg restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from corereg.cli.context import PROBLEMS, CommandContext
from corereg.cli.words import Words

if TYPE_CHECKING:  # for the types alone: `corereg backup --help` must not wait for a database driver
    from corereg.care.backup import Backup
    from corereg.registry import Registry

FOLDER = click.Path(file_okay=False, path_type=Path)
THERE = click.Path(file_okay=False, exists=True, path_type=Path)
_id = click.option("--id", "name", metavar="ID", help="Which backup of the folder; the newest, else.")


@click.group(cls=Words)
def backup() -> None:
    """Make a backup while the registry goes on, or check one."""


@backup.command()
@click.argument("folder", type=FOLDER)
@click.pass_obj
def create(place: CommandContext, folder: Path) -> None:
    """Copy the database as it is now, and every blob it names, into FOLDER. The registry goes on meanwhile.

    Blobs that are in FOLDER already are not copied again. FOLDER holds signing keys and password hashes: files are for
    you alone. Exit status 9 when a blob was not there or not what it should be; the rest is in the backup.
    """
    from corereg.care.backup import create as make
    from corereg.cli.progress import Progress
    from corereg.client.output import size

    with Progress() as work:

        async def run(registry: Registry) -> Backup:
            return await make(registry.house, registry.session(), registry.schemas, folder, work)

        made = place.run(run)
    click.echo(f"{made.id}: {made.blobs} blobs ({size(made.size)}), {made.copied} of them copied now")
    if made.left_out:
        click.echo(f"Left out, as their plugins are not enabled: {', '.join(made.left_out)}", err=True)
    if made.damaged:
        click.echo(
            f"{len(made.damaged)} blobs are missing or damaged in the registry itself: run corereg fsck", err=True
        )
        raise SystemExit(PROBLEMS)


@backup.command()
@click.argument("folder", type=THERE)
@_id
@click.pass_obj
def verify(place: CommandContext, folder: Path, name: str | None) -> None:
    """Read all of a backup again, and compare it with its digests. Exit status 9 when something is wrong."""
    from corereg.care.backup import complete
    from corereg.care.backup import verify as check
    from corereg.cli.progress import Progress
    from corereg.client.output import size

    with Progress() as work:
        found, problems = place.loop(lambda: check(folder, work, name))
    for cut_off in complete(folder)[1]:
        click.echo(f"Incomplete, and not looked at: {cut_off}", err=True)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(PROBLEMS)
    click.echo(f"{found.id} of {found.created_at} is whole: {found.blobs} blobs ({size(found.size)})")


@click.command()
@click.argument("folder", type=THERE)
@_id
@click.option("--new-keys", is_flag=True, help="Leave the keys behind that sign tokens: no token of before holds.")
@click.pass_obj
def restore(place: CommandContext, folder: Path, name: str | None, *, new_keys: bool) -> None:
    """Bring a backup in FOLDER into the database and the storage that the configuration names; both must be empty.

    They may be of another kind than those of the backup. A restore that was cut off goes on with the same command;
    until then nothing is served from there.
    """
    from corereg.care.files import make_folder
    from corereg.care.restore import restore as bring_back
    from corereg.cli.progress import Progress
    from corereg.registry import Registry

    with Progress() as work:

        async def run() -> Backup:
            registry = Registry(place.config)
            make_folder(place.config.data)
            await registry.database.open()
            try:
                await registry.storage.open()
                try:
                    return await bring_back(
                        folder,
                        registry.database,
                        registry.storage,
                        registry.schemas,
                        work,
                        name=name,
                        new_keys=new_keys,
                    )
                finally:
                    await registry.storage.close()
            finally:
                await registry.database.close()

        made = place.loop(run)
    click.echo(f"{made.id} of {made.created_at} is restored: {made.blobs} blobs. What happened since is undone.")
    if made.damaged:
        click.echo(f"{len(made.damaged)} blobs are not in it; corereg fsck tells which images lack them", err=True)
