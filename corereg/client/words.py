"""Groups of commands that suggest near names for a word they do not know."""

from __future__ import annotations

from collections.abc import Iterable

import click


class Words(click.Group):
    """A group inside `corereg` that suggests near names too."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a near name for an unknown one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown(ctx, args[0], self.commands)
        return super().resolve_command(ctx, args)


def unknown(ctx: click.Context, name: str, known: Iterable[str], more: str = "") -> click.UsageError:
    """``No such command 'serv'. Did you mean serve?``."""
    return click.UsageError(f"No such command {name!r}.{near(name, known) or more}", ctx)


def near(name: str, known: Iterable[str]) -> str:
    """`` Did you mean serve?``, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(name, sorted(known), 1, cutoff=0.7)
    return f" Did you mean {found[0]}?" if found else ""
