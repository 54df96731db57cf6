"""``corereg config``."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from corereg.cli.context import PROBLEMS, CommandContext
from corereg.cli.words import Words
from corereg.config import Config, ConfigError, Problem


@click.group(cls=Words)
def config() -> None:
    """Check and print the configuration."""


@config.command()
@click.pass_obj
def check(place: CommandContext) -> None:
    """Look for mistakes: file, line, key and a near name of each. Exit status 9 when there are any."""
    problems = list(dict.fromkeys(_problems(place)))
    for each in problems:
        click.echo(each)
    if problems:
        click.echo(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}")
        raise SystemExit(PROBLEMS)
    click.echo(f"{place.config.file or 'no file, environment and defaults'}: no problems")


def _problems(place: CommandContext) -> Iterator[str]:
    from corereg.plugins import PluginError, default_names, load
    from corereg.registry import Registry
    from corereg.server.failure import ServerError
    from corereg.server.run import look

    try:
        found = place.config
    except ConfigError as error:
        yield from _lines(error)
        return
    sound = True
    for name in found.plugins if found.plugins is not None else default_names():
        try:
            load([name], found.tables)
        except ConfigError as error:
            sound = False
            yield from _lines(error)
        except PluginError as error:
            sound = False
            yield f"{_where(found)}{error}"
    try:
        found.check_tables(_names(found))
        look(found)
        if sound:
            Registry(found)
    except ConfigError as error:
        yield from _lines(error)
    except (PluginError, ServerError) as error:
        yield f"{_where(found)}{error}"


def _lines(error: ConfigError) -> Iterator[str]:
    problem: Problem
    for problem in error.problems:
        yield str(problem)


def _where(found: Config) -> str:
    """Where the plugins were named, so that the sentence has a place."""
    origin = found.origins.get(("plugins",))
    return f"{origin}  " if origin else ""


def _names(found: Config) -> list[str]:
    """The names that enabled plugins have, by the configuration alone."""
    from pathlib import Path

    from corereg.plugins import default_names

    names = found.plugins if found.plugins is not None else default_names()
    return [Path(name).stem if name.endswith(".py") else name for name in names]


@config.command("print")
@click.option("--origin", is_flag=True, help="Tell of each value where it was given.")
@click.pass_obj
def show(place: CommandContext, *, origin: bool) -> None:
    """Print what holds, as TOML. Secrets, and passwords in URLs, are shown as ***."""
    from corereg.plugins import PluginError

    settings: dict[str, type[msgspec.Struct]] = {}
    try:
        for each in place.plugins():
            if each.settings is not None:
                settings[each.name] = type(each.settings)
    except PluginError as error:
        click.echo(f"The plugins' own settings are shown without their defaults: {error}", err=True)
    click.echo(place.config.render(origin=origin, settings=settings), nl=False)
