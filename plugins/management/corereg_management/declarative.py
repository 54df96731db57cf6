"""``corereg apply`` and ``corereg export-config``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from corereg import remote
from corereg_management.apply import Look, Plan, Secrets, Step, expiry
from corereg_management.declaration import Document, Label, Member, Permission, Project, Robot, read

COLOURS = {"create": "green", "update": "yellow", "delete": "red"}


@remote.command(None, "apply")
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|DIR",
    help="What is declared; a folder's YAML and JSON files are read together.",
)
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--prune", is_flag=True, help="Delete what is there and not declared, in the lists that are declared.")
@click.option(
    "--secrets-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the secrets of new robots there, readable by you alone.",
)
@remote.yes_option()
def apply(at: remote.Remote, path: Path, *, plan_only: bool, prune: bool, secrets_file: Path | None, yes: bool) -> None:
    """Make the registry what a file declares.

    \b
      corereg apply -f registry.yaml --plan
      corereg apply -f registry.yaml --secrets-file secrets.json

    A file holds projects, members, quotas, labels, robots, settings. What it does not name is left alone, unless
    --prune is given. A second run finds nothing to do.
    """  # noqa: D301 - click looks for the character, not for its name
    document = read(path)
    secrets = Secrets(secrets_file)
    plan = Plan(at.api, document, secrets, prune=prune)
    _show(at, plan)
    if plan_only or not plan.steps:
        _report(at, plan, applied=False)
        return
    if plan.makes_robots:
        secrets.open()
    if any(step.action == "delete" for step in plan.steps):
        at.confirm("Do this, deletions included?", yes=yes)
    _do(plan.steps)
    _report(at, plan, applied=True)


def _show(at: remote.Remote, plan: Plan) -> None:
    if at.printer.form != "table":
        return
    for step in plan.steps:
        click.echo(at.printer.paint(remote.printable(step.line()), fg=COLOURS[step.action]))


def _report(at: remote.Remote, plan: Plan, *, applied: bool) -> None:
    counts = {action: sum(step.action == action for step in plan.steps) for action in COLOURS}
    if not plan.steps:
        sentence = f"nothing to do: {plan.unchanged} things are as declared"
    else:
        done = ("created", "updated", "deleted") if applied else ("to create", "to update", "to delete")
        parts = [f"{counts[action]} {word}" for action, word in zip(COLOURS, done, strict=True)]
        sentence = f"{', '.join(parts)}, {plan.unchanged} unchanged"
    document = {
        "applied": applied,
        "steps": [step.document() for step in plan.steps],
        "unchanged": plan.unchanged,
        "not_declared": plan.beside,
    }
    at.done(sentence, document, name="steps")
    if plan.beside:
        at.note(f"{plan.beside} things are there and not declared; --prune deletes them")


def _do(steps: list[Step]) -> None:
    for number, step in enumerate(steps):
        try:
            step.do()
        except remote.ClientError as error:
            if not number:
                raise
            message = f"{number} of {len(steps)} steps are done, then this was refused: {step.line()}: {error}"
            hint = "Mend the cause, and apply again: what is done is found done."
            raise remote.PartlyDone(message, hint=hint, status=error.status, request_id=error.request_id) from error


# ---- the other way ----


@remote.command(None, "export-config")
def export_config(at: remote.Remote) -> None:
    """Print the registry as `corereg apply` reads it; YAML, or JSON with -o json.

    \b
      corereg export-config > registry.yaml
    """  # noqa: D301 - click looks for the character, not for its name
    document = msgspec.to_builtins(_exported(at))
    if at.printer.form in {"json", "jsonl"}:
        click.echo(msgspec.json.encode(document).decode())
    else:
        click.echo(remote.yaml_text(document), nl=False)


def _exported(at: remote.Remote) -> Document:
    look = Look(at.api)
    projects = [str(each["name"]) for each in look.projects()]
    settings = look.settings()
    robots = [robot for place in (None, *projects) for robot in _robots(look, settings, place)]
    return Document(
        settings={name: each.get("value") for name, each in settings.items() if each.get("editable")},
        labels=_labels(look.labels(None)),
        projects=tuple(_project(look, name) for name in projects),
        robots=tuple(robots),
    )


def _project(look: Look, name: str) -> Project:
    there = look.project(name) or {}
    metadata = {key: value for key, value in (there.get("metadata") or {}).items() if key != "public"}
    metadata.pop("retention_id", None)  # a number of this registry alone
    quota = look.quota(there["project_id"])
    members = look.members(name).values()
    return Project(
        name=name,
        public=(there.get("metadata") or {}).get("public") == "true",
        storage=None if quota is None else _storage(quota),
        metadata=metadata,
        members=tuple(_member(each) for each in members),
        labels=_labels(look.labels(there["project_id"])),
    )


def _storage(quota: remote.Item) -> str:
    hard = quota.get("hard", {}).get("storage", -1)
    return "unlimited" if hard < 0 else str(hard)


def _member(member: remote.Item) -> Member:
    role, name, pattern = remote.role_word(member.get("role_id")), str(member.get("entity_name")), member.get("pattern")
    is_group = member.get("entity_type") == "g"
    return Member(
        user=None if is_group else name, group=name if is_group else None, role=role, pattern=str(pattern or "")
    )


def _labels(labels: Mapping[str, remote.Item]) -> tuple[Label, ...]:
    return tuple(
        Label(name=name, color=each.get("color") or None, description=each.get("description") or None)
        for name, each in labels.items()
    )


def _robots(look: Look, settings: Mapping[str, Mapping[str, Any]], project: str | None) -> list[Robot]:
    head = str(settings.get("robot_name_prefix", {}).get("value", "robot$"))
    if project is not None:
        head += project + str(settings.get("robot_name_separator", {}).get("value", "+"))
    return [_robot(str(each["name"]).removeprefix(head), each, project) for each in look.robots(project)]


def _robot(name: str, robot: remote.Item, project: str | None) -> Robot:
    permissions: list[Mapping[str, Any]] = list(robot.get("permissions") or ())
    return Robot(
        name=name,
        project=project,
        description=robot.get("description") or "",
        expires=expiry(robot.get("duration")),
        disabled=bool(robot.get("disable")),
        allow=tuple(word for each in permissions for word in _allow(each)) if project else (),
        permissions=() if project else tuple(_permission(each) for each in permissions),
    )


def _allow(permission: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{each.get('resource')}:{each.get('action')}" for each in permission.get("access") or ())


def _permission(permission: Mapping[str, Any]) -> Permission:
    if permission.get("kind") == "system":
        return Permission(system=True, allow=_allow(permission))
    return Permission(project=str(permission.get("namespace")), allow=_allow(permission))
