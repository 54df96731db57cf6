"""``corereg repo``, ``tag``, ``artifact``, ``search`` and ``settings``, over the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from corereg import remote

REPOSITORIES = (
    remote.Column("name", "name"),
    remote.Column("artifacts", "artifact_count"),
    remote.Column("pulls", "pull_count"),
    remote.Column("updated", "update_time", remote.moment),
    remote.Column("description", "description"),
)


def _tags(artifact: remote.Item) -> list[str]:
    return [str(tag.get("name")) for tag in artifact.get("tags") or ()]


def _labels(artifact: remote.Item) -> list[str]:
    return [str(label.get("name")) for label in artifact.get("labels") or ()]


def _platforms(artifact: remote.Item) -> list[str]:
    """``linux/amd64``; of an index, each of its own."""
    attributes = artifact.get("extra_attrs") or {}
    own = [attributes] if attributes.get("architecture") else []
    parts = [*own, *(each.get("platform") or {} for each in artifact.get("references") or ())]
    return [
        "/".join(str(part[key]) for key in ("os", "architecture", "variant") if part.get(key))
        for part in parts
        if part.get("architecture")
    ]


def _short(digest: Any) -> str:
    return str(digest)[:19]


ARTIFACTS = (
    remote.Column("digest", "digest", _short),
    remote.Column("tags", _tags),
    remote.Column("type", "type"),
    remote.Column("platforms", _platforms),
    remote.Column("size", "size", remote.size),
    remote.Column("labels", _labels),
    remote.Column("pushed", "push_time", remote.moment),
    remote.Column("pulled", "pull_time", remote.moment),
)
ARTIFACT = (
    remote.Column("repository", "repository_name"),
    remote.Column("digest", "digest"),
    *ARTIFACTS[1:],
    remote.Column("media-type", "manifest_media_type"),
    remote.Column("config-type", "media_type"),
    remote.Column("artifact-type", "artifact_type"),
    remote.Column("annotations", "annotations"),
)
TAGS = (
    remote.Column("tag", "name"),
    remote.Column("digest", "digest", _short),
    remote.Column("immutable", "immutable"),
    remote.Column("pushed", "push_time", remote.moment),
    remote.Column("pulled", "pull_time", remote.moment),
)
REFERRERS = (
    remote.Column("digest", "digest"),
    remote.Column("type", "artifactType"),
    remote.Column("size", "size", remote.size),
    remote.Column("media-type", "mediaType"),
)
FOUND = (
    remote.Column("kind", "kind"),
    remote.Column("name", "name"),
    remote.Column("access", lambda item: "public" if item.get("public") else "private"),
    remote.Column("artifacts", "artifact_count"),
    remote.Column("pulls", "pull_count"),
)
SETTINGS = (
    remote.Column("name", "name"),
    remote.Column("value", "value"),
    remote.Column("editable", "editable"),
)
_query = click.option("--query", "q", metavar="Q", help="A filter in the API's own grammar, as name=~web.")
_sort = click.option("--sort", metavar="KEYS", help="By what, as name or -update_time.")
_project = remote.project_option(help="The project; then REPOSITORY may be without it.")


# ---- repositories ----


@remote.group("repo")
def repo_group() -> None:
    """Look at repositories, describe and delete them.

    \b
    corereg repo list -p demo
    corereg repo describe demo/app 'The shop, https://shop.example.com'
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(repo_group, "list", columns=REPOSITORIES)
@remote.project_option(help="Only those of this project.")
@click.option("--name", metavar="TEXT", help="Only names that hold this.")
@_query
@_sort
def list_repositories(
    at: remote.Remote, project: str | None, name: str | None, q: str | None, sort: str | None
) -> None:
    """List repositories."""
    path = "/repositories" if project is None else remote.path_of("projects", project, "repositories")
    at.items(at.api.listed(path, q=_terms(q, f"name=~{name}" if name else None), sort=sort), name="name")


def _terms(*terms: str | None) -> str | None:
    return ",".join(filter(None, terms)) or None


@remote.command(repo_group, "show", columns=(remote.Column("name", "name"), *REPOSITORIES[1:]))
@click.argument("repository")
@_project
def show_repository(at: remote.Remote, repository: str, project: str | None) -> None:
    """Show one repository."""
    at.one(at.api.get(remote.repository(repository, project).path()), name="name")


@remote.command(repo_group, "describe")
@click.argument("repository")
@click.argument("text")
@_project
def describe(at: remote.Remote, repository: str, text: str, project: str | None) -> None:
    """Say what a repository is; Markdown. An empty TEXT takes the description away."""
    reference = remote.repository(repository, project)
    at.api.put(reference.path(), {"description": text})
    at.done(f"described {reference.name}", {"name": reference.name, "description": text})


@remote.command(repo_group, "delete")
@click.argument("repository")
@_project
@remote.yes_option()
def delete_repository(at: remote.Remote, repository: str, project: str | None, *, yes: bool) -> None:
    """Delete a repository with everything in it."""
    reference = remote.repository(repository, project)
    count = at.api.get(reference.path()).get("artifact_count", 0)
    at.confirm(f"Delete {reference.name} with its {count} artifacts?", yes=yes)
    at.api.delete(reference.path())
    at.done(f"deleted {reference.name}", {"name": reference.name})


# ---- tags ----


@remote.group("tag")
def tag_group() -> None:
    """Add, move and remove tags.

    \b
    corereg tag list demo/app
    corereg tag add demo/app:1.4.2 stable
    corereg tag move demo/app:stable 1.4.3
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(tag_group, "list", columns=TAGS)
@click.argument("repository")
@_project
def list_tags(at: remote.Remote, repository: str, project: str | None) -> None:
    """List the tags of a repository, or of one artifact."""
    reference = remote.repository(repository, project)
    at.items(_all_tags(at, reference), name="name")


def _all_tags(at: remote.Remote, reference: remote.Reference) -> Iterator[remote.Item]:
    if reference.tag or reference.digest:
        artifacts: Iterator[dict[str, Any]] = iter([at.api.get(reference.artifact_path(), with_immutable_status=True)])
    else:
        path = reference.path("artifacts")
        artifacts = at.api.listed(path, q="tags=*", with_immutable_status=True, with_accessory=False)
    for artifact in artifacts:
        yield from ({**tag, "digest": artifact.get("digest")} for tag in artifact.get("tags") or ())


@remote.command(tag_group, "add")
@click.argument("artifact")
@click.argument("tag")
@_project
def add_tag(at: remote.Remote, artifact: str, tag: str, project: str | None) -> None:
    """Give an artifact one more tag."""
    reference = remote.repository(artifact, project)
    at.api.created(reference.artifact_path("tags"), {"name": tag})
    at.done(f"{reference} is {reference.name}:{tag}, too", {"repository": reference.name, "name": tag})


@remote.command(tag_group, "move")
@click.argument("tag")
@click.argument("to")
@_project
def move_tag(at: remote.Remote, tag: str, to: str, project: str | None) -> None:
    """Let a tag point to another artifact of its repository: TO is a tag or digest there.

    In one step: at no moment is the tag not there.
    """
    reference = remote.repository(tag, project)
    if reference.tag is None or reference.digest is not None:
        message = f"{tag!r} names no tag; write PROJECT/REPOSITORY:TAG"
        raise remote.Misuse(message)
    manifest, media_type = at.api.manifest(reference.name, to)
    at.api.put_manifest(reference.name, reference.tag, manifest, media_type)
    at.done(f"{reference} points to {to} now", {"repository": reference.name, "name": reference.tag, "to": to})


@remote.command(tag_group, "remove")
@click.argument("tag")
@_project
@remote.yes_option()
def remove_tag(at: remote.Remote, tag: str, project: str | None, *, yes: bool) -> None:
    """Take a tag away; the artifact stays."""
    reference = remote.repository(tag, project)
    if reference.tag is None:
        message = f"{tag!r} names no tag; write PROJECT/REPOSITORY:TAG"
        raise remote.Misuse(message)
    at.confirm(f"Take the tag {reference} away?", yes=yes)
    at.api.delete(reference.artifact_path("tags", reference.tag))
    at.done(f"removed {reference}; its artifact stays", {"repository": reference.name, "name": reference.tag})


# ---- artifacts ----


@remote.group("artifact")
def artifact_group() -> None:
    """Look at artifacts, label, copy and delete them.

    \b
    corereg artifact list demo/app --untagged
    corereg artifact copy demo/app:1.4.2 prod/app
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(artifact_group, "list", columns=ARTIFACTS)
@click.argument("repository")
@_project
@click.option("--tag", metavar="TEXT", help="Only those with a tag that holds this.")
@click.option("--untagged", is_flag=True, help="Only those without a tag.")
@click.option("--type", "kind", metavar="TYPE", help="Only IMAGE, CHART, SBOM, ...")
@click.option("--label", metavar="NAME", help="Only those with this label.")
@_query
@_sort
def list_artifacts(  # noqa: PLR0913 - options are arguments
    at: remote.Remote,
    *,
    repository: str,
    project: str | None,
    tag: str | None,
    untagged: bool,
    kind: str | None,
    label: str | None,
    q: str | None,
    sort: str | None,
) -> None:
    """List the artifacts of a repository, those pushed last first."""
    reference = remote.repository(repository, project)
    if tag and untagged:
        message = "--tag and --untagged exclude each other"
        raise remote.Misuse(message)
    terms = _terms(
        q,
        f"tags=~{tag}" if tag else None,
        "tags=nil" if untagged else None,
        f"type={kind.upper()}" if kind else None,
        f"labels=({_label(at, reference.project, label)['id']})" if label else None,
    )
    found = at.api.listed(reference.path("artifacts"), q=terms, sort=sort, with_tag=True, with_label=True)
    at.items(found, name="digest")


@remote.command(artifact_group, "show", columns=ARTIFACT)
@click.argument("artifact")
@_project
def show_artifact(at: remote.Remote, artifact: str, project: str | None) -> None:
    """Show one artifact."""
    at.one(_artifact(at, remote.repository(artifact, project)), name="digest")


def _artifact(at: remote.Remote, reference: remote.Reference) -> remote.Item:
    found: remote.Item = at.api.get(
        reference.artifact_path(), with_tag=True, with_label=True, with_accessory=True, with_immutable_status=True
    )
    return found


@remote.command(artifact_group, "manifest")
@click.argument("artifact")
@_project
def manifest(at: remote.Remote, artifact: str, project: str | None) -> None:
    """Print the manifest, byte by byte as it was pushed."""
    reference = remote.repository(artifact, project)
    data, _ = at.api.manifest(reference.name, reference.what)
    click.echo(data, nl=False)


@remote.command(artifact_group, "referrers", columns=REFERRERS)
@click.argument("artifact")
@_project
def referrers(at: remote.Remote, artifact: str, project: str | None) -> None:
    """List what refers to an artifact: signatures, SBOMs, attestations."""
    reference = remote.repository(artifact, project)
    digest = reference.digest or at.api.get(reference.artifact_path())["digest"]
    at.items(at.api.referrers(reference.name, digest), name="digest")


def _label(at: remote.Remote, project: str, name: str) -> remote.Item:
    """The label of that name: the project's own, else the global one."""
    number = at.api.get(remote.path_of("projects", project))["project_id"]
    own = at.api.listed("/labels", name=name, scope="p", project_id=number)
    everywhere = at.api.listed("/labels", name=name, scope="g")
    return remote.found((label for labels in (own, everywhere) for label in labels), "name", name, "label")


@remote.command(artifact_group, "label")
@click.argument("artifact")
@click.argument("name")
@_project
@click.option("--remove", is_flag=True, help="Take it off.")
def label_artifact(at: remote.Remote, artifact: str, name: str, project: str | None, *, remove: bool) -> None:
    """Put a label on an artifact: one of its project's, or a global one."""
    reference = remote.repository(artifact, project)
    label = _label(at, reference.project, name)
    if remove:
        at.api.delete(reference.artifact_path("labels", label["id"]))
    else:
        at.api.post(reference.artifact_path("labels"), {"id": label["id"]})
    sentence = f"{name} is {'off' if remove else 'on'} {reference} now"
    at.done(sentence, {"id": label["id"], "name": name, "artifact": str(reference)})


@remote.command(artifact_group, "copy")
@click.argument("source")
@click.argument("target")
def copy(at: remote.Remote, source: str, target: str) -> None:
    """Copy an artifact into another repository of this registry; no bytes travel.

    \b
      corereg artifact copy demo/app:1.4.2 prod/app           as prod/app:1.4.2
      corereg artifact copy demo/app:1.4.2 prod/app:stable    as prod/app:stable
    """  # noqa: D301 - click looks for the character, not for its name
    origin, into = remote.repository(source), remote.repository(target)
    if into.digest:
        message = f"{target!r} names a digest; name the repository to copy to"
        raise remote.Misuse(message)
    renamed = into.tag is not None and into.tag != origin.tag
    digest = origin.digest or (at.api.get(origin.artifact_path())["digest"] if renamed else None)
    start = f"{origin.name}@{digest}" if digest else f"{origin.name}:{origin.what}"
    at.api.post(into.path("artifacts"), **{"from": start})
    if renamed:
        at.api.created(into.path("artifacts", str(digest), "tags"), {"name": into.tag})
    tag = into.tag or (None if digest else origin.tag)
    name = f"{into.name}:{tag}" if tag else f"{into.name}@{digest}"
    at.done(f"copied {origin} to {name}", {"name": name, "from": start})


@remote.command(artifact_group, "delete")
@click.argument("artifact")
@_project
@remote.yes_option()
def delete_artifact(at: remote.Remote, artifact: str, project: str | None, *, yes: bool) -> None:
    """Delete an artifact, with all its tags. `corereg tag remove` takes a tag away and lets the artifact be."""
    reference = remote.repository(artifact, project)
    found = _artifact(at, reference)
    tags = ", ".join(_tags(found))
    at.confirm(f"Delete {reference.name}@{_short(found['digest'])}{f' and its tags {tags}' if tags else ''}?", yes=yes)
    at.api.delete(reference.path("artifacts", found["digest"]))
    at.done(
        f"deleted {reference.name}@{found['digest']}", {"digest": found["digest"], "tags": _tags(found)}, name="digest"
    )


# ---- search and settings ----


@remote.command(None, "search", columns=FOUND)
@click.argument("text")
def search(at: remote.Remote, text: str) -> None:
    """Find projects and repositories by a part of their names."""
    answer = at.api.get("/search", q=text)
    projects = (
        {**each, "kind": "project", "public": each.get("metadata", {}).get("public") == "true"}
        for each in answer.get("project", [])
    )
    repositories = (
        {**each, "kind": "repository", "name": each.get("repository_name"), "public": each.get("project_public")}
        for each in answer.get("repository", [])
    )
    at.items((each for found in (projects, repositories) for each in found), name="name")


@remote.group("settings")
def settings_group() -> None:
    """Look at and change the settings of a running registry. `corereg config` is about the file it starts with.

    \b
    corereg settings list
    corereg settings set self_registration true
    """  # noqa: D301 - click looks for the character, not for its name


def _settings(at: remote.Remote) -> dict[str, dict[str, Any]]:
    answer: dict[str, dict[str, Any]] = at.api.get("/configurations")
    return dict(sorted(answer.items()))


def _known(settings: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    remote.found([{"name": each} for each in settings], "name", name, "setting")
    return settings[name]


@remote.command(settings_group, "list", columns=SETTINGS)
def list_settings(at: remote.Remote) -> None:
    """List the settings that can be changed while the registry runs."""
    at.items(({"name": name, **each} for name, each in _settings(at).items()), name="name")


@remote.command(settings_group, "get")
@click.argument("name")
def get_setting(at: remote.Remote, name: str) -> None:
    """Print the value of a setting."""
    setting = _known(_settings(at), name)
    at.done(remote.plain(setting.get("value")), {"name": name, **setting})


@remote.command(settings_group, "set")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--stdin", is_flag=True, help="Read the value from standard input, as secrets should be.")
def set_setting(at: remote.Remote, name: str, value: str | None, *, stdin: bool) -> None:
    """Change a setting."""
    if (value is None) is not stdin:
        message = "give VALUE, or --stdin to read it from standard input"
        raise remote.Misuse(message)
    if stdin:
        at.api.put("/configurations", {name: at.password(None, stdin=True)})
        at.done(f"set {name}", {"name": name})
        return
    before = _known(_settings(at), name).get("value")
    after = _typed(name, str(value), before)
    at.api.put("/configurations", {name: after})
    at.done(f"{name}: {remote.plain(before)} -> {remote.plain(after)}", {"name": name, "value": after})


def _typed(name: str, text: str, like: Any) -> Any:
    """`text` as the type that the setting has."""
    if isinstance(like, str) or like is None:
        return text
    words = {"yes": True, "no": False, "on": True, "off": False, "true": True, "false": False}
    if isinstance(like, bool) and text.lower() in words:
        return words[text.lower()]
    try:
        return msgspec.json.decode(
            text.encode(), type=object if isinstance(like, list | dict) else type(like), strict=False
        )
    except msgspec.MsgspecError:
        message = f"{text!r} will not do for {name}, which is {remote.plain(like)} now"
        raise remote.Misuse(message) from None
