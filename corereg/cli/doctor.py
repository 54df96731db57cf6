"""``corereg doctor``."""

from __future__ import annotations

import click

from corereg.cli.context import CommandContext


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings, for programs.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> None:
    """Look at everything the registry stands on, and say what to do. Changes nothing.

    Ends with 0 when all is well, with 1 when something should be done, with 2 when something does not work.
    """
    import msgspec

    from corereg.doctor import diagnose, worst

    place: CommandContext = context.obj
    told = place.loop(lambda: diagnose(place.config))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    else:
        for each in told:
            mark = each.status.upper() if each.status == "fail" else each.status
            click.echo(f"{mark:5} {each.check}: {each.found}")
            if each.do:
                click.echo(f"      do: {each.do}")
    context.exit(worst(told))
