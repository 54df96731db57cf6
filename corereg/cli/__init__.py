"""The command line. ``corereg --help`` loads no server, no database driver and no plugin."""

from corereg.cli.context import CommandContext
from corereg.cli.root import cli, main

__all__ = ["CommandContext", "cli", "main"]
