"""Commands that work on the local data, or on a registry over its API: one word for both, as a person sees it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from click.core import ParameterSource

from corereg.client.errors import ClientError
from corereg.client.output import Printer
from corereg.client.target import selected
from corereg.client.words import Words

_WORDS = "corereg.client.either.words"


def either(name: str, local: click.Group, distant: click.Group) -> Words:
    """A group with the commands of both; each works where ``--local`` and the contexts say."""
    words = Words(name, help=distant.help or local.help)
    for each in sorted({*local.commands, *distant.commands}):
        here, there = local.commands.get(each), distant.commands.get(each)
        if here is not None:
            words.add_command(Either(here, there))
        elif there is not None:
            words.add_command(there)
    return words


class Either(click.Command):
    """On a registry when one is selected; on the local data when none is, or `--local`, `--config`, `--data` say so.

    A command that only the local data knows is refused while a registry is selected: it would work somewhere else.
    """

    def __init__(self, local: click.Command, distant: click.Command | None) -> None:
        others = [] if distant is None else distant.params
        theirs = {parameter.name for parameter in others}
        own = [parameter for parameter in local.params if parameter.name not in theirs]
        here = click.Option(
            ["--local"], is_flag=True, expose_value=False, help="On this machine's data, not over the API."
        )
        super().__init__(local.name, params=[*own, here, *others], help=local.help)
        self.local = local
        self.distant = distant

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        chosen = self._chosen(ctx)
        known = {parameter.name for parameter in chosen.params}
        for parameter in self.params:
            given = (
                parameter.expose_value and ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
            )
            if given and parameter.name not in known:
                where = "over the API" if chosen is self.local else "with --local"
                message = f"{parameter.opts[0]} works only {where}"
                raise click.UsageError(message, ctx)
        # Options that say where (--local, --config, --data) have been heard; they mean nothing to the command itself.
        heard = [each for each in self.params if not each.expose_value and each.name not in known]
        chosen.params.extend(heard)
        try:
            with chosen.make_context(ctx.info_name, list(ctx.meta[_WORDS]), parent=ctx.parent) as own:
                return chosen.invoke(own)
        finally:
            del chosen.params[len(chosen.params) - len(heard) :]

    def _chosen(self, ctx: click.Context) -> click.Command:
        context = ctx.params.get("context_named")
        here = ctx.get_parameter_source("local") is ParameterSource.COMMANDLINE or (
            context is None
            and (getattr(ctx.obj, "file", None) is not None or "data" in getattr(ctx.obj, "overrides", {}))
        )
        if here or not _is_selected(context):
            return self.local
        if self.distant is None:
            message = (
                "this works on the local data alone, and a registry is selected; with --local it works on this machine"
            )
            raise click.UsageError(message, ctx)
        return self.distant


def _is_selected(context: str | None) -> bool:
    try:
        return selected(os.environ, context) is not None
    except ClientError as error:
        Printer().error(error)
        sys.exit(error.exit_status)
