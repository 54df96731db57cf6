"""``corereg plugins``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from corereg.cli.context import NOT_FOUND, CommandContext, Failure
from corereg.cli.table import table
from corereg.cli.words import Words, near
from corereg.documentation import HookPage, hook_pages, settings_lines
from corereg.plugins import Enabled, Installed, PluginError, Plugins, installed, load


@click.group(cls=Words)
def plugins() -> None:
    """List plugins and hooks, or begin a plugin of your own."""


@plugins.command("list")
@click.pass_obj
def show(place: CommandContext) -> None:
    """List the plugins that are installed, and those that the configuration enables, in the order they are asked."""
    known = {each.name: each for each in installed()}
    try:
        found = place.plugins()
    except PluginError as error:
        click.echo(f"The plugins of the configuration do not fit: {error}", err=True)
        found = Plugins(())
    order = {each.name: str(at) for at, each in enumerate(found, 1)}
    rows = [
        (
            name,
            known[name].version if name in known else "",
            known[name].distribution if name in known else _origin(found, name),
            order.get(name, "-"),
            ", ".join(found.hooks_of(name)) if name in order else "",
        )
        for name in [*order, *(name for name in known if name not in order)]
    ]
    for line in table(("NAME", "VERSION", "FROM", "ORDER", "HOOKS"), rows):
        click.echo(line)
    if len(order) < len(rows):
        click.echo("Installed is not enabled: name it in plugins = [...] of the configuration.", err=True)


def _origin(found: Plugins, name: str) -> str:
    return next((_file(each) for each in found if each.name == name), "")


def _file(each: Enabled) -> str:
    owner = each.plugin if inspect.ismodule(each.plugin) else inspect.getmodule(type(each.plugin))
    return str(getattr(owner, "__file__", "") or "")


@plugins.command()
@click.argument("name")
@click.pass_obj
def info(place: CommandContext, name: str) -> None:
    """Show what is known of a plugin: where it is from, what it does, its hooks and settings."""
    known = {each.name: each for each in installed()}
    on = {each.name: each for each in place.plugins()}
    if name not in known and name not in on:
        raise _not_there(name, [*known, *on])
    each = on.get(name) or load([name], place.config.tables).enabled[0]
    for line in _facts(each, known.get(name), list(on)):
        click.echo(_plain(line))


def _facts(each: Enabled, known: Installed | None, order: list[str]) -> Iterator[str]:
    state = f"enabled, {order.index(each.name) + 1} of {len(order)}" if each.name in order else "not enabled"
    yield f"{each.name}  {f'{known.distribution} {known.version}' if known else _file(each)}  ({state})"
    text = inspect.getdoc(each.plugin) or ""
    if text:
        yield f"  {text.splitlines()[0]}"
    pages = {page.name: page for page in hook_pages()}
    yield ""
    yield "Hooks"
    rows = [(f"  {hook}", pages[hook].sentence) for hook in Plugins([each]).hooks_of(each.name)]
    yield from (f"{name:26}{sentence}" for name, sentence in rows)
    if each.settings is not None:
        yield ""
        yield f"Settings, [{each.name}]"
        yield from (f"  {line}" for line in settings_lines(each.name, type(each.settings)))


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _not_there(name: str, names: list[str]) -> Failure:
    return Failure(f"No plugin {name!r} is installed or enabled.{near(name, names)}", NOT_FOUND)


@plugins.command()
@click.argument("name", required=False)
def hooks(name: str | None) -> None:
    """List the hooks a plugin may implement, or tell all about one."""
    pages = {page.name: page for page in hook_pages()}
    if name is not None and name not in pages:
        raise Failure(f"There is no hook {name!r}.{near(name, pages) or _all(pages)}", NOT_FOUND)
    if name is not None:
        for line in _page(pages[name]):
            click.echo(_plain(line))
        return
    for line in table(("HOOK", "KIND", ""), [(page.call, page.kind, page.sentence) for page in pages.values()]):
        click.echo(_plain(line))
    click.echo("corereg plugins hooks NAME tells all about one.", err=True)


def _all(names: Iterable[str]) -> str:
    return f" There are: {', '.join(names)}."


def _page(page: HookPage) -> Iterator[str]:
    yield page.definition
    yield ""
    yield page.sentence
    yield ""
    yield from (f"{label + ':':8}{text}" for label, text in page.labels.items())
    yield ""
    yield from (f"    {line}".rstrip() for line in page.example.splitlines())


@plugins.command()
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["plugin", "policy"]),
    default="plugin",
    help="A distribution with settings and tests, or one file with one rule.  [default: plugin]",
)
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=".", metavar="DIR", help="Where.")
def new(name: str, kind: str, into: Path) -> None:
    """Begin a plugin of your own: files that work, pass their tests, and wait to be changed.

    \b
      corereg plugins new no_latest --kind policy
      corereg plugins new badges
    """  # noqa: D301 - click looks for the character, not for its name
    from corereg.cli.scaffold import Scaffold, ScaffoldError

    try:
        scaffold = Scaffold(name, kind)
        written = scaffold.write(into)
    except ScaffoldError as error:
        raise Failure(str(error), error.status) from error
    for path in written:
        click.echo(path)
    for line in scaffold.next_steps(into):
        click.echo(line, err=True)
