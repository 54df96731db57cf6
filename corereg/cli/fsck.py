"""``corereg fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from corereg.cli.context import PROBLEMS, CommandContext

if TYPE_CHECKING:  # for the types alone: `corereg fsck --help` must not wait for a database driver
    from corereg.care.fsck import Checked
    from corereg.registry import Registry


def _rate(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    from corereg.config.units import parse_size

    if value is None:
        return None
    try:
        found = parse_size(value.removesuffix("/s"))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if found <= 0:
        message = "a rate is more than nothing"
        raise click.BadParameter(message)
    return found


@click.command()
@click.option("--rehash", is_flag=True, help="Read every blob and compute its digest again.")
@click.option("--rate", metavar="SIZE/s", callback=_rate, help="Read no faster than that, such as 50MB/s.")
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def fsck(place: CommandContext, *, rehash: bool, rate: int | None, repair: bool, as_json: bool) -> None:
    """Check that everything is there, and is what it says: rows against bytes. A server may run meanwhile.

    Without --repair nothing is changed. With it the rows of vanished blobs are dropped (you are told which images that
    breaks, and pushing them again makes them whole), wrong sizes corrected, missing links made again; corrupt bytes go
    to `quarantine` in the data folder. Exit status 0 when all is well or mended, 9 when problems are left.
    """
    import msgspec

    from corereg.care.fsck import FsckOptions
    from corereg.care.fsck import fsck as look
    from corereg.cli.progress import Progress

    options = FsckOptions(rehash=rehash, rate=rate, repair=repair, quarantine=place.config.data / "quarantine")
    with Progress(quiet=as_json) as work:

        async def run(registry: Registry) -> Checked:
            return await look(registry.house, registry.session(), registry.schemas, work, options)

        found: Any = place.run(run)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _tell(found)
    if found.unrepaired:
        raise SystemExit(PROBLEMS)


def _tell(found: Checked) -> None:
    from corereg.client.output import size

    again = f", {found.rehashed} of them read again" if found.rehashed else ""
    click.echo(f"Looked at {found.blobs} blobs ({size(found.size)}){again} and {found.manifests} manifests.")
    for name, number in found.notes.items():
        if number:
            click.echo(f"Note: {number} x {name}")
    for name, number in found.problems.items():
        click.echo(f"Problems: {number} x {name}")
    total = sum(found.problems.values())
    if total != found.unrepaired:
        click.echo(f"{total - found.unrepaired} of {total} problems were mended.")
    click.echo("All is well." if not found.unrepaired else f"{found.unrepaired} problems are left.")
