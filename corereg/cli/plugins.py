"""``corereg plugins``."""

from __future__ import annotations

import click

from corereg.cli.context import CommandContext
from corereg.plugins import Plugins, default_names, load


def enabled(place: CommandContext) -> Plugins:
    """The plugins that the configuration enables."""
    config = place.config
    return load(config.plugins if config.plugins is not None else default_names(), config.tables)


@click.group()
def plugins() -> None:
    """List plugins and hooks, or begin a plugin of your own."""
