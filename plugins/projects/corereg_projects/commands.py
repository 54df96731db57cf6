"""``corereg project``: projects and their members, over the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from corereg import remote


def _access(project: remote.Item) -> str:
    return "public" if project.get("metadata", {}).get("public") == "true" else "private"


def _role(project: remote.Item) -> str | None:
    number = project.get("current_user_role_id")
    return remote.role_word(number) if number else None


PROJECTS = (
    remote.Column("name", "name"),
    remote.Column("id", "project_id"),
    remote.Column("access", _access),
    remote.Column("role", _role),
    remote.Column("owner", "owner_name"),
    remote.Column("repos", "repo_count"),
    remote.Column("created", "creation_time", remote.moment),
)
PROJECT = (*PROJECTS, remote.Column("metadata", "metadata"))
USAGE = (
    remote.Column("project", "name"),
    remote.Column("repos", "repo_count"),
    remote.Column("used", "quota.used.storage", remote.size),
    remote.Column("limit", "quota.hard.storage", remote.size),
    remote.Column("project-admins", "project_admin_count"),
    remote.Column("maintainers", "maintainer_count"),
    remote.Column("developers", "developer_count"),
    remote.Column("guests", "guest_count"),
    remote.Column("limited-guests", "limited_guest_count"),
)
MEMBERS = (
    remote.Column("name", "entity_name"),
    remote.Column("kind", lambda member: "group" if member.get("entity_type") == "g" else "user"),
    remote.Column("role", lambda member: remote.role_word(member.get("role_id"))),
    remote.Column("in", "pattern"),
    remote.Column("id", "id"),
)


@remote.group("project")
def project_group() -> None:
    """Make and change projects, and who works in them.

    \b
    corereg project create demo --storage 10GiB
    corereg project member add alice -p demo --role developer
    corereg project usage demo
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(project_group, "list", columns=PROJECTS)
@click.option("--name", metavar="TEXT", help="Only names that hold this.")
@click.option("--public/--private", default=None, help="Only these.")
@click.option("--owner", metavar="USER", help="Only those of this owner.")
@click.option("--sort", metavar="KEYS", help="By what, as name,-creation_time.")
def list_projects(
    at: remote.Remote, *, name: str | None, public: bool | None, owner: str | None, sort: str | None
) -> None:
    """List the projects you may see."""
    at.items(at.api.listed("/projects", name=name, public=public, owner=owner, sort=sort), name="name")


@remote.command(project_group, "show", columns=PROJECT)
@click.argument("name")
def show(at: remote.Remote, name: str) -> None:
    """Show one project."""
    at.one(at.api.get(remote.path_of("projects", name)), name="name")


@remote.command(project_group, "create")
@click.argument("name")
@click.option("--public", is_flag=True, help="Everybody may pull, without signing in.")
@click.option("--storage", metavar="SIZE", help="How much it may hold: 10GiB, or unlimited. [default: the registry's]")
@click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="A setting of the project; may be repeated.")
def create(at: remote.Remote, name: str, *, public: bool, storage: str | None, metadata: tuple[str, ...]) -> None:
    """Make a project."""
    body: dict[str, Any] = {
        "project_name": name,
        "metadata": {"public": "true" if public else "false", **remote.pairs(metadata)},
    }
    if storage is not None:
        body["storage_limit"] = remote.limit(storage)
    number = at.api.created("/projects", body)
    at.done(f"created {name}", {"name": name, "project_id": _number(number), "metadata": body["metadata"]})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


@remote.command(project_group, "update")
@click.argument("name")
@click.option("--public/--private", default=None, help="Who may pull without signing in.")
@click.option("--metadata", metavar="KEY=VALUE", multiple=True, help="A setting of the project; may be repeated.")
def update(at: remote.Remote, name: str, *, public: bool | None, metadata: tuple[str, ...]) -> None:
    """Change a project. Its size is limited with `corereg quota set`."""
    changes = remote.pairs(metadata)
    if public is not None:
        changes["public"] = "true" if public else "false"
    if not changes:
        message = "nothing to change; say --public, --private or --metadata KEY=VALUE"
        raise remote.Misuse(message)
    at.api.put(remote.path_of("projects", name), {"metadata": changes})
    words = ", ".join(f"{key}={value}" for key, value in changes.items())
    at.done(f"updated {name}: {words}", {"name": name, "metadata": changes})


@remote.command(project_group, "delete")
@click.argument("name")
@click.option("--recursive", is_flag=True, help="With all its repositories.")
@remote.yes_option()
def delete(at: remote.Remote, name: str, *, recursive: bool, yes: bool) -> None:
    """Delete a project. It must be empty, unless --recursive is given."""
    at.api.get(remote.path_of("projects", name))
    repositories = _repositories(at, name) if recursive else []
    beside = f" with its {len(repositories)} repositories" if repositories else ""
    at.confirm(f"Delete the project {name}{beside}?", yes=yes)
    _delete_repositories(at, name, repositories)
    try:
        at.api.delete(remote.path_of("projects", name))
    except remote.InTheWay as error:
        if not recursive:
            error.hint = f"Delete its repositories too with --recursive, or look first: corereg repo list -p {name}"
        raise
    at.done(f"deleted {name}{beside}", {"name": name, "repositories": repositories})


def _repositories(at: remote.Remote, name: str) -> list[str]:
    found = at.api.listed(remote.path_of("projects", name, "repositories"), sort="name")
    return [str(each["name"]) for each in found]


def _delete_repositories(at: remote.Remote, name: str, repositories: list[str]) -> None:
    for done, each in enumerate(repositories):
        try:
            at.api.delete(remote.repository_path(name, each.removeprefix(f"{name}/")))
        except remote.ClientError as error:
            if not done:
                raise
            message = f"{done} of {len(repositories)} repositories are deleted, then {each} was refused: {error}"
            raise remote.PartlyDone(message, status=error.status, request_id=error.request_id) from error
        at.note(f"deleted {each}")


@remote.command(project_group, "usage", columns=USAGE)
@click.argument("name")
def usage(at: remote.Remote, name: str) -> None:
    """Show what a project holds, and who works in it."""
    at.one({"name": name, **at.api.get(remote.path_of("projects", name, "summary"))}, name="name")


# ---- members ----


@remote.group("member", project_group)
def member_group() -> None:
    """List and change who works in a project."""


_project = remote.project_option(required=True)
_as_group = click.option("--group", "is_group", is_flag=True, help="NAME is a group's.")
_pattern = click.option(
    "--in", "pattern", metavar="PATTERN", default="", help="The role in a part of it: app or app/*."
)
_with_role = click.option(
    "--role",
    metavar="ROLE",
    required=True,
    help=f"One of {', '.join(remote.ROLES)}, or the number of a role of your own.",
)


def _member(at: remote.Remote, project: str, name: str, pattern: str, *, is_group: bool) -> remote.Item:
    members = at.api.listed(remote.path_of("projects", project, "members"), entityname=name)
    kind = "g" if is_group else "u"
    same = (each for each in members if each.get("entity_type") == kind and (each.get("pattern") or "") == pattern)
    try:
        return remote.found(same, "entity_name", name, "group" if is_group else "user")
    except remote.NotFound as error:
        error.hint = f"Is {name} a member of {project}? See: corereg project member list -p {project}"
        raise


@remote.command(member_group, "list", columns=MEMBERS)
@_project
@click.option("--name", metavar="TEXT", help="Only names that hold this.")
def list_members(at: remote.Remote, project: str, name: str | None) -> None:
    """List the members of a project."""
    at.items(at.api.listed(remote.path_of("projects", project, "members"), entityname=name), name="entity_name")


@remote.command(member_group, "add")
@click.argument("name")
@_project
@_with_role
@_as_group
@_pattern
def add_member(at: remote.Remote, name: str, project: str, role: str, pattern: str, *, is_group: bool) -> None:
    """Let a user or group work in a project."""
    number = remote.role_number(role)
    who: Mapping[str, Any] = {"member_group": {"group_name": name}} if is_group else {"member_user": {"username": name}}
    member = at.api.created(
        remote.path_of("projects", project, "members"),
        {"role_id": number, **who, **({"pattern": pattern} if pattern else {})},
    )
    at.done(
        f"{name} is {remote.role_word(number)} in {project} now",
        {"id": _number(member), "name": name, "project": project, "role": remote.role_word(number)},
    )


@remote.command(member_group, "set-role")
@click.argument("name")
@click.argument("role")
@_project
@_as_group
@_pattern
def set_role(at: remote.Remote, name: str, role: str, project: str, pattern: str, *, is_group: bool) -> None:
    """Give a member another role."""
    number = remote.role_number(role)
    member = _member(at, project, name, pattern, is_group=is_group)
    at.api.put(remote.path_of("projects", project, "members", member["id"]), {"role_id": number})
    at.done(
        f"{name} is {remote.role_word(number)} in {project} now",
        {"id": member["id"], "name": name, "project": project, "role": remote.role_word(number)},
    )


@remote.command(member_group, "remove")
@click.argument("name")
@_project
@_as_group
@_pattern
@remote.yes_option()
def remove_member(at: remote.Remote, name: str, project: str, pattern: str, *, is_group: bool, yes: bool) -> None:
    """Take a user or group out of a project."""
    member = _member(at, project, name, pattern, is_group=is_group)
    at.confirm(f"Take {name} out of {project}?", yes=yes)
    at.api.delete(remote.path_of("projects", project, "members", member["id"]))
    at.done(f"{name} is no member of {project} any more", {"id": member["id"], "name": name, "project": project})
