"""The ``corereg`` command: which words it knows, and where they are loaded from when they are used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from corereg.cli.context import CommandContext, told, unprintable
from corereg.cli.words import unknown

BUILT_IN = {
    "adopt": "Take over the folder or bucket of another registry, in place.",
    "backup": "Make a backup while the registry goes on, or check one.",
    "completion": "Print what completes commands in a shell.",
    "config": "Check and print the configuration.",
    "context": "List and choose the registries to work with.",
    "db": "Bring the database up to date, or show where it stands.",
    "doctor": "Look at everything the registry stands on, and say what to do.",
    "fsck": "Check that everything is there, and is what it says.",
    "keys": "List and rotate the keys that sign tokens.",
    "login": "Sign in to a registry, and work with it from now on.",
    "logout": "Forget what a registry was signed in to with.",
    "plugins": "List plugins and hooks, or begin a plugin of your own.",
    "restore": "Bring a backup into an empty database and an empty storage.",
    "serve": "Run the registry.",
    "version": "Show the versions of corereg, Python and the plugins.",
    "whoami": "Show who is signed in, and where.",
}
"""Each is a command of that name, in a module here of that name or of `_MODULES`."""

HELP = 90
"""Characters of the sentence that tells what a plugin's command does."""

_MODULES = {**dict.fromkeys(("context", "login", "logout", "whoami"), "signin"), "restore": "backup"}


class Root(click.Group):
    """The words above, and those of the enabled plugins, which are loaded only when they are needed."""

    _plugins: dict[str, click.Command] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """For ``--help`` and the shell's completion."""
        return sorted({*BUILT_IN, *self._plugin_commands(ctx, strict=False)})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in BUILT_IN:
            module = import_module(f"corereg.cli.{_MODULES.get(name, name)}")
            command: click.Command | None = getattr(module, name)
        else:
            command = self._plugin_commands(ctx, strict=True).get(name)
        return None if command is None else with_places(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a near name for an unknown one."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            raise unknown(ctx, name, {*BUILT_IN, *self._plugin_commands(ctx, strict=False)}, _disabled(ctx))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with told():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The built-in words without loading what they do, then the plugins'."""
        with formatter.section("Commands"):
            formatter.write_dl(list(BUILT_IN.items()))
        added = self._plugin_commands(ctx, strict=False)
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(
                    [(name, command.get_short_help_str(HELP)) for name, command in sorted(added.items())]
                )

    def _plugin_commands(self, ctx: click.Context, *, strict: bool) -> dict[str, click.Command]:
        """By name. Unless `strict`, plugins that fail bring none: help is for whoever mends the configuration, too."""
        if self._plugins is None:
            try:
                commands = (ctx.find_object(CommandContext) or CommandContext()).plugins().commands()
            except Exception as error:
                if strict:
                    raise
                click.echo(f"The commands of plugins are missing here: {error}", err=True)
                commands = []
            self._plugins = {str(command.name): command for command in commands if command.name not in BUILT_IN}
        return self._plugins


def _disabled(ctx: click.Context) -> str:
    """Which plugins might bring a command that is missed."""
    from corereg.plugins import installed

    on = {each.name for each in (ctx.find_object(CommandContext) or CommandContext()).plugins()}
    off = [each.name for each in installed() if each.name not in on]
    return f" These plugins are installed, but not enabled: {', '.join(off)}." if off else ""


def _remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is None:
        return
    place = ctx.find_object(CommandContext)
    if place is None:
        place = ctx.ensure_object(CommandContext)
    place.__dict__.pop("config", None)
    if parameter.name == "config":
        place.file = value
    else:
        place.overrides["data"] = value


def _places() -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="The configuration; else COREREG_CONFIG, else ./corereg.toml where there is one.",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--data"],
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="The data folder.",
            expose_value=False,
            callback=_remember,
        ),
    ]


def with_places(command: click.Command) -> click.Command:
    """The command, and every one inside it, with ``--config`` and ``--data`` where it has no such option itself.

    Commands that only speak to a registry (`RemoteCommand`) have no use for them.
    """
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_places(inner)
        return command
    if not getattr(command, "on_server", True):
        return command
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(option for option in _places() if option.opts[0] not in taken)
    return command


class Version(click.Option):
    """``--version``; the number is looked up when it is asked for."""

    def __init__(self) -> None:
        super().__init__(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
        )


def _version(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        from corereg.cli.version import number

        click.echo(f"corereg {number()}")
        ctx.exit()


cli = Root(
    "corereg",
    help=(
        "A container registry that a company can shape.\n\n"
        "\b\n"
        "  corereg serve                          a registry on http://127.0.0.1:8080\n"
        "  corereg serve --config corereg.toml    with a configuration\n"
        "  corereg config print --origin          what holds, and where it was given"
    ),
    params=[*_places(), Version()],
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110, "obj": None},
)


def main() -> None:
    """The command as it is installed."""
    try:
        cli.main(prog_name="corereg", obj=CommandContext())
    except OSError as error:  # of --help and --version, which are printed before any command begins
        failure = unprintable(error)
        failure.show()
        raise SystemExit(failure.exit_code) from error
