"""``corereg version``."""

from __future__ import annotations

import platform

import click


def number() -> str:
    """The version of corereg that is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("corereg")
    except PackageNotFoundError:  # run from a source tree that nobody installed
        return "unknown"


@click.command()
def version() -> None:
    """Show the versions of corereg, Python and the plugins that are installed."""
    from corereg.plugins import installed

    click.echo(f"corereg {number()}")
    click.echo(f"Python {platform.python_version()}")
    for each in installed():
        click.echo(f"{each.distribution} {each.version}")
