"""``corereg trash``, over the API."""

from __future__ import annotations

import click

from corereg import remote

TRASH = (
    remote.Column("id", "id"),
    remote.Column("repository", "repository"),
    remote.Column("what", "kind"),
    remote.Column("digest", lambda item: str(item.get("digest"))[:19]),
    remote.Column("tags", "tags"),
    remote.Column("size", "size", remote.size),
    remote.Column("deleted", "deleted_at", remote.moment),
    remote.Column("by", "deleted_by"),
)


@remote.group("trash")
def trash_group() -> None:
    """Bring back what was deleted, until it is collected.

    \b
    corereg trash list --repository library/app
    corereg trash restore 12
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(trash_group, "list", columns=TRASH)
@click.option("--repository", metavar="NAME", help="Only what was in this repository.")
@click.option("--kind", type=click.Choice(["manifest", "tag"]), help="Only manifests, or only tags.")
@click.option("--query", "q", metavar="Q", help="A filter in the API's own grammar, as deleted_by=alice.")
def list_trash(at: remote.Remote, repository: str | None, kind: str | None, q: str | None) -> None:
    """List what was deleted in repositories you may push to, the latest first."""
    terms = [q, f"repository={repository}" if repository else None, f"kind={kind}" if kind else None]
    at.items(at.api.listed("/trash", q=",".join(filter(None, terms)) or None), name="id")


@remote.command(trash_group, "restore")
@click.argument("trashed", type=int)
def restore(at: remote.Remote, trashed: int) -> None:
    """Restore a deleted tag, or a deleted image with all that was deleted with it."""
    found = at.api.post(remote.path_of("trash", trashed, "restore"), None)
    what = ", ".join(f"{each['repository']}@{each['digest']}" for each in found)
    at.done(f"restored {what}", found, name="id")
