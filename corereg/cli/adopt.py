"""``corereg adopt``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from corereg.cli.context import PROBLEMS, CommandContext

if TYPE_CHECKING:  # for the types alone: `corereg adopt --help` must not wait for a database driver
    from corereg.care.adopt import Adopted
    from corereg.registry import Registry


@click.command()
@click.option("--repository", "repositories", multiple=True, metavar="NAME", help="This one alone; may be repeated.")
@click.option("--namespace", metavar="NAME", help="Where repositories go whose name is a single word: NAME/word.")
@click.option("--allow-missing", is_flag=True, help="Keep manifests whose layers or members are not there.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken over, and what is wrong with the rest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def adopt(
    place: CommandContext,
    *,
    repositories: tuple[str, ...],
    namespace: str | None,
    allow_missing: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take over what another registry stored: CNCF Distribution's folder or bucket, in place.

    Set [storage] url to that folder or bucket, stop the other registry, then run this, before `corereg serve` or beside
    it. No blob is copied or changed; manifests are read into the database. Run it again at any time: it goes on from
    where it was, and leaves alone what was pushed since. Exit status 9 when something had to be left out.
    """
    import msgspec

    from corereg.care.adopt import AdoptOptions
    from corereg.care.adopt import adopt as take_over
    from corereg.cli.progress import Progress

    options = AdoptOptions(repositories=repositories, namespace=namespace, allow_missing=allow_missing, dry_run=dry_run)
    with Progress(quiet=as_json) as work:

        async def run(registry: Registry) -> Adopted:
            return await take_over(registry.house, registry.session(), work, options)

        found = place.run(run)
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _tell(found, dry_run=dry_run)
    if found.counts:
        raise SystemExit(PROBLEMS)


def _tell(found: Adopted, *, dry_run: bool) -> None:
    would = "Would take over" if dry_run else "Took over"
    click.echo(
        f"{would} {found.manifests} manifests, {found.tags} tags and {found.blobs} blobs of {found.repositories} "
        f"repositories; {found.present} manifests were here before."
    )
    for kind, number in found.counts.items():
        click.echo(f"Problems: {number} x {kind}")
    if found.missing_namespaces:
        click.echo("These projects are not there, and nothing comes in without them. Create them, then adopt again:")
        for name in found.missing_namespaces:
            click.echo(f"  corereg project create {name}")
    if found.held_until is not None:
        day = datetime.fromtimestamp(found.held_until / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        click.echo(f"Not everything is taken over, so nothing is collected before {day}.")
