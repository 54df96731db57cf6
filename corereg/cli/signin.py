"""``corereg login``, ``logout``, ``whoami`` and ``context``: the registries a person works with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from corereg.client import asking, remote
from corereg.client.contexts import Context, Contexts, Credentials, config_folder
from corereg.client.errors import InTheWay, Misuse, NotAllowed
from corereg.client.output import Column
from corereg.client.target import LONGEST_SECRET, Target, address, decoded_secret, is_plain

CONTEXT = (
    Column("name", "name"),
    Column("url", "url"),
    Column("user", "user"),
    Column("signs-in-with", "signs_in_with"),
    Column("current", "current"),
    Column("ca-file", "ca_file"),
)
WHO = (
    Column("user", "username"),
    Column("administrator", "sysadmin_flag"),
    Column("email", "email"),
    Column("url", "url"),
    Column("context", "context"),
)


def _contexts() -> Contexts:
    return Contexts(config_folder(os.environ))


@remote.command(None, "login")
@click.argument("url")
@click.option("-u", "--user", metavar="NAME", envvar="COREREG_USER", help="The user, or a robot's whole name.")
@remote.password_options
@click.option("--token-stdin", is_flag=True, help="Read a token from standard input, instead of user and password.")
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="COREREG_CA_FILE",
    metavar="FILE",
    help="The authority that signed the registry's certificate, PEM.",
)
def login(
    at: remote.Remote,
    url: str,
    *,
    user: str | None,
    password_stdin: bool,
    password_file: Path | None,
    token_stdin: bool,
    ca_file: Path | None,
) -> None:
    """Sign in to a registry, and work with it from now on.

    \b
      corereg login https://reg.example.com
      corereg login reg.example.com -u alice --password-stdin < secret
      corereg login http://127.0.0.1:8080 -u admin --context laptop

    It is kept as a context, under the name of --context or else its host; other contexts stay. The password is
    kept in credentials.json beside contexts.json, readable by you alone.
    """  # noqa: D301 - click looks for the character, not for its name
    place = address(url)
    if is_plain(place):
        at.note(f"note: {place} has no TLS; the password travels readable to everybody on the way")
    if token_stdin and (password_stdin or password_file is not None):
        message = "--token-stdin and a password exclude each other"
        raise Misuse(message)
    contexts = _contexts()
    name = at.context or urlsplit(place).netloc
    if token_stdin:
        token = decoded_secret(sys.stdin.buffer.read(LONGEST_SECRET + 1), "standard input")
        credentials = Credentials(token=token)
    else:
        user = user or _asked_user()
        credentials = Credentials(user=user, password=at.password(password_file, stdin=password_stdin, twice=False))
    file = None if ca_file is None else str(ca_file.resolve())
    who = whose(remote.API(Target(place, credentials, name, file), timeout=at.timeout))
    contexts.put(name, Context(place, who["username"], file), credentials)
    at.done(
        f"signed in to {place} as {who['username']} (context {name})",
        {**who, "url": place, "context": name},
        name="username",
    )


def _asked_user() -> str:
    if not asking.can_ask():
        message = "there is no terminal to ask for the user"
        raise Misuse(message, hint="Use --user, or --token-stdin for a token.")
    name: str = click.prompt("User", err=True)
    return name


def whose(api: remote.API) -> dict[str, Any]:
    """The user that `api` speaks for. Robots are no users, so Harbor's API shows them nothing but 412."""
    try:
        user: dict[str, Any] = api.get("/users/current")
    except InTheWay:
        credentials = api.target.credentials
        return {"username": (credentials.user if credentials else None) or "a robot"}
    finally:
        api.close()
    return user


@remote.command(None, "logout")
def logout(at: remote.Remote) -> None:
    """Forget the password or token of a context; the context stays."""
    contexts = _contexts()
    name = at.context or os.environ.get("COREREG_CONTEXT") or contexts.current
    if name is None:
        message = "no context is in use, so there is nothing to sign out of"
        raise NotAllowed(message)
    had = contexts.forget(name)
    sentence = f"signed out of {name}" if had else f"{name} was not signed in"
    at.done(sentence, {"context": name, "forgotten": had}, name="context")


@remote.command(None, "whoami", columns=WHO)
def whoami(at: remote.Remote) -> None:
    """Show who is signed in, and where."""
    at.one({**whose(at.api), "url": at.target.url, "context": at.target.context}, name="username")


@remote.group("context")
def context() -> None:
    """List and choose the registries to work with."""


def _item(contexts: Contexts, name: str) -> dict[str, object]:
    found, credentials = contexts.get(name), contexts.credentials(name)
    kind = None if credentials is None else "token" if credentials.token is not None else "password"
    return {
        "name": name,
        "url": found.url,
        "user": found.user,
        "signs_in_with": kind,
        "current": name == contexts.current,
        "ca_file": found.ca_file,
    }


@remote.command(context, "list", columns=CONTEXT)
def context_list(at: remote.Remote) -> None:
    """List the contexts."""
    contexts = _contexts()
    at.items([_item(contexts, name) for name in contexts.all()], name="name")


@remote.command(context, "use")
@click.argument("name")
def context_use(at: remote.Remote, name: str) -> None:
    """Work with that registry from now on."""
    contexts = _contexts()
    contexts.use(name)
    at.done(f"using {name} ({contexts.get(name).url})", _item(contexts, name))


@remote.command(context, "show", columns=CONTEXT)
@click.argument("name", required=False)
def context_show(at: remote.Remote, name: str | None) -> None:
    """Show a context; the one in use, if none is named. Never its password or token."""
    contexts = _contexts()
    name = name or at.context or os.environ.get("COREREG_CONTEXT") or contexts.current
    if name is None:
        message = "no context is in use"
        raise NotAllowed(message, hint="`corereg login URL` makes one.")
    at.one(_item(contexts, name), name="name")


@remote.command(context, "remove")
@click.argument("name")
@remote.yes_option()
def context_remove(at: remote.Remote, name: str, *, yes: bool) -> None:
    """Drop a context, with its password or token."""
    contexts = _contexts()
    item = _item(contexts, name)
    at.confirm(f"Drop the context {name} ({item['url']})?", yes=yes)
    contexts.remove(name)
    at.done(f"removed {name}", item)
