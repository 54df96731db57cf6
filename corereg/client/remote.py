"""What plugins' commands are made of that speak to a registry: ``from corereg import remote``.

    @remote.group("label")
    def label_group() -> None:
        "Labels on artifacts."

    @remote.command(label_group, "list", columns=LABELS)
    @remote.project_option()
    def list_labels(at: remote.Remote, project: str | None) -> None:
        "List labels."
        at.items(at.api.listed("/labels", scope="g"), name="name")

Each command takes ``-o``, ``--context`` and the other options of `_COMMON` below; what goes wrong ends it with a
sentence and an exit status of `corereg.client.errors`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from corereg.client import asking
from corereg.client.api import API, TIMEOUT, path_of, repository_path
from corereg.client.contexts import Context, Contexts, Credentials, config_folder, write_whole
from corereg.client.documents import Located, Place, located
from corereg.client.either import either
from corereg.client.errors import (
    ClientError,
    InTheWay,
    Misuse,
    NotAllowed,
    NotFound,
    PartlyDone,
    TooLong,
    Unreachable,
)
from corereg.client.output import FORMATS, Column, Item, Printer, moment, plain, size, yaml_text
from corereg.client.references import Reference, days, limit, pairs, repository
from corereg.client.rights import PRESETS, ROLES, accesses, robot_named, robots_of, role_number, role_word
from corereg.client.table import printable, table
from corereg.client.target import Target, required, selected
from corereg.client.words import Words, near

__all__ = [
    "API",
    "PRESETS",
    "ROLES",
    "ClientError",
    "Column",
    "Context",
    "Contexts",
    "Credentials",
    "InTheWay",
    "Item",
    "Located",
    "Misuse",
    "NotAllowed",
    "NotFound",
    "PartlyDone",
    "Place",
    "Printer",
    "Reference",
    "Remote",
    "Target",
    "TooLong",
    "Unreachable",
    "Words",
    "accesses",
    "command",
    "config_folder",
    "days",
    "either",
    "found",
    "group",
    "limit",
    "located",
    "moment",
    "near",
    "pairs",
    "password_options",
    "path_of",
    "plain",
    "printable",
    "project_option",
    "repository",
    "repository_path",
    "required",
    "robot_named",
    "robots_of",
    "role_number",
    "role_word",
    "selected",
    "size",
    "table",
    "write_whole",
    "yaml_text",
    "yes_option",
]


class RemoteCommand(click.Command):
    """A command that speaks to a registry; it has no use for a server's configuration or data folder."""

    on_server = False


class Remote:
    """One command's registry, and its way of printing. The first use of `api` looks for the registry."""

    def __init__(
        self, printer: Printer, columns: Sequence[Column], context: str | None, timeout: float, *, quiet: bool
    ) -> None:
        self.printer = printer
        self.columns = columns
        self.quiet = quiet
        self.context = context
        self.timeout = timeout

    @functools.cached_property
    def target(self) -> Target:
        """The registry. Raises NotAllowed when none is selected."""
        return required(os.environ, self.context)

    @functools.cached_property
    def api(self) -> API:
        """Its API."""
        return API(self.target, timeout=self.timeout)

    def items(self, items: Iterable[Item], *, name: str, columns: Sequence[Column] | None = None) -> None:
        """Print a list; ``-o name`` prints the key `name` of each."""
        self.printer.items(items, self.columns if columns is None else columns, name)

    def one(self, item: Item, *, name: str, columns: Sequence[Column] | None = None) -> None:
        """Print one document."""
        self.printer.one(item, self.columns if columns is None else columns, name)

    def done(self, sentence: str, item: Item, *, name: str = "name") -> None:
        """Print what was done: `sentence` for a person, `item` for a program."""
        self.printer.done(sentence, item, name)

    def note(self, sentence: str) -> None:
        """Something worth knowing, on standard error; nothing with ``-q``."""
        if not self.quiet:
            click.echo(printable(sentence), err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only when somebody says yes, here or with ``--yes``."""
        asking.confirm(question, yes=yes)

    def password(self, file: Path | None, *, stdin: bool, twice: bool = True) -> str:
        """A password, from where `password_options` say, or the terminal."""
        return asking.password(file, stdin=stdin, twice=twice)

    def keep_password(self, password: str) -> None:
        """After a change of one's own password: the context signs in with the new one."""
        credentials, name = self.target.credentials, self.target.context
        contexts = Contexts(config_folder(os.environ))
        if name is not None and credentials is not None and contexts.credentials(name) == credentials:
            contexts.sign_in(name, Credentials(user=credentials.user, password=password))


# ---- groups and commands ----


def group(name: str, parent: click.Group | None = None) -> Callable[[Callable[[], None]], Words]:
    """A group of commands, in `parent` if there is one."""

    def made(function: Callable[[], None]) -> Words:
        words = click.group(name, cls=Words)(function)
        if parent is not None:
            parent.add_command(words)
        return words

    return made


def command(
    parent: click.Group | None, name: str, *, columns: Sequence[Column] = ()
) -> Callable[[Callable[..., None]], RemoteCommand]:
    """A command of `parent`, whose function takes a `Remote` first, then its own arguments and options by name."""

    def made(function: Callable[..., None]) -> RemoteCommand:
        @functools.wraps(function)
        def run(**given: Any) -> None:
            with _Ended(given) as at:
                at.columns = columns
                function(at, **given)

        result = click.command(name, cls=RemoteCommand)(_with_options(run, _COMMON if columns else _WITHOUT_COLUMNS))
        if parent is not None:
            parent.add_command(result)
        return result

    return made


class _Ended:
    """Takes the common options out of a command's parameters, gives a `Remote`, and ends the command as errors say."""

    def __init__(self, given: dict[str, Any]) -> None:
        form = "json" if given.pop("as_json") else given.pop("output", None) or "table"
        given.pop("output", None)
        columns = given.pop("columns_named", None)
        self._printer = Printer(form, columns, colour=False if given.pop("no_color") else None)
        context, timeout, quiet = given.pop("context_named"), given.pop("timeout"), given.pop("quiet")
        self._at = Remote(self._printer, (), context, timeout, quiet=quiet)

    def __enter__(self) -> Remote:
        return self._at

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if "api" in vars(self._at):
            self._at.api.close()
        if isinstance(error, ClientError):
            self._printer.error(error)
            sys.exit(error.exit_status)


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


_WITHOUT_COLUMNS = [
    click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        envvar="COREREG_OUTPUT",
        help="How to print the answer.  [default: table]",
    ),
    click.option("--json", "as_json", is_flag=True, help="The same as -o json."),
    click.option(
        "--context", "context_named", metavar="NAME", help="The registry, by its context.  [default: the one in use]"
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0.1),
        default=TIMEOUT,
        metavar="SECONDS",
        help="Give up when the server says nothing for so long.  [default: 60]",
    ),
    click.option("--no-color", is_flag=True, help="No colour, as NO_COLOR=1."),
    click.option("-q", "--quiet", is_flag=True, help="No notes on standard error."),
]

_COMMON = [
    *_WITHOUT_COLUMNS[:2],
    click.option(
        "--columns", "columns_named", metavar="A,B", callback=_names, help="Only these columns, in this order."
    ),
    *_WITHOUT_COLUMNS[2:],
]


def _with_options(function: Callable[..., None], options: Sequence[Callable[[Any], Any]]) -> Callable[..., None]:
    # click's decorators put options before those that are there; the common ones are to stand last in the help.
    own = list(getattr(function, "__click_params__", []))
    function.__click_params__ = []  # type: ignore[attr-defined]  # where click keeps them
    for option in reversed(options):
        function = option(function)
    function.__click_params__ += own  # type: ignore[attr-defined]
    return function


# ---- options and arguments that many commands take ----


def yes_option() -> Callable[[Any], Any]:
    """``--yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def project_option(*, required: bool = False, help: str = "The project.") -> Callable[[Any], Any]:  # noqa: A002 - click's word
    """``-p PROJECT``."""
    return click.option("-p", "--project", metavar="PROJECT", required=required, help=help)


def password_options(function: Any) -> Any:
    """``--password-stdin`` and ``--password-file``; never a password as an option, which `ps` shows to everybody."""
    file = click.Path(dir_okay=False, path_type=Path)
    function = click.option("--password-file", type=file, metavar="FILE", help="Read the password from a file.")(
        function
    )
    return click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(function)


def found(items: Iterable[Item], key: str, value: Any, what: str) -> Item:
    """The item whose `key` is `value`. Raises NotFound, with a near name."""
    names = []
    for item in items:
        if item.get(key) == value:
            return item
        names.append(str(item.get(key)))
    message = f"there is no {what} {value!r}.{near(str(value), names)}"
    raise NotFound(message)
