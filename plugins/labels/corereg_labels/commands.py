"""``corereg label``: global labels and those of a project, over the API."""

from __future__ import annotations

from typing import Any

import click

from corereg import remote

LABELS = (
    remote.Column("name", "name"),
    remote.Column("id", "id"),
    remote.Column("scope", lambda label: "project" if label.get("scope") == "p" else "global"),
    remote.Column("color", "color"),
    remote.Column("description", "description"),
)


@remote.group("label")
def label_group() -> None:
    """Make and change labels; `corereg artifact label` puts them on artifacts.

    \b
    corereg label list
    corereg label create reviewed -p demo --color '#0065ab'
    """  # noqa: D301 - click looks for the character, not for its name


_project = remote.project_option(help="A label of this project.  [default: global labels]")
_color = click.option("--color", metavar="#RRGGBB", help="Its colour.")
_description = click.option("--description", metavar="TEXT", help="What it means.")


def _scope(at: remote.Remote, project: str | None) -> dict[str, Any]:
    """Where labels stand, as the API says it."""
    if project is None:
        return {"scope": "g"}
    return {"scope": "p", "project_id": at.api.get(remote.path_of("projects", project))["project_id"]}


def _label(at: remote.Remote, name: str, project: str | None) -> remote.Item:
    labels = at.api.listed("/labels", name=name, **_scope(at, project))
    return remote.found(labels, "name", name, f"label of {project}" if project else "global label")


@remote.command(label_group, "list", columns=LABELS)
@_project
@click.option("--name", metavar="TEXT", help="Only names that hold this.")
def list_labels(at: remote.Remote, project: str | None, name: str | None) -> None:
    """List labels."""
    at.items(at.api.listed("/labels", name=name, **_scope(at, project)), name="name")


@remote.command(label_group, "create")
@click.argument("name")
@_project
@_color
@_description
def create(at: remote.Remote, name: str, project: str | None, color: str | None, description: str | None) -> None:
    """Make a label."""
    fields = {"name": name, "color": color, "description": description, **_scope(at, project)}
    body = {key: value for key, value in fields.items() if value is not None}
    number = at.api.created("/labels", body)
    at.done(f"created {name}", {"id": int(number) if number.isdigit() else None, **body})


@remote.command(label_group, "update")
@click.argument("name")
@_project
@click.option("--name", "new_name", metavar="NAME", help="Another name.")
@_color
@_description
def update(
    at: remote.Remote, name: str, project: str | None, new_name: str | None, color: str | None, description: str | None
) -> None:
    """Change a label."""
    changes = {"name": new_name, "color": color, "description": description}
    if all(value is None for value in changes.values()):
        message = "nothing to change; say --name, --color or --description"
        raise remote.Misuse(message)
    label = _label(at, name, project)
    kept = {key: label.get(key) for key in ("name", "color", "description", "scope", "project_id") if label.get(key)}
    body = kept | {key: value for key, value in changes.items() if value is not None}
    at.api.put(remote.path_of("labels", label["id"]), body)
    at.done(f"updated {name}", {"id": label["id"], **body})


@remote.command(label_group, "delete")
@click.argument("name")
@_project
@remote.yes_option()
def delete(at: remote.Remote, name: str, project: str | None, *, yes: bool) -> None:
    """Delete a label; it comes off every artifact."""
    label = _label(at, name, project)
    at.confirm(f"Delete the label {name}, and take it off every artifact?", yes=yes)
    at.api.delete(remote.path_of("labels", label["id"]))
    at.done(f"deleted {name}", {"id": label["id"], "name": name})
