"""What Harbor's API says about labels (swagger.yaml, tag ``label``, and two operations of the tag ``artifact``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from corereg import (
    OPEN,
    SIGNED_IN,
    Action,
    BadRequest,
    Created,
    Listed,
    Listing,
    Missing,
    Namespace,
    Registry,
    Route,
    Session,
)
from corereg_labels.store import Label, LabelStore, Words

NOWHERE = "/*"
"""A scope that no grant names: only who may act everywhere learns that a project, or a label, is not there."""
GLOBAL, PROJECT = "g", "p"
LONGEST_NAME = 128
LONGEST_DESCRIPTION = 1024

_color = re.compile(r"#[0-9A-Fa-f]{6}")


class LabelReq(msgspec.Struct, frozen=True, kw_only=True):
    """A label as a client sends it: to make one, to change one (name, description, color), to attach one (id)."""

    id: int = 0
    name: str = ""
    description: str | None = None
    color: str | None = None
    scope: str | None = None
    project_id: int | None = None


class LabelResp(msgspec.Struct, frozen=True, kw_only=True):
    """A label as Harbor's clients know one; `project_id` is 0 for a global one."""

    id: int
    name: str
    description: str
    color: str
    scope: str
    project_id: int
    creation_time: str
    update_time: str


class LabelListing(Listing, frozen=True, kw_only=True):
    """Which labels: ``scope`` is ``g``, or ``p`` with a project's number; ``name`` is a part of the name."""

    scope: str = ""
    project_id: int = 0
    name: str = ""


class LabelRoutes:
    """The routes of one registry. `store` gives the labels, which are there once the registry is open."""

    def __init__(self, registry: Registry, store: Callable[[], LabelStore]) -> None:
        self._registry = registry
        self._store = store

    def routes(self) -> Sequence[Route]:
        """The table. /labels is one path for global ones and all projects, so the handlers ask for the rights."""
        every, one = "/api/v2.0/labels", "/api/v2.0/labels/{label_id}"
        artifact = "/api/v2.0/projects/{namespace:name}/repositories/{repository_name:path}/artifacts/{reference}"
        scope = "{namespace}/{repository_name}"
        more: dict[str, Any] = {"tag": "label", "errors": (403, 404, 409)}
        read: dict[str, Any] = {"tag": "label", "errors": (403, 404)}
        return [
            Route("GET", every, self.list_labels, OPEN, "List labels according to the query strings.", **read),
            Route("POST", every, self.create_label, SIGNED_IN, "Post creates a label", **more),
            Route("GET", one, self.get_label_by_id, OPEN, "Get the label specified by ID.", **read),
            Route("PUT", one, self.update_label, SIGNED_IN, "Update the label properties.", **more),
            Route("DELETE", one, self.delete_label, SIGNED_IN, "Delete the label specified by ID.", **read),
            Route(
                "POST",
                f"{artifact}/labels",
                self.add_label,
                Action("artifact-label", "create", scope),
                "Add label to artifact",
                tag="artifact",
                errors=(409,),
            ),
            Route(
                "DELETE",
                f"{artifact}/labels/{{label_id}}",
                self.remove_label,
                Action("artifact-label", "delete", scope),
                "Remove label from artifact",
                tag="artifact",
            ),
        ]

    # ---- labels ----

    async def list_labels(self, session: Session, query: LabelListing) -> Listed[LabelResp]:
        """Global labels, for everybody who has signed in, or those of a project, for whoever may see them."""
        if query.scope == GLOBAL:
            await _signed_in(session)
            project_id = 0
        elif query.scope == PROJECT:
            project_id = (await self._project(session, query.project_id, "list")).id
        else:
            message = f"invalid scope: {query.scope[:40]!r}; ask for scope=g, or scope=p&project_id=1"
            raise BadRequest(message)
        labels, total = await self._store().listed(query, project_id, _clean("name", query.name, LONGEST_NAME))
        return Listed([response(each) for each in labels], total)

    async def create_label(self, session: Session, body: LabelReq) -> Created[None]:
        """Make a label."""
        if body.scope not in {GLOBAL, PROJECT}:
            message = f"unsupported label scope {str(body.scope)[:40]!r}; it is g, or p with a project_id"
            raise BadRequest(message)
        namespace = None
        if body.scope == PROJECT:
            namespace = await self._project(session, body.project_id or 0, "create")
        else:
            await session.require(Action("label", "create"))
        return Created((await self._store().create(session, _words(body), namespace)).id)

    async def get_label_by_id(self, session: Session, label_id: int) -> LabelResp:
        """One label; a global one for everybody who has signed in, as the list shows it to them."""
        return response(await self._label(session, label_id, "read"))

    async def update_label(self, session: Session, label_id: int, body: LabelReq) -> None:
        """Name, description and color anew; scope and project stay, whatever the body says."""
        label = await self._label(session, label_id, "update")
        await self._store().update(session, label, _words(body))

    async def delete_label(self, session: Session, label_id: int) -> None:
        """Forget a label; it goes from all artifacts."""
        await self._store().delete(session, await self._label(session, label_id, "delete"))

    # ---- on artifacts ----

    async def add_label(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, body: LabelReq
    ) -> None:
        """Put a label, a global one or one of the project, on an artifact. Only the id is needed."""
        await self._store().attach(session, namespace, f"{namespace.name}/{repository_name}", reference, body.id)

    async def remove_label(
        self, session: Session, namespace: Namespace, repository_name: str, reference: str, label_id: int
    ) -> None:
        """Take a label from an artifact."""
        await self._store().detach(session, namespace, f"{namespace.name}/{repository_name}", reference, label_id)

    # ---- whose label ----

    async def _label(self, session: Session, label_id: int, word: str) -> Label:
        """The label, for whoever may do that to it. Raises Missing for those who may know."""
        said = _said(label_id, word)
        try:
            label = await self._store().with_id(label_id)
        except Missing:
            await session.require(Action("label", word, NOWHERE), said=said)
            raise
        if label.namespace or word != "read" or session.identity.anonymous:
            await session.require(Action("label", word, label.scope), said=said)
        return label

    async def _project(self, session: Session, project_id: int, word: str) -> Namespace:
        """The project, for whoever may do that to its labels. Raises Missing for those who may know."""
        if project_id <= 0:
            message = "must with project ID when to query project labels: scope=p&project_id=1"
            raise BadRequest(message)
        namespace = await self._registry.plugins.resolve_namespace(project_id)
        needs = Action("label", word, namespace.scope if namespace else NOWHERE)
        await session.require(needs, said=_said(project_id, word))
        if namespace is None:
            message = f"there is no project {project_id}"
            raise Missing(message)
        return namespace


def _said(number: int, word: str) -> Action:
    """What a refusal repeats: the caller's own number, and not what is called so, or whether it is there."""
    return Action("label", word, f"{number}/*")


async def _signed_in(session: Session) -> None:
    if session.identity.anonymous:
        raise await session.refusal(Action("label", "read"))


def _words(body: LabelReq) -> Words:
    """What the body says of a label. Raises BadRequest."""
    name = _clean("name", body.name, LONGEST_NAME)
    if not name.strip():
        message = "a label has a name"
        raise BadRequest(message)
    if body.color and not _color.fullmatch(body.color):
        message = f"the color {body.color[:20]!r} is none; write #rrggbb, or leave it out"
        raise BadRequest(message)
    description = body.description or ""
    if len(description) > LONGEST_DESCRIPTION or "\x00" in description:
        message = f"a description has at most {LONGEST_DESCRIPTION} characters, and no NUL among them"
        raise BadRequest(message)
    return Words(name, description, body.color or "")


def _clean(what: str, text: str, longest: int) -> str:
    if len(text) > longest or not text.isprintable():
        message = f"the {what} of a label has at most {longest} characters, and none that nobody sees"
        raise BadRequest(message)
    return text


def response(label: Label) -> LabelResp:
    """A label as it is shown."""
    return LabelResp(
        id=label.id,
        name=label.name,
        description=label.description,
        color=label.color,
        scope=PROJECT if label.namespace else GLOBAL,
        project_id=label.project_id,
        creation_time=rfc3339(label.created_at),
        update_time=rfc3339(label.updated_at),
    )


def rfc3339(microseconds: int) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
