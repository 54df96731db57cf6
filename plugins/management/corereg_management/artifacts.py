"""Lists of artifacts: which, in which order, and everything about those of a page.

Whatever a page holds, the number of statements is the same: one for the rows, one for their count, one for each kind
of thing that is merged in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET

from corereg import Artifact as Named
from corereg import (
    BadRequest,
    Digest,
    Fields,
    Listing,
    Missing,
    Namespace,
    Registry,
    Tag,
    Term,
    among,
    conditions,
    page,
    tables,
)
from corereg_management import documents
from corereg_management.additions import links
from corereg_management.attributes import Attributes, Unread
from corereg_management.documents import rfc3339
from corereg_management.icons import icon_of
from corereg_management.kinds import INDEX_TYPES, SBOM, SIGNATURES
from corereg_management.schema import artifacts, references, tags

MOST_TAGS = 1000
"""Tags shown with one artifact, the newest; ``.../tags`` lists all."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an artifact beyond its own fields."""

    with_tag: bool = True
    with_label: bool = False
    with_scan_overview: bool = False
    with_sbom_overview: bool = False
    with_immutable_status: bool = False
    with_accessory: bool = False
    with_inherited_accessory: bool = False

    @property
    def wanted(self) -> frozenset[str]:
        """The fields that other plugins know."""
        asked = {
            "labels": self.with_label,
            "scan_overview": self.with_scan_overview,
            "sbom_overview": self.with_sbom_overview,
            "immutable_tags": self.with_tag and self.with_immutable_status,
        }
        return frozenset(name for name, wanted in asked.items() if wanted)


class ArtifactListing(Listing, frozen=True, kw_only=True):
    """The parameters of a list of artifacts."""

    with_tag: bool = True
    with_label: bool = False
    with_scan_overview: bool = False
    with_sbom_overview: bool = False
    with_immutable_status: bool = False
    with_accessory: bool = False
    with_inherited_accessory: bool = False

    @property
    def shown(self) -> Shown:
        """The switches alone."""
        return Shown(**{name: getattr(self, name) for name in Shown.__struct_fields__})


class ProjectListing(ArtifactListing, frozen=True, kw_only=True):
    """The parameters of a project's list of artifacts."""

    latest_in_repository: bool = False


class Row(msgspec.Struct, frozen=True):
    """An artifact's own row, and the name of its repository."""

    id: int
    repository_id: int
    digest: str
    type: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    config_digest: str | None
    size: int
    pushed_at: int
    pulled_at: int | None
    accessory_type: str | None
    annotations: str | None
    icon: str | None
    extra_attrs: str | None
    repository: str

    @property
    def named(self) -> Named:
        """What other plugins are asked about."""
        return Named(self.repository, self.digest)

    @property
    def is_index(self) -> bool:
        """Whether it has children."""
        return self.manifest_media_type in INDEX_TYPES


COLUMNS = [artifacts.c[name] for name in Row.__struct_fields__ if name != "repository"]
FIELDS: Fields = {
    "id": artifacts.c.id,
    "repository_id": artifacts.c.repository_id,
    "repository_name": tables.repositories.c.name,
    "digest": artifacts.c.digest,
    "type": artifacts.c.type,
    "media_type": artifacts.c.media_type,
    "manifest_media_type": artifacts.c.manifest_media_type,
    "artifact_type": artifacts.c.artifact_type,
    "size": artifacts.c.size,
    "push_time": artifacts.c.pushed_at,
    "pull_time": artifacts.c.pulled_at,
    "icon": artifacts.c.icon,
}
NEWEST = (artifacts.c.pushed_at.desc(), artifacts.c.id.desc())
ACCESSORY_FIELDS: Fields = {
    "id": artifacts.c.id,
    "type": artifacts.c.accessory_type,
    "digest": artifacts.c.digest,
    "size": artifacts.c.size,
    "creation_time": artifacts.c.pushed_at,
    "subject_artifact_digest": artifacts.c.subject,
}
TAG_FIELDS: Fields = {
    "id": tags.c.id,
    "name": tables.tags.c.name,
    "push_time": tables.tags.c.updated_at,
    "pull_time": tags.c.pulled_at,
}
_its_tag = sa.and_(tables.tags.c.repository_id == artifacts.c.repository_id, tables.tags.c.digest == artifacts.c.digest)
_our_tag = sa.and_(tags.c.repository_id == tables.tags.c.repository_id, tags.c.name == tables.tags.c.name)

Found = TypeVar("Found")


class Artifacts:
    """The artifacts of one registry, as the API tells of them."""

    def __init__(self, registry: Registry, attributes: Attributes) -> None:
        self._registry = registry
        self._database = registry.database
        self._attributes = attributes

    # ---- one ----

    async def repository_id(self, repository: str) -> int:
        """The number of a repository. Raises Missing."""
        row = None
        if repository.isprintable():  # what cannot be a name is no value for a database either
            row = await self._database.row(
                sa.select(tables.repositories.c.id).where(tables.repositories.c.name == repository)
            )
        if row is None:
            message = f"repository {repository[:255]} not found"
            raise Missing(message)
        return int(row[0])

    async def find(self, repository: str, reference: str) -> Row:
        """The artifact that a tag or a digest means. Raises Missing, DigestInvalid, TagInvalid."""
        repository_id = await self.repository_id(repository)
        select = sa.select(*COLUMNS).where(artifacts.c.repository_id == repository_id)
        if ":" in reference:
            select = select.where(artifacts.c.digest == str(Digest.parse(reference)))
        else:
            select = select.join(tables.tags, _its_tag).where(tables.tags.c.name == str(Tag.parse(reference)))
        row = await self._database.row(select)
        if row is None:
            message = f"artifact {repository}:{reference} not found"
            raise Missing(message)
        return Row(*[*row, repository])

    # ---- many ----

    async def of_repository(self, repository: str, query: ArtifactListing) -> tuple[list[Row], int]:
        """One page of a repository's artifacts, newest push first, and how many there are."""
        repository_id = await self.repository_id(repository)
        where = [artifacts.c.repository_id == repository_id, *await self._narrowed(query, repository_id)]
        select = sa.select(*COLUMNS, sa.literal(repository)).where(*where)
        fields = {name: column for name, column in FIELDS.items() if name != "repository_name"}
        rows, total = await page(self._database, select, query, fields, *NEWEST)
        return [Row(*row) for row in rows], total

    async def of_project(self, inside: sa.ColumnElement[bool], query: ProjectListing) -> tuple[list[Row], int]:
        """One page of the artifacts of all repositories that `inside` holds for."""
        where = [inside, *await self._narrowed(query)]
        joined = artifacts.join(tables.repositories, tables.repositories.c.id == artifacts.c.repository_id)
        if query.latest_in_repository:
            where.append(artifacts.c.id.in_(_latest(joined, where, query)))
        select = sa.select(*COLUMNS, tables.repositories.c.name).select_from(joined).where(*where)
        rows, total = await page(self._database, select, query, FIELDS, *NEWEST)
        return [Row(*row) for row in rows], total

    async def _narrowed(self, query: Listing, repository_id: int | None = None) -> list[sa.ColumnElement[bool]]:
        """What the terms of ``q`` that are no columns ask; without ``base=*`` what the usual list shows.

        `repository_id` where the list is of one repository alone.
        """
        found: list[sa.ColumnElement[bool]] = []
        usual = True
        for term in query.terms:
            if term.key == "base":
                usual = term.text != "*"
            elif term.key == "tags":
                found.append(_tagged(term, repository_id))
            elif term.key not in FIELDS:
                found += await self._narrowed_by_others(term)
        return [artifacts.c.listed == 1, *found] if usual else found

    async def _narrowed_by_others(self, term: Term) -> Sequence[sa.ColumnElement[bool]]:
        for _, ask in self._registry.plugins.asked("narrow_artifacts"):
            condition = await ask(term)
            if condition is not None:
                stored = tables.manifests.c
                return [
                    sa.exists().where(
                        stored.repository_id == artifacts.c.repository_id,
                        stored.digest == artifacts.c.digest,
                        condition,
                    )
                ]
        return ()

    # ---- what hangs on them ----

    async def told(self, rows: Sequence[Row], shown: Shown, namespace: Namespace) -> list[documents.Artifact]:
        """Everything that is asked about the artifacts of a page."""
        if not rows:
            return []
        ids = [row.id for row in rows]
        described = await self._described(rows, shown.wanted)
        its_tags = await self._tags(ids) if shown.with_tag else {}
        children = await self._children([row.id for row in rows if row.is_index])
        accessories = await self._accessories(ids)
        inherited = await self._inherited(ids) if shown.with_inherited_accessory else {}
        attributes = await self._read(rows)
        found = []
        for row in rows:
            others = described.get(row.named, {})
            locked = frozenset(others.get("immutable_tags", ()))
            hanging = accessories.get(row.id, [])
            found.append(
                documents.Artifact(
                    id=row.id,
                    type=row.type,
                    media_type=row.media_type,
                    manifest_media_type=row.manifest_media_type,
                    artifact_type=row.artifact_type,
                    project_id=namespace.id,
                    repository_id=row.repository_id,
                    repository_name=row.repository,
                    digest=row.digest,
                    size=row.size,
                    icon=row.icon or icon_of(row.type),
                    push_time=rfc3339(row.pushed_at),
                    pull_time=rfc3339(row.pulled_at),
                    extra_attrs=attributes.get(row.id, UNSET),
                    annotations=msgspec.json.decode(row.annotations) if row.annotations else UNSET,
                    references=children.get(row.id, []) if row.is_index else UNSET,
                    tags=[_locked(tag, locked) for tag in its_tags.get(row.id, [])] if shown.with_tag else UNSET,
                    addition_links=links(row, namespace, with_sbom=any(each.type == SBOM for each in hanging)),
                    labels=others.get("labels", []) if shown.with_label else UNSET,
                    scan_overview=others.get("scan_overview", UNSET),
                    sbom_overview=others.get("sbom_overview", UNSET),
                    accessories=hanging if shown.with_accessory else UNSET,
                    inherited_accessories=inherited.get(row.id, []) if shown.with_inherited_accessory else UNSET,
                )
            )
        return found

    async def _described(self, rows: Sequence[Row], wanted: frozenset[str]) -> Mapping[Named, Mapping[str, Any]]:
        """What other plugins say; nobody is asked for nothing."""
        found: dict[Named, dict[str, Any]] = {}
        named = [row.named for row in rows]
        for _, ask in self._registry.plugins.asked("describe_artifacts") if wanted else ():
            for artifact, said in (await ask(named, wanted) or {}).items():
                fields = {name: value for name, value in said.items() if name in wanted}
                found.setdefault(artifact, {}).update(fields)
        return found

    async def _tags(self, ids: Sequence[int]) -> Mapping[int, list[documents.Tag]]:
        rank = sa.func.row_number().over(
            partition_by=artifacts.c.id, order_by=(tables.tags.c.updated_at.desc(), tables.tags.c.name)
        )
        ranked = (
            sa.select(
                artifacts.c.id.label("artifact"),
                tags.c.id.label("number"),
                artifacts.c.repository_id,
                tables.tags.c.name,
                tables.tags.c.updated_at,
                tags.c.pulled_at,
                rank.label("rank"),
            )
            .select_from(artifacts.join(tables.tags, _its_tag).join(tags, _our_tag))
            .where(among(self._database, artifacts.c.id, ids))
            .subquery()
        )
        rows = await self._database.rows(
            sa.select(*ranked.c).where(ranked.c.rank <= MOST_TAGS).order_by(ranked.c.artifact, ranked.c.rank)
        )
        return _grouped((row[0], _tag(row[:6])) for row in rows)

    async def _children(self, ids: Sequence[int]) -> Mapping[int, list[documents.Reference]]:
        if not ids:
            return {}
        child = artifacts.alias("child")
        rows = await self._database.rows(
            sa.select(artifacts.c.id, child.c.id, references.c.child, references.c.descriptor)
            .select_from(
                artifacts.join(
                    references,
                    sa.and_(
                        references.c.repository_id == artifacts.c.repository_id,
                        references.c.parent == artifacts.c.digest,
                    ),
                ).join(
                    child,
                    sa.and_(child.c.repository_id == references.c.repository_id, child.c.digest == references.c.child),
                    isouter=True,
                )
            )
            .where(among(self._database, artifacts.c.id, ids))
            .order_by(artifacts.c.id, references.c.position)
        )
        return _grouped(
            (
                parent,
                documents.Reference(
                    parent_id=parent, child_id=number or 0, child_digest=digest, **msgspec.json.decode(descriptor)
                ),
            )
            for parent, number, digest, descriptor in rows
        )

    async def _accessories(self, ids: Sequence[int]) -> Mapping[int, list[documents.Accessory]]:
        subject = artifacts.alias("subject_artifact")
        hangs = sa.and_(artifacts.c.repository_id == subject.c.repository_id, artifacts.c.subject == subject.c.digest)
        rows = await self._database.rows(
            _accessories(subject)
            .select_from(subject.join(artifacts, hangs).join(tables.repositories, _its_repository))
            .where(among(self._database, subject.c.id, ids), artifacts.c.accessory_type.is_not(None))
            .order_by(subject.c.id, *NEWEST)
        )
        return _grouped((row[0], accessory(row)) for row in rows)

    async def _inherited(self, ids: Sequence[int]) -> Mapping[int, list[documents.Accessory]]:
        """Signatures of the indexes that hold the artifacts."""
        parent = artifacts.alias("parent_artifact")
        rows = await self._database.rows(
            sa.select(artifacts.c.id, parent.c.id)
            .select_from(
                artifacts.join(
                    references,
                    sa.and_(
                        references.c.repository_id == artifacts.c.repository_id,
                        references.c.child == artifacts.c.digest,
                    ),
                ).join(
                    parent,
                    sa.and_(
                        parent.c.repository_id == references.c.repository_id, parent.c.digest == references.c.parent
                    ),
                )
            )
            .where(among(self._database, artifacts.c.id, ids))
            .order_by(artifacts.c.id, parent.c.id)
        )
        hanging = await self._accessories(list({row[1] for row in rows}))
        signatures = {key: [each for each in found if each.type in SIGNATURES] for key, found in hanging.items()}
        return _grouped((member, each) for member, place in rows for each in signatures.get(place, ()))

    async def _read(self, rows: Sequence[Row]) -> Mapping[int, dict[str, Any]]:
        """The attributes that are kept, and those that are read now."""
        found = {row.id: msgspec.json.decode(row.extra_attrs) for row in rows if row.extra_attrs is not None}
        unread = [
            Unread(row.id, row.repository_id, row.repository, row.digest, row.type, row.config_digest)
            for row in rows
            if row.extra_attrs is None
        ]
        return {**found, **await self._attributes.read(unread)} if unread else found

    # ---- pages of what hangs on one ----

    async def tags_of(self, row: Row, query: Listing) -> tuple[list[documents.Tag], int]:
        """One page of an artifact's tags. Numbers and pulls are looked up for the page, unless it is made by them:
        of a hundred thousand tags only those that are shown are touched.
        """
        own = tables.tags
        newest = (own.c.updated_at.desc(), own.c.name.desc())
        select: sa.Select[Any] = sa.select(own.c.name, own.c.updated_at).where(
            own.c.repository_id == row.repository_id, own.c.digest == row.digest
        )
        if {*(term.key for term in query.terms), *(name for name, _ in query.order)} & {"id", "pull_time"}:
            select = select.select_from(own.join(tags, _our_tag))
        rows, total = await page(self._database, select, query, TAG_FIELDS, *newest)
        kept = sa.select(tags.c.name, tags.c.id, tags.c.pulled_at).where(
            tags.c.repository_id == row.repository_id, among(self._database, tags.c.name, [each[0] for each in rows])
        )
        counted = {name: (number, pulled) for name, number, pulled in await self._database.rows(kept)}
        shown = ((name, pushed, *counted[name]) for name, pushed in rows if name in counted)
        return [
            _tag((row.id, number, row.repository_id, name, pushed, pulled)) for name, pushed, number, pulled in shown
        ], total

    async def locked(self, row: Row, shown: Sequence[documents.Tag]) -> list[documents.Tag]:
        """The tags, with the word of whoever knows which cannot be changed."""
        described = await self._described([row], frozenset({"immutable_tags"}))
        names = frozenset(described.get(row.named, {}).get("immutable_tags", ()))
        return [_locked(tag, names) for tag in shown]

    async def accessories_of(self, row: Row, query: Listing) -> tuple[list[documents.Accessory], int]:
        """One page of what hangs on an artifact."""
        subject = artifacts.alias("subject_artifact")
        select = (
            _accessories(subject)
            .select_from(
                subject.join(
                    artifacts,
                    sa.and_(
                        artifacts.c.repository_id == subject.c.repository_id, artifacts.c.subject == subject.c.digest
                    ),
                ).join(tables.repositories, _its_repository)
            )
            .where(subject.c.id == row.id, artifacts.c.accessory_type.is_not(None))
        )
        rows, total = await page(self._database, select, query, ACCESSORY_FIELDS, *NEWEST)
        return [accessory(each) for each in rows], total

    async def tag_names(self, row: Row) -> list[str]:
        """All tags of an artifact."""
        rows = await self._database.rows(
            sa.select(tables.tags.c.name)
            .where(tables.tags.c.repository_id == row.repository_id, tables.tags.c.digest == row.digest)
            .order_by(tables.tags.c.name)
        )
        return [each[0] for each in rows]

    async def signatures_by_tag(self, row: Row) -> list[Row]:
        """What hangs on an artifact by a tag's name alone, which the protocol knows nothing of."""
        rows = await self._database.rows(
            sa.select(*COLUMNS, sa.literal(row.repository))
            .join(
                tables.manifests,
                sa.and_(
                    tables.manifests.c.repository_id == artifacts.c.repository_id,
                    tables.manifests.c.digest == artifacts.c.digest,
                ),
            )
            .where(
                artifacts.c.repository_id == row.repository_id,
                artifacts.c.subject == row.digest,
                tables.manifests.c.subject.is_(None),
            )
        )
        return [Row(*each) for each in rows]


_its_repository = tables.repositories.c.id == artifacts.c.repository_id


def _latest(joined: sa.FromClause, where: Sequence[sa.ColumnElement[bool]], query: Listing) -> sa.Select[Any]:
    """Ids of the newest of each repository among those that are asked for."""
    asked = {term.key for term in query.terms}
    if len(asked & {"media_type", "artifact_type"}) != 1:
        message = "latest_in_repository needs one of media_type and artifact_type in q, and not both"
        raise BadRequest(message)
    rank = sa.func.row_number().over(partition_by=artifacts.c.repository_id, order_by=NEWEST)
    ranked = (
        sa.select(artifacts.c.id, rank.label("rank"))
        .select_from(joined)
        .where(*where, *conditions(query, FIELDS))
        .subquery()
    )
    return sa.select(ranked.c.id).where(ranked.c.rank == 1)


def _tagged(term: Term, repository_id: int | None) -> sa.ColumnElement[bool]:
    """``tags=*``, ``tags=nil``, ``tags=v1``, ``tags=~v``, ``tags={v1 v2}``, ``tags=(v1 v2)``."""
    name = tables.tags.c.name
    match term.how:
        case "is" if term.text == "*":
            return sa.exists().where(_its_tag)
        case "is" if term.text == "nil":
            return ~sa.exists().where(_its_tag)
        case "is":
            return _named(term.text, repository_id)
        case "like":
            return _one_is(name.icontains(term.text, autoescape=True), repository_id)
        case "any":
            return _one_is(name.in_([str(value) for value in term.values]), repository_id)
        case "all":
            return sa.and_(sa.true(), *(_named(str(value), repository_id) for value in term.values))
    message = "q: tags is a name, ~part of one, * for any, nil for none, {one of} or (all of); it has no range"
    raise BadRequest(message)


def _one_is(condition: sa.ColumnElement[bool], repository_id: int | None) -> sa.ColumnElement[bool]:
    """Whether a tag of the artifact is such; in one repository looked up once, not per row."""
    if repository_id is None:
        return sa.exists().where(_its_tag, condition)
    its_own = sa.select(tables.tags.c.digest).where(tables.tags.c.repository_id == repository_id, condition)
    return artifacts.c.digest.in_(its_own)


def _named(text: str, repository_id: int | None) -> sa.ColumnElement[bool]:
    """Whether the artifact has that tag; in one repository no other row is looked at."""
    if repository_id is None:
        return sa.exists().where(_its_tag, tables.tags.c.name == text)
    its_own = sa.select(tables.tags.c.digest).where(
        tables.tags.c.repository_id == repository_id, tables.tags.c.name == text
    )
    return artifacts.c.digest == its_own.scalar_subquery()


def _accessories(subject: sa.FromClause) -> sa.Select[Any]:
    return sa.select(
        subject.c.id,
        artifacts.c.id,
        subject.c.digest,
        tables.repositories.c.name,
        artifacts.c.size,
        artifacts.c.digest,
        artifacts.c.accessory_type,
        artifacts.c.icon,
        artifacts.c.pushed_at,
    )


def accessory(row: Sequence[Any]) -> documents.Accessory:
    """A row of `_accessories`."""
    return documents.Accessory(
        id=row[1],
        artifact_id=row[1],
        subject_artifact_id=row[0],
        subject_artifact_digest=row[2],
        subject_artifact_repo=row[3],
        size=row[4],
        digest=row[5],
        type=row[6],
        icon=row[7] or icon_of(row[6]),
        creation_time=rfc3339(row[8]),
    )


def _tag(row: Sequence[Any]) -> documents.Tag:
    return documents.Tag(
        artifact_id=row[0],
        id=row[1],
        repository_id=row[2],
        name=row[3],
        push_time=rfc3339(row[4]),
        pull_time=rfc3339(row[5]),
    )


def _locked(tag: documents.Tag, names: frozenset[str]) -> documents.Tag:
    return msgspec.structs.replace(tag, immutable=True) if tag.name in names else tag


def _grouped(pairs: Iterable[tuple[int, Found]]) -> dict[int, list[Found]]:
    found: dict[int, list[Found]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
