"""``corereg user``: on the local data, whether or not a server runs on it.

``corereg --help`` reads this page, so what a command works with is imported when it works.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import click
import msgspec

from corereg import OCIError
from corereg_accounts.names import NameRefused, check_email, check_name
from corereg_accounts.printing import table

if TYPE_CHECKING:
    from corereg import Registry
    from corereg_accounts.users import User, Users

LONGEST_INPUT = 4096
"""Bytes that are read in search of a password."""

Work: TypeAlias = "Callable[[Registry, Users], Awaitable[None]]"


class Runs(Protocol):
    """What the command line hands to every command."""

    def run(self, work: Callable[[Registry], Awaitable[None]], /) -> object:
        """Run `work` on the open registry; what the registry refuses ends the command with its exit code."""


def on_users(runs: Runs, work: Work) -> None:
    """Run `work` on the open registry and its users."""
    from corereg_accounts.passwords import Passwords
    from corereg_accounts.users import Users

    async def on(registry: Registry) -> None:
        with Passwords() as passwords:
            await work(registry, Users(registry.database, passwords))

    runs.run(on)


# ---- what several commands take ----


def _good_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        check_name(value)
    except NameRefused as error:
        raise click.BadParameter(error.message) from error
    return value


def _good_email(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            check_email(value)
        except NameRefused as error:
            raise click.BadParameter(error.message) from error
    return value


# Never on the command line itself, where every process on the machine can read it.
_from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
_from_file = click.option("--password-file", type=click.File("rb"), help="Read the password from a file.")


def _password(file: IO[bytes] | None, *, stdin: bool) -> str:
    if stdin and file is not None:
        message = "--password-stdin and --password-file exclude each other"
        raise click.UsageError(message)
    if stdin:
        file = sys.stdin.buffer
    if file is None:
        return _asked()
    return _good_password(_read(file))


def _read(file: IO[bytes]) -> str:
    data = file.read(LONGEST_INPUT + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        message = "the password is not UTF-8"
        raise click.UsageError(message) from None
    return text.removesuffix("\n").removesuffix("\r")


def _asked() -> str:
    if not sys.stdin.isatty():
        message = "there is no terminal to ask for the password; use --password-stdin or --password-file"
        raise click.UsageError(message)
    password: str = click.prompt(
        "Password", hide_input=True, confirmation_prompt=True, value_proc=_good_password, err=True
    )
    return password


def _good_password(password: str) -> str:
    from corereg_accounts.passwords import PasswordRefused, check_strength

    try:
        check_strength(password)
    except PasswordRefused as error:
        raise click.UsageError(error.message) from error
    return password


# ---- the commands ----


@click.group("user")
def user_group() -> None:
    """Make and change the users of this registry.

    \b
    corereg user create alice
    corereg user password alice
    corereg user list
    """  # noqa: D301 - click looks for the character, not for its name


@user_group.command("create")
@click.argument("name", callback=_good_name)
@click.option("--admin", is_flag=True, help="An administrator, who may do everything.")
@click.option("--email", metavar="ADDRESS", callback=_good_email, help="An email address.")
@_from_stdin
@_from_file
@click.pass_obj
def create(
    runs: Runs, name: str, *, admin: bool, email: str | None, password_stdin: bool, password_file: IO[bytes] | None
) -> None:
    """Make a user."""
    password = _password(password_file, stdin=password_stdin)

    async def work(registry: Registry, users: Users) -> None:
        user = await users.create(registry.session(), name, password, administrator=admin, email=email)
        click.echo(f"created {user.name}")
        with suppress(OCIError):  # another plugin that fails now does not undo the user
            if not (await registry.session_for(user.identity())).grants:
                _note(f'{user.name} may do nothing yet; [accounts] signed_in = "push" lets every user push and pull')

    on_users(runs, work)


@user_group.command("password")
@click.argument("name")
@_from_stdin
@_from_file
@click.pass_obj
def password(runs: Runs, name: str, *, password_stdin: bool, password_file: IO[bytes] | None) -> None:
    """Give a user another password."""
    new = _password(password_file, stdin=password_stdin)

    async def work(registry: Registry, users: Users) -> None:
        user = await users.named(name)
        await users.set_password(registry.session(), user, new)
        click.echo(f"{user.name} has a new password; every client has to sign in again")

    on_users(runs, work)


@user_group.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json", "name"]), default="table", help="How to print it.")
@click.pass_obj
def list_users(runs: Runs, output: Literal["table", "json", "name"]) -> None:
    """List the users."""

    async def work(_registry: Registry, users: Users) -> None:
        everyone = await users.everyone()
        if output == "json":
            click.echo(msgspec.json.encode({"items": [_item(user) for user in everyone], "next": None}).decode())
        elif output == "name":
            click.echo("".join(f"{user.name}\n" for user in everyone), nl=False)
        else:
            rows = [_row(user) for user in everyone]
            click.echo("\n".join(table(("NAME", "ID", "ADMINISTRATOR", "DISABLED", "EMAIL"), rows)))

    on_users(runs, work)


@user_group.command("disable")
@click.argument("name")
@click.pass_obj
def disable(runs: Runs, name: str) -> None:
    """Keep a user out, within seconds, whatever they are signed in with."""
    on_users(runs, _switch(name, disabled=True))


@user_group.command("enable")
@click.argument("name")
@click.pass_obj
def enable(runs: Runs, name: str) -> None:
    """Let a disabled user in again."""
    on_users(runs, _switch(name, disabled=False))


def _switch(name: str, *, disabled: bool) -> Work:
    word = "disabled" if disabled else "enabled"

    async def work(registry: Registry, users: Users) -> None:
        user = await users.named(name)
        if user.disabled is disabled:
            click.echo(f"{user.name} is {word} already")
            return
        await users.set_disabled(registry.session(), user, disabled=disabled)
        click.echo(f"{word} {user.name}")
        await _warn(users)

    return work


@user_group.command("delete")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(runs: Runs, name: str, *, yes: bool) -> None:
    """Delete a user. What they pushed stays."""
    if not yes and not sys.stdin.isatty():
        message = "there is no terminal to ask on; use --yes to delete without being asked"
        raise click.UsageError(message)
    if not yes:
        click.confirm(f"Delete the user {name}?", abort=True, err=True)

    async def work(registry: Registry, users: Users) -> None:
        user = await users.named(name)
        await users.delete(registry.session(), user)
        click.echo(f"deleted {user.name}")
        await _warn(users)

    on_users(runs, work)


@user_group.command("admin")
@click.argument("name")
@click.option("--grant/--revoke", required=True, help="Make an administrator, or an ordinary user.")
@click.pass_obj
def admin(runs: Runs, name: str, *, grant: bool) -> None:
    """Make a user an administrator, or an ordinary user again."""

    async def work(registry: Registry, users: Users) -> None:
        user = await users.named(name)
        what = "an administrator" if grant else "an ordinary user"
        if user.administrator is grant:
            click.echo(f"{user.name} is {what} already")
            return
        await users.set_administrator(registry.session(), user, administrator=grant)
        click.echo(f"{user.name} is {what} now")
        await _warn(users)

    on_users(runs, work)


# ---- what is printed ----


async def _warn(users: Users) -> None:
    if not any(user.administrator and not user.disabled for user in await users.everyone()):
        _note("no local administrator is left who can sign in; `corereg user create NAME --admin` makes one")


def _note(sentence: str) -> None:
    click.echo(f"note: {sentence}", err=True)


def _row(user: User) -> tuple[str, ...]:
    def flag(value: bool) -> str:  # noqa: FBT001 - one cell
        return "yes" if value else "-"

    return (user.name, str(user.id), flag(user.administrator), flag(user.disabled), user.email or "-")


def _item(user: User) -> dict[str, Any]:
    from corereg_accounts.users import rfc3339

    times = {"created_at": rfc3339(user.created_at), "updated_at": rfc3339(user.updated_at)}
    return msgspec.structs.asdict(user) | times
