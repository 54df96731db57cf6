"""Labels on artifacts, global ones and those of a project: the plugin `labels`.

`corereg --help` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from corereg import hookimpl

if TYPE_CHECKING:
    import sqlalchemy as sa

    from corereg import Artifact, Operation, Registry, Route, Schema, Term, Transaction
    from corereg_labels.store import LabelStore

__all__ = ["Labels"]


class Labels:
    """Labels, as Harbor has them: made once, put on any artifact of their project, or everywhere."""

    def __init__(self) -> None:
        self._opened: LabelStore | None = None

    # ---- boot ----

    @hookimpl
    def provide_commands(self) -> Sequence[click.Command]:
        from corereg_labels.commands import label_group

        return [label_group]

    @hookimpl
    def provide_schema(self) -> Schema:
        from corereg_labels.schema import SCHEMA

        return SCHEMA

    @hookimpl
    def provide_routes(self, registry: Registry) -> Sequence[Route]:
        from corereg_labels.routes import LabelRoutes

        return LabelRoutes(registry, self._labels).routes()

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, registry: Registry) -> AsyncGenerator[None]:
        from corereg_labels.store import LabelStore

        self._opened = LabelStore(registry)
        try:
            yield
        finally:
            self._opened = None

    # ---- with each change ----

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        if operation.kind == "project.delete":
            await self._labels().forget_project(tx, operation.details["id"])

    # ---- what the management API shows of artifacts ----

    @hookimpl(optionalhook=True)
    async def describe_artifacts(self, artifacts: Sequence[Artifact]) -> Mapping[Artifact, Mapping[str, Any]]:
        from corereg_labels.routes import response

        carried = await self._labels().carried_by(artifacts)
        return {artifact: {"labels": [response(each) for each in labels]} for artifact, labels in carried.items()}

    @hookimpl(optionalhook=True)
    async def narrow_artifacts(self, term: Term) -> sa.ColumnElement[bool] | None:
        from corereg_labels.search import carrying

        return carrying(term) if term.key == "labels" else None

    def _labels(self) -> LabelStore:
        if self._opened is None:
            message = "the registry is not open"
            raise RuntimeError(message)
        return self._opened
