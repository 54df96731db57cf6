"""``corereg robot``: accounts for programs, over the API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from corereg import remote
from corereg_robots.export import FORMATS, exported


def _where(robot: remote.Item) -> str:
    return ", ".join(
        "system" if each.get("kind") == "system" else str(each.get("namespace"))
        for each in robot.get("permissions", [])
    )


def _expires(robot: remote.Item) -> str:
    at = robot.get("expires_at", -1)
    return "never" if at is None or at < 0 else remote.moment(at)


def _rights(robot: remote.Item) -> list[str]:
    rights = {
        f"{access.get('resource')}:{access.get('action')}": None
        for each in robot.get("permissions", [])
        for access in each.get("access", [])
    }
    return list(rights)


ROBOTS = (
    remote.Column("name", "name"),
    remote.Column("id", "id"),
    remote.Column("level", "level"),
    remote.Column("where", _where),
    remote.Column("expires", _expires),
    remote.Column("disabled", "disable"),
    remote.Column("description", "description"),
)
ROBOT = (
    *ROBOTS,
    remote.Column("rights", _rights),
    remote.Column("created", "creation_time", remote.moment),
    remote.Column("last-used", "last_used_at", remote.moment),
)


@remote.group("robot")
def robot_group() -> None:
    """Make accounts for programs: CI, deployments, clean-up.

    \b
    corereg robot create ci -p demo --allow push,pull --expires 90d --export docker > config.json
    corereg robot refresh ci -p demo
    """  # noqa: D301 - click looks for the character, not for its name


_project = remote.project_option(help="A robot of this project.  [default: robots of the system]")
_export = click.option(
    "--export",
    type=click.Choice(FORMATS),
    help="Print name and secret as a program wants them: docker's config.json, a Kubernetes secret, variables, JSON.",
)
_host = click.option("--registry", metavar="HOST", help="The registry's name in there.  [default: that of its address]")


# ---- find ----


def _robots(at: remote.Remote, project: str | None) -> list[remote.Item]:
    return list(at.api.listed("/robots", q=remote.robots_of(at.api, project)))


def _robot(at: remote.Remote, name: str, project: str | None) -> remote.Item:
    """A robot by its whole name, or by the name it was made with."""
    robot = remote.robot_named(at.api, name, project)
    if robot is not None:
        return robot
    return remote.found(_robots(at, project), "name", name, f"robot of {project}" if project else "system robot")


# ---- commands ----


@remote.command(robot_group, "list", columns=ROBOTS)
@_project
def list_robots(at: remote.Remote, project: str | None) -> None:
    """List robots."""
    at.items(_robots(at, project), name="name")


@remote.command(robot_group, "show", columns=ROBOT)
@click.argument("name")
@_project
def show(at: remote.Remote, name: str, project: str | None) -> None:
    """Show one robot. Never its secret: that is shown once, when it is made."""
    at.one(at.api.get(remote.path_of("robots", _robot(at, name, project)["id"])), name="name")


@remote.command(robot_group, "create")
@click.argument("name")
@remote.project_option(help="A robot of this project alone.")
@click.option("--in", "places", metavar="PROJECT", multiple=True, help="A system robot may work here; * is everywhere.")
@click.option(
    "--allow", metavar="RIGHTS", required=True, help="What it may do: pull, push, or RESOURCE:ACTION; commas between."
)
@click.option("--system-allow", metavar="RIGHTS", default="", help="What it may do to the registry: RESOURCE:ACTION.")
@click.option("--expires", metavar="TIME", default="30d", show_default=True, help="90d, 12w, 1y or never.")
@click.option("--description", metavar="TEXT", default="", help="What it is for.")
@_export
@_host
def create(  # noqa: PLR0913 - options are arguments
    at: remote.Remote,
    name: str,
    *,
    project: str | None,
    places: tuple[str, ...],
    allow: str,
    system_allow: str,
    expires: str,
    description: str,
    export: str | None,
    registry: str | None,
) -> None:
    """Make a robot. Its secret is printed once, and kept nowhere.

    \b
      corereg robot create ci -p demo --allow push
      corereg robot create deploy --in demo --in web --allow pull --expires never
    """  # noqa: D301 - click looks for the character, not for its name
    made = at.api.post(
        "/robots",
        {
            "name": name,
            "description": description,
            "duration": remote.days(expires),
            "level": "project" if project else "system",
            "disable": False,
            "permissions": _permissions(project, places, allow, system_allow),
        },
    )
    _tell(at, made, export, registry, f"created {made['name']}, expires {_expires(made)}.")


def _permissions(project: str | None, places: tuple[str, ...], allow: str, system_allow: str) -> list[dict[str, Any]]:
    if project is not None and (places or system_allow):
        message = "a robot of a project (-p) works in that project alone; leave out --in and --system-allow"
        raise remote.Misuse(message)
    if project is None and not places:
        message = "say where the robot may work: -p PROJECT, or --in PROJECT (* for every project) for a system robot"
        raise remote.Misuse(message)
    found = [
        {"kind": "project", "namespace": place, "access": remote.accesses(allow.split(","))}
        for place in ((project,) if project is not None else places)
    ]
    if system_allow:
        found.append({"kind": "system", "namespace": "/", "access": remote.accesses(system_allow.split(","))})
    return found


@remote.command(robot_group, "refresh")
@click.argument("name")
@_project
@remote.password_options
@_export
@_host
def refresh(
    at: remote.Remote,
    name: str,
    *,
    project: str | None,
    password_stdin: bool,
    password_file: Path | None,
    export: str | None,
    registry: str | None,
) -> None:
    """Give a robot another secret: one that is made up and printed once, or yours."""
    robot = _robot(at, name, project)
    chosen = at.password(password_file, stdin=password_stdin) if password_stdin or password_file else ""
    answer = at.api.patch(remote.path_of("robots", robot["id"]), {"secret": chosen}) or {}
    made = {**robot, "secret": answer.get("secret") or chosen}
    _tell(at, made, export, registry, f"{robot['name']} has another secret.")


def _tell(at: remote.Remote, robot: Mapping[str, Any], export: str | None, registry: str | None, sentence: str) -> None:
    """Name and secret on standard output, everything else beside it."""
    name, secret = str(robot["name"]), str(robot.get("secret", ""))
    if export is not None:
        click.echo(exported(export, registry or at.target.registry, name, secret), nl=False)
        at.note(f"{sentence} The secret was written to stdout and is not shown again.")
        return
    at.note(f"{sentence} The secret is not shown again.")
    at.done(f"{name}\n{secret}", {key: robot[key] for key in ("id", "name", "secret", "expires_at") if key in robot})


@remote.command(robot_group, "enable")
@click.argument("name")
@_project
def enable(at: remote.Remote, name: str, project: str | None) -> None:
    """Let a disabled robot in again."""
    _switch(at, name, project, disable=False)


@remote.command(robot_group, "disable")
@click.argument("name")
@_project
def disable(at: remote.Remote, name: str, project: str | None) -> None:
    """Keep a robot out, within seconds."""
    _switch(at, name, project, disable=True)


def _switch(at: remote.Remote, name: str, project: str | None, *, disable: bool) -> None:
    robot = _robot(at, name, project)
    word = "disabled" if disable else "enabled"
    item = {"id": robot["id"], "name": robot["name"], "disable": disable}
    if robot.get("disable") is disable:
        at.done(f"{robot['name']} is {word} already", item)
        return
    kept = ("name", "description", "level", "duration", "permissions", "expires_at", "editable", "id")
    whole = at.api.get(remote.path_of("robots", robot["id"]))
    body = {key: whole[key] for key in kept if key in whole} | {"disable": disable}
    at.api.put(remote.path_of("robots", robot["id"]), body)
    at.done(f"{word} {robot['name']}", item)


@remote.command(robot_group, "delete")
@click.argument("name")
@_project
@remote.yes_option()
def delete(at: remote.Remote, name: str, project: str | None, *, yes: bool) -> None:
    """Delete a robot; its secret is refused within seconds."""
    robot = _robot(at, name, project)
    at.confirm(f"Delete the robot {robot['name']}?", yes=yes)
    at.api.delete(remote.path_of("robots", robot["id"]))
    at.done(f"deleted {robot['name']}", {"id": robot["id"], "name": robot["name"]})
