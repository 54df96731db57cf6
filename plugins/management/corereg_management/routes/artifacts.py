"""Artifacts and their tags, accessories and additions (Harbor's tag ``artifact``)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from corereg import (
    Action,
    BadRequest,
    Created,
    Digest,
    Listed,
    Listing,
    Missing,
    Namespace,
    OCIError,
    Response,
    Route,
    Session,
    Tag,
    tables,
    within,
)
from corereg_management import documents
from corereg_management.additions import Addition, Additions
from corereg_management.artifacts import ArtifactListing, Artifacts, ProjectListing, Row, Shown

log = logging.getLogger(__name__)

REPOSITORIES = "/api/v2.0/projects/{namespace:name}/repositories"
REPOSITORY = f"{REPOSITORIES}/{{repository_name:path}}"
SCOPE = "{namespace}/{repository_name}"
ARTIFACT = f"{REPOSITORY}/artifacts/{{reference}}"
# What people pushed is shown as text, whatever it looks like, and runs nowhere.
AS_TEXT = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; sandbox"),
)


class TagListing(Listing, frozen=True, kw_only=True):
    """The parameters of a list of tags."""

    with_immutable_status: bool = False


class Source(msgspec.Struct, frozen=True):
    """Where an artifact is copied from: ``project/repository:tag`` or ``project/repository@digest``."""

    source: str = msgspec.field(name="from")


class ArtifactRoutes:
    """The routes of one registry."""

    def __init__(self, artifacts: Artifacts, additions: Additions) -> None:
        self._artifacts = artifacts
        self._additions = additions

    def routes(self) -> Sequence[Route]:
        """The table."""
        here, one = f"{REPOSITORY}/artifacts", ARTIFACT
        return [
            Route("GET", here, self.list_artifacts, _may("artifact", "list"), "List artifacts.", tag="artifact"),
            Route(
                "POST", here, self.copy_artifact, _may("artifact", "create"), "Copy an artifact.",
                tag="artifact", errors=(412,),
            ),
            Route("GET", one, self.get_artifact, _may("artifact", "read"), "Get an artifact.", tag="artifact"),
            Route(
                "DELETE", one, self.delete_artifact, _may("artifact", "delete"), "Delete an artifact.",
                tag="artifact", errors=(412,),
            ),
            Route("GET", f"{one}/tags", self.list_tags, _may("tag", "list"), "List tags.", tag="artifact"),
            Route(
                "POST", f"{one}/tags", self.create_tag, _may("tag", "create"), "Create a tag.",
                tag="artifact", errors=(409, 412),
            ),
            Route(
                "DELETE", f"{one}/tags/{{tag_name}}", self.delete_tag, _may("tag", "delete"), "Delete a tag.",
                tag="artifact", errors=(412,),
            ),
            Route(
                "GET", f"{one}/accessories", self.list_accessories, _may("accessory", "list"), "List accessories.",
                tag="artifact",
            ),
            Route(
                "GET", f"{one}/additions/{{addition}}", self.get_addition, _may("artifact-addition", "read"),
                "Get an addition of an artifact.", tag="artifact", produces="*/*",
            ),
            Route(
                "GET", "/api/v2.0/projects/{namespace}/artifacts", self.list_artifacts_of_project,
                Action("artifact", "list", "{namespace}/*"), "List the artifacts of a project.", tag="project",
            ),
        ]  # fmt: skip

    # ---- artifacts ----

    async def list_artifacts(
        self, session: Session, namespace: Namespace, repository_name: str, query: ArtifactListing
    ) -> Listed[documents.Artifact]:
        """Those with a tag and those that no index needs, newest push first; ``q=base=*`` lists all."""
        rows, total = await self._artifacts.of_repository(f"{namespace.name}/{repository_name}", query)
        return Listed(await self._artifacts.told(rows, query.shown, namespace), total)

    async def list_artifacts_of_project(
        self, session: Session, namespace: Namespace, query: ProjectListing
    ) -> Listed[documents.Artifact]:
        """The same over all repositories of a project."""
        inside = within(tables.repositories.c.name, namespace.name)
        rows, total = await self._artifacts.of_project(inside, query)
        return Listed(await self._artifacts.told(rows, query.shown, namespace), total)

    async def get_artifact(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, query: Shown
    ) -> documents.Artifact:
        """By its tag or digest."""
        row = await self._find(namespace, repository_name, reference)
        return (await self._artifacts.told([row], query, namespace))[0]

    async def delete_artifact(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str
    ) -> None:
        """With its tags, and with the signatures and whatever else hangs on it."""
        row = await self._find(namespace, repository_name, reference)
        by_tag = await self._artifacts.signatures_by_tag(row)
        await session.delete_artifact(row.repository, Digest.parse(row.digest))
        for each in by_tag:  # the protocol does not know that these hang on it
            try:
                await session.delete_artifact(each.repository, Digest.parse(each.digest))
            except OCIError as error:  # what they hung on is gone all the same
                log.warning("%s@%s is left behind: %s", each.repository, each.digest, error)

    async def copy_artifact(
        self, session: Session, namespace: Namespace, repository_name: str, query: Source
    ) -> Created[None]:
        """Bring an artifact from another repository: its tags, its children and its accessories come along."""
        repository, reference = parted(query.source)
        await session.require(Action("artifact", "read", repository))
        row = await self._artifacts.find(repository, reference)
        if row.accessory_type is not None:
            message = f"{row.named} hangs on another artifact; copy that, and it comes along"
            raise BadRequest(message)
        target = f"{namespace.name}/{repository_name}"
        for each in (row, *await self._artifacts.signatures_by_tag(row)):
            tags = [Tag.parse(name) for name in await self._artifacts.tag_names(each)]
            await session.copy_artifact(repository, Digest.parse(each.digest), target, tags)
        return Created(reference)

    # ---- tags ----

    async def list_tags(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, query: TagListing
    ) -> Listed[documents.Tag]:
        """Of one artifact, newest first."""
        row = await self._find(namespace, repository_name, reference)
        found, total = await self._artifacts.tags_of(row, query)
        return Listed(await self._artifacts.locked(row, found) if query.with_immutable_status else found, total)

    async def create_tag(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, body: documents.NewTag
    ) -> Created[None]:
        """Point a new tag at the artifact."""
        tag = Tag.parse(body.name)
        row = await self._find(namespace, repository_name, reference)
        await session.create_tag(row.repository, Digest.parse(row.digest), tag)
        return Created(tag)

    async def delete_tag(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, tag_name: str
    ) -> None:
        """The tag alone; the artifact stays."""
        tag = Tag.parse(tag_name)
        row = await self._find(namespace, repository_name, reference)
        await session.delete_tag(row.repository, Digest.parse(row.digest), tag)

    # ---- what hangs on it ----

    async def list_accessories(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, query: Listing
    ) -> Listed[documents.Accessory]:
        """Signatures, SBOMs and everything else whose subject the artifact is, newest first."""
        row = await self._find(namespace, repository_name, reference)
        return Listed(*await self._artifacts.accessories_of(row, query))

    async def get_addition(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, addition: Addition
    ) -> Response:
        """What ``addition_links`` of the artifact names."""
        row = await self._find(namespace, repository_name, reference)
        told = await self._additions.read(row, addition)
        headers = [("content-type", told.media_type), ("content-length", str(len(told.body))), *AS_TEXT]
        return Response(200, headers, told.body)

    async def _find(self, namespace: Namespace, repository_name: str, reference: str) -> Row:
        return await self._artifacts.find(f"{namespace.name}/{repository_name}", reference)


def _may(resource: str, action: str) -> Action:
    return Action(resource, action, SCOPE)


def parted(source: str) -> tuple[str, str]:
    """Repository and reference. Raises BadRequest; Missing for a repository that cannot be."""
    name, at, reference = source.partition("@")
    if not at:
        name, _, reference = source.partition(":")
    project, slash, rest = name.partition("/")
    by_digest = ":" in reference
    if not (project and slash and rest and reference) or ":" in name or by_digest != bool(at):
        message = f"invalid copy source {source[:80]!r}: write project/repository:tag or project/repository@digest"
        raise BadRequest(message)
    if not name.isprintable():
        message = f"repository {name[:80]!r} not found"
        raise Missing(message)
    return name, reference
