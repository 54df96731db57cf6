"""``corereg user`` and ``group`` over the API; without a registry to speak to they work on the local data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from corereg import remote
from corereg_accounts import commands, group_commands

KINDS = {4: "local", 1: "ldap", 2: "http", 3: "oidc"}
"""Numbers for kinds of groups: Harbor's, and 4, whose members are kept here."""

USERS = (
    remote.Column("name", "username"),
    remote.Column("id", "user_id"),
    remote.Column("administrator", lambda user: bool(user.get("sysadmin_flag") or user.get("admin_role_in_auth"))),
    remote.Column("disabled", "disabled"),
    remote.Column("email", "email"),
)
GROUPS = (
    remote.Column("name", "group_name"),
    remote.Column("id", "id"),
    remote.Column("kind", "group_type", lambda number: KINDS.get(number, str(number))),
    remote.Column("dn", "ldap_group_dn"),
)


@remote.group("user")
def _users() -> None:
    """Make and change users: of the registry that is selected, else of this machine's.

    \b
    corereg user create alice
    corereg user password alice
    corereg user list --local
    """  # noqa: D301 - click looks for the character, not for its name


def _user(at: remote.Remote, name: str) -> remote.Item:
    """The user of that name; users' names have no case."""
    users = at.api.listed("/users", q=f"username={name}")
    return remote.found(
        ({**user, "username": str(user.get("username")).lower()} for user in users), "username", name.lower(), "user"
    )


def _on(at: remote.Remote) -> None:
    """Say where: the same words change the local data when no registry is selected."""
    at.note(f"on {at.target.url}")


@remote.command(_users, "list", columns=USERS)
@click.option("--name", "part", metavar="TEXT", help="Only names that hold this.")
def list_users(at: remote.Remote, part: str | None) -> None:
    """List the users."""
    at.items(at.api.listed("/users", q=f"username=~{part}" if part else None), name="username")


@remote.command(_users, "create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="An administrator, who may do everything.")
@click.option("--email", metavar="ADDRESS", help="An email address.")
@click.option("--realname", metavar="NAME", help="The name outside of this registry.")
@remote.password_options
def create(
    at: remote.Remote,
    name: str,
    *,
    admin: bool,
    email: str | None,
    realname: str | None,
    password_stdin: bool,
    password_file: Path | None,
) -> None:
    """Make a user."""
    _on(at)
    password = at.password(password_file, stdin=password_stdin)
    body: dict[str, Any] = {"username": name, "realname": realname or name, "password": password}
    if email is not None:
        body["email"] = email
    number = at.api.created("/users", body)
    if admin:
        try:
            at.api.put(remote.path_of("users", number, "sysadmin"), {"sysadmin_flag": True})
        except remote.ClientError as error:
            message = f"{name} is made, but is no administrator: {error}"
            raise remote.PartlyDone(message, status=error.status, request_id=error.request_id) from error
    at.done(f"created {name}", {"user_id": int(number), "username": name}, name="username")


@remote.command(_users, "password")
@click.argument("name")
@remote.password_options
def password(at: remote.Remote, name: str, *, password_stdin: bool, password_file: Path | None) -> None:
    """Give a user another password."""
    _on(at)
    me = at.api.get("/users/current")
    mine = str(me["username"]).lower() == name.lower()
    new = at.password(password_file, stdin=password_stdin)
    if not mine:
        user = _user(at, name)
        at.api.put(remote.path_of("users", user["user_id"], "password"), {"new_password": new})
    else:
        old = at.target.credentials.password if at.target.credentials else None
        if old is None:
            message = "your own password is changed with the old one; sign in with it first"
            raise remote.NotAllowed(message, hint="Run: corereg login URL")
        at.api.put(remote.path_of("users", me["user_id"], "password"), {"old_password": old, "new_password": new})
        at.keep_password(new)
    at.done(f"{name} has a new password; every client has to sign in again", {"username": name}, name="username")


@remote.command(_users, "admin")
@click.argument("name")
@click.option("--grant/--revoke", required=True, help="Make an administrator, or an ordinary user.")
def admin(at: remote.Remote, name: str, *, grant: bool) -> None:
    """Make a user an administrator, or an ordinary user again."""
    _on(at)
    user = _user(at, name)
    at.api.put(remote.path_of("users", user["user_id"], "sysadmin"), {"sysadmin_flag": grant})
    what = "an administrator" if grant else "an ordinary user"
    at.done(f"{name} is {what} now", {"username": name, "sysadmin_flag": grant}, name="username")


@remote.command(_users, "delete")
@click.argument("name")
@remote.yes_option()
def delete(at: remote.Remote, name: str, *, yes: bool) -> None:
    """Delete a user. What they pushed stays."""
    user = _user(at, name)
    at.confirm(f"Delete the user {name} on {at.target.url}?", yes=yes)
    at.api.delete(remote.path_of("users", user["user_id"]))
    at.done(f"deleted {name}", {"user_id": user["user_id"], "username": name}, name="username")


user_group = remote.either("user", commands.user_group, _users)


# ---- groups ----


@remote.group("group")
def _groups() -> None:
    """Make groups of users, which can be members of projects: on the registry that is selected, else on this machine.

    \b
    corereg group create builders
    corereg group add builders alice
    """  # noqa: D301 - click looks for the character, not for its name


def _group(at: remote.Remote, name: str) -> remote.Item:
    return remote.found(at.api.listed("/usergroups", group_name=name), "group_name", name, "group")


@remote.command(_groups, "list", columns=GROUPS)
@click.option("--name", metavar="TEXT", help="Only names that hold this.")
def list_groups(at: remote.Remote, name: str | None) -> None:
    """List the groups."""
    at.items(at.api.listed("/usergroups", group_name=name), name="group_name")


@remote.command(_groups, "create")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice([*KINDS.values()]), default="local", show_default=True, help="Who says who is in it."
)
@click.option("--dn", metavar="DN", help="Where an LDAP group stands in the directory.")
def create_group(at: remote.Remote, name: str, kind: str, dn: str | None) -> None:
    """Make a group."""
    _on(at)
    number = {word: number for number, word in KINDS.items()}[kind]
    body: Mapping[str, Any] = {"group_name": name, "group_type": number, **({"ldap_group_dn": dn} if dn else {})}
    identifier = at.api.created("/usergroups", body)
    at.done(f"created {name}", {"id": int(identifier), **body}, name="group_name")


@remote.command(_groups, "delete")
@click.argument("name")
@remote.yes_option()
def delete_group(at: remote.Remote, name: str, *, yes: bool) -> None:
    """Delete a group; what it gave its members ends within seconds."""
    group = _group(at, name)
    at.confirm(f"Delete the group {name} on {at.target.url}?", yes=yes)
    at.api.delete(remote.path_of("usergroups", group["id"]))
    at.done(f"deleted {name}", {"id": group["id"], "group_name": name}, name="group_name")


MEMBERS = (remote.Column("name", "username"), remote.Column("id", "user_id"))


@remote.command(_groups, "members", columns=MEMBERS)
@click.argument("group")
def list_members(at: remote.Remote, group: str) -> None:
    """List who belongs to a group."""
    at.items(at.api.listed(remote.path_of("usergroups", _group(at, group)["id"], "members")), name="username")


@remote.command(_groups, "add")
@click.argument("group")
@click.argument("user")
def add_member(at: remote.Remote, group: str, user: str) -> None:
    """Let a user belong to a local group."""
    _on(at)
    at.api.put(_membership(at, group, user), None)
    at.done(f"{user} belongs to {group}", {"group_name": group, "username": user}, name="username")


@remote.command(_groups, "remove")
@click.argument("group")
@click.argument("user")
def remove_member(at: remote.Remote, group: str, user: str) -> None:
    """Take a user out of a local group."""
    _on(at)
    at.api.delete(_membership(at, group, user))
    sentence = f"{user} does not belong to {group} any more"
    at.done(sentence, {"group_name": group, "username": user}, name="username")


def _membership(at: remote.Remote, group: str, user: str) -> str:
    return remote.path_of("usergroups", _group(at, group)["id"], "members", _user(at, user)["user_id"])


group_group = remote.either("group", group_commands.group_group, _groups)
