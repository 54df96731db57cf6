"""The labels of one registry. Reading is free; every change goes through a Session, which asks, writes and records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import (
    Action,
    Artifact,
    Change,
    Conflict,
    Digest,
    Exists,
    Listing,
    Missing,
    Namespace,
    Query,
    Registry,
    Session,
    Tag,
    Transaction,
    among,
    now,
    page,
    tables,
)
from corereg_labels.schema import attachments, labels

LARGEST_ID = 2**63 - 1
LOCK = "corereg labels"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A label. Times are microseconds since 1970, UTC."""

    id: int
    name: str
    description: str
    color: str
    project_id: int
    namespace: str
    created_at: int
    updated_at: int

    @property
    def scope(self) -> str:
        """Where one must have rights over labels to have them over this one."""
        return f"{self.namespace}/*" if self.namespace else "system"


class Words(msgspec.Struct, frozen=True):
    """What can be said of a label at any time."""

    name: str
    description: str
    color: str


COLUMNS = tuple(labels.c[name] for name in Label.__struct_fields__)
BY_ID = Query(sa.select(*COLUMNS).where(labels.c.id == sa.bindparam("id", type_=sa.BigInteger)))
FIELDS = {
    "id": labels.c.id,
    "name": labels.c.name,
    "description": labels.c.description,
    "color": labels.c.color,
    "creation_time": labels.c.created_at,
    "update_time": labels.c.updated_at,
}


def _label(row: Sequence[Any]) -> Label:
    return Label(**dict(zip(Label.__struct_fields__, row, strict=True)))


class LabelStore:
    """The labels of one registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.database = registry.database

    # ---- reading ----

    async def with_id(self, label_id: int) -> Label:
        """The label of that id. Raises Missing."""
        row = await self.database.row(BY_ID, id=label_id) if 0 < label_id <= LARGEST_ID else None
        if row is None:
            raise _unknown(label_id)
        return _label(row)

    async def listed(self, listing: Listing, project_id: int, name: str) -> tuple[list[Label], int]:
        """A page of the labels of a project, or the global ones (0), whose name holds `name`; how many there are."""
        select = sa.select(*COLUMNS).where(labels.c.project_id == project_id)
        if name:
            select = select.where(labels.c.name.icontains(name, autoescape=True))
        rows, total = await page(self.database, select, listing, FIELDS, labels.c.name, labels.c.id)
        return [_label(row) for row in rows], total

    async def carried_by(self, artifacts: Sequence[Artifact]) -> dict[Artifact, list[Label]]:
        """The labels of artifacts, by name: one statement for all of them."""
        found: dict[Artifact, list[Label]] = {each: [] for each in artifacts}
        repositories = tables.repositories
        select = (
            sa.select(repositories.c.name, attachments.c.digest, *COLUMNS)
            .join(attachments, attachments.c.repository_id == repositories.c.id)
            .join(labels, labels.c.id == attachments.c.label_id)
            .where(
                among(self.database, repositories.c.name, {each.repository for each in artifacts}),
                among(self.database, attachments.c.digest, {each.digest for each in artifacts}),
            )
            .order_by(labels.c.name, labels.c.id)
        )
        for repository, digest, *row in await self.database.rows(select) if found else ():
            carried = found.get(Artifact(repository, digest))
            if carried is not None:  # the same digest in another repository of the page
                carried.append(_label(row))
        return found

    async def _digest(self, repository: str, reference: str) -> tuple[int, str]:
        """The repository's number and the digest that a tag or a digest means there. Raises Missing."""
        repositories, manifests, tags = tables.repositories, tables.manifests, tables.tags
        if ":" in reference:
            select = sa.select(repositories.c.id, manifests.c.digest)
            select = select.join(manifests, manifests.c.repository_id == repositories.c.id)
            select = select.where(manifests.c.digest == str(Digest.parse(reference)))
        else:
            select = sa.select(repositories.c.id, tags.c.digest)
            select = select.join(tags, tags.c.repository_id == repositories.c.id)
            select = select.where(tags.c.name == str(Tag.parse(reference)))
        known = repository.isprintable()  # what PostgreSQL cannot even compare names nothing
        row = await self.database.row(select.where(repositories.c.name == repository)) if known else None
        if row is None:
            message = f"there is no artifact {reference[:80]} in {repository[:80]!r}"
            raise Missing(message)
        return row[0], row[1]

    # ---- changing ----

    async def create(self, session: Session, words: Words, namespace: Namespace | None) -> Label:
        """Make a label of a project, or a global one. Raises Exists, Missing."""
        at, name = now(), namespace.name if namespace else ""
        insert = self.database.insert(labels).values(
            name=words.name,
            description=words.description,
            color=words.color,
            project_id=namespace.id if namespace else 0,
            namespace=name,
            created_at=at,
            updated_at=at,
        )
        insert = insert.on_conflict_do_nothing(index_elements=["project_id", "name"]).returning(*COLUMNS)
        details = {"name": words.name, "namespace": name or None}
        needs = Action("label", "create", namespace.scope if namespace else "system")
        async with self._change(session, "label.create", details, needs) as change:
            if namespace is not None and await self.registry.plugins.resolve_namespace(namespace.id) != namespace:
                message = f"the project {name} was deleted a moment ago"
                raise Missing(message)
            row = await change.tx.row(insert)
            if row is None:
                raise _taken(words.name)
            label = _label(row)
            change.details["id"] = label.id
        return label

    async def update(self, session: Session, label: Label, words: Words) -> None:
        """Say everything anew that can change. Raises Exists, Missing."""
        update = sa.update(labels).where(labels.c.id == label.id)
        update = update.values(name=words.name, description=words.description, color=words.color, updated_at=now())
        other = sa.select(labels.c.id).where(
            labels.c.project_id == label.project_id, labels.c.name == words.name, labels.c.id != label.id
        )
        details = _told(label) | {"name": words.name}
        async with self._change(session, "label.update", details, Action("label", "update", label.scope)) as change:
            if await change.tx.row(other) is not None:
                raise _taken(words.name)
            if not await change.tx.execute(update):
                raise _unknown(label.id)

    async def delete(self, session: Session, label: Label) -> None:
        """Forget a label; what carried it does so no more."""
        needs = Action("label", "delete", label.scope)
        async with self._change(session, "label.delete", _told(label), needs) as change:
            if not await change.tx.execute(sa.delete(labels).where(labels.c.id == label.id)):
                raise _unknown(label.id)

    async def attach(
        self, session: Session, namespace: Namespace, repository: str, reference: str, label_id: int
    ) -> None:
        """Put a label on an artifact. Raises Exists for one that is there, Missing also for one of another project."""
        label = await self._usable(namespace, label_id)
        repository_id, digest = await self._digest(repository, reference)
        operation = session.operation(
            "label.attach", repository=repository, digest=digest, details=_told(label, namespace)
        )
        insert = self.database.insert(attachments).values(
            repository_id=repository_id, digest=digest, label_id=label.id, created_at=now()
        )
        async with session.change(operation, needs=Action("artifact-label", "create", repository)) as change:
            try:
                new = await change.tx.execute(insert.on_conflict_do_nothing())
            except Conflict:  # the keys: label or artifact went in this moment
                message = f"the label {label.name}, or the artifact, was deleted a moment ago"
                raise Missing(message) from None
            if not new:
                message = f"{repository}@{digest} has the label {label.name} already"
                raise Exists(message)

    async def detach(
        self, session: Session, namespace: Namespace, repository: str, reference: str, label_id: int
    ) -> None:
        """Take a label from an artifact. Raises Missing when it is not there."""
        label = await self._usable(namespace, label_id)
        repository_id, digest = await self._digest(repository, reference)
        operation = session.operation(
            "label.detach", repository=repository, digest=digest, details=_told(label, namespace)
        )
        delete = sa.delete(attachments).where(
            attachments.c.repository_id == repository_id,
            attachments.c.digest == digest,
            attachments.c.label_id == label.id,
        )
        async with session.change(operation, needs=Action("artifact-label", "delete", repository)) as change:
            if not await change.tx.execute(delete):
                message = f"{repository}@{digest} does not have the label {label.name}"
                raise Missing(message)

    async def forget_project(self, tx: Transaction, project_id: int) -> None:
        """Inside `tx`: a project is going, and its labels with it."""
        await self.database.lock(tx, LOCK)
        await tx.execute(sa.delete(labels).where(labels.c.project_id == project_id))

    # ---- what changes share ----

    @asynccontextmanager
    async def _change(
        self, session: Session, kind: str, details: dict[str, Any], needs: Action
    ) -> AsyncGenerator[Change]:
        async with session.change(session.operation(kind, details=details), needs=needs) as change:
            # Alone with whoever deletes a project, and with whoever gives the same name.
            await self.database.lock(change.tx, LOCK)
            yield change

    async def _usable(self, namespace: Namespace, label_id: int) -> Label:
        """A label that artifacts of the project may carry. Raises Missing, in the same words, for one of another."""
        label = await self.with_id(label_id)
        if label.project_id not in {0, namespace.id}:
            raise _unknown(label_id)
        return label


def _told(label: Label, namespace: Namespace | None = None) -> dict[str, Any]:
    where = namespace.name if namespace else label.namespace
    return {"id": label.id, "name": label.name, "namespace": where or None}


def _unknown(label_id: int) -> Missing:
    return Missing(f"there is no label with the id {label_id}")


def _taken(name: str) -> Exists:
    return Exists(f"there is a label {name!r} already; choose another name")
