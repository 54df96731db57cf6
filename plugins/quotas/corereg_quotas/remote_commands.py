"""``corereg quota``: how much projects may hold, over the API."""

from __future__ import annotations

import click

from corereg import remote

DEFAULT = "storage_per_project"
"""The setting that holds the limit of new projects, in bytes."""


def _share(quota: remote.Item) -> str | None:
    used, hard = (quota.get(key, {}).get("storage") for key in ("used", "hard"))
    return f"{100 * used / hard:.0f}%" if used is not None and hard and hard > 0 else None


QUOTAS = (
    remote.Column("project", "ref.name"),
    remote.Column("used", "used.storage", remote.size),
    remote.Column("limit", "hard.storage", remote.size),
    remote.Column("share", _share),
    remote.Column("owner", "ref.owner_name"),
)


@remote.group("quota")
def quota_group() -> None:
    """Limit how much projects hold.

    \b
    corereg quota list --sort -used.storage
    corereg quota set demo 10GiB
    corereg quota default 50GiB
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(quota_group, "list", columns=QUOTAS)
@click.option(
    "--sort", metavar="KEY", help="By what: used.storage or hard.storage, with - before it the largest first."
)
def list_quotas(at: remote.Remote, sort: str | None) -> None:
    """List what each project holds and may hold."""
    at.items(at.api.listed("/quotas", reference="project", sort=sort), name="ref.name")


@remote.command(quota_group, "set")
@click.argument("project")
@click.argument("limit")
def set_quota(at: remote.Remote, project: str, limit: str) -> None:
    """Limit a project to so many bytes: 10GiB, or unlimited."""
    hard = remote.limit(limit)
    quota = _of(at, project)
    at.api.put(remote.path_of("quotas", quota["id"]), {"hard": {"storage": hard}})
    before = remote.size(quota.get("hard", {}).get("storage", -1))
    at.done(
        f"{project} may hold {remote.size(hard)} now; it was {before}",
        {"id": quota["id"], "project": project, "hard": {"storage": hard}},
        name="project",
    )


def _of(at: remote.Remote, project: str) -> remote.Item:
    number = at.api.get(remote.path_of("projects", project))["project_id"]
    for quota in at.api.listed("/quotas", reference="project", reference_id=number):
        return quota
    message = f"{project} has no quota"
    raise remote.NotFound(message)


@remote.command(quota_group, "default")
@click.argument("limit", required=False)
def default(at: remote.Remote, limit: str | None) -> None:
    """Show or set the limit that new projects get."""
    if limit is None:
        found = at.api.get("/configurations").get(DEFAULT, {}).get("value", -1)
        at.done(remote.size(found), {"storage": found}, name="storage")
        return
    hard = remote.limit(limit)
    at.api.put("/configurations", {DEFAULT: hard})
    at.done(f"new projects may hold {remote.size(hard)}", {"storage": hard}, name="storage")
