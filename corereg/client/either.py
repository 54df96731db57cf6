"""Commands that work on the local data, or on a registry over its API: one word for both, as a person sees it."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from corereg.client.target import selected
from corereg.client.words import Words

_GIVEN = {ParameterSource.COMMANDLINE, ParameterSource.PROMPT}


def either(name: str, local: click.Group, distant: click.Group) -> Words:
    """A group with the commands of both; each works where ``--local`` and the contexts say."""
    words = Words(name, help=local.help, short_help=local.short_help)
    for each in sorted({*local.commands, *distant.commands}):
        here, there = local.commands.get(each), distant.commands.get(each)
        if here is not None:
            words.add_command(Either(here, there))
        elif there is not None:
            words.add_command(there)
    return words


class Either(click.Command):
    """On a registry when one is selected; on the local data when none is, or ``--local``, ``--config``, ``--data`` say so.

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

    def invoke(self, ctx: click.Context) -> Any:
        chosen = self.local if self._is_local(ctx) else self.distant
        if chosen is None:
            message = (
                "this works on the local data alone, and a registry is selected; add --local if you mean this machine"
            )
            raise click.UsageError(message, ctx)
        known = {parameter.name for parameter in chosen.params} | {"local"}
        for parameter in self.params:
            source = ctx.get_parameter_source(str(parameter.name))
            if parameter.name not in known and parameter.expose_value and source in _GIVEN:
                where = "over the API" if chosen is self.local else "with --local"
                message = f"{parameter.opts[0]} works only {where}"
                raise click.UsageError(message, ctx)
        given = {str(name): ctx.params.get(str(name)) for name in known if name != "local"}
        if chosen is self.local:
            given = {str(each.name): _again(ctx, each, given[str(each.name)]) for each in self.local.params}
        assert chosen.callback is not None  # noqa: S101 - a command without one is a group
        return ctx.invoke(chosen.callback, **given)

    def _is_local(self, ctx: click.Context) -> bool:
        place = ctx.obj
        if ctx.get_parameter_source("local") in _GIVEN:
            return True
        if ctx.params.get("context_named") is None and (
            getattr(place, "file", None) is not None or getattr(place, "overrides", {}).get("data") is not None
        ):
            return True
        return selected(os.environ, ctx.params.get("context_named")) is None


def _again(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A value, as the local command's own parameter reads it."""
    source = ctx.get_parameter_source(str(parameter.name))
    if source not in _GIVEN:
        value = parameter.get_default(ctx)
    return parameter.process_value(ctx, value)
