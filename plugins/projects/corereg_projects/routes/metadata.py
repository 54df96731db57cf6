"""A project's metadata, one key at a time (swagger.yaml, tag ``projectMetadata``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from corereg import Action, BadRequest, Exists, Missing, Namespace, Route, Session
from corereg_projects.documents import Documents, metadata_document
from corereg_projects.metadata import normalised, visibility_of
from corereg_projects.projects import Edit, ProjectStore, StoredProject

PATH = "/api/v2.0/projects/{namespace}/metadatas"
TAG = "projectMetadata"
OPENNESS_KEYS = {"public", "visibility"}


class MetadataRoutes:
    """The routes of one registry."""

    def __init__(self, store: ProjectStore, documents: Documents) -> None:
        self._store = store
        self._documents = documents

    def routes(self) -> Sequence[Route]:
        """The table."""
        one = f"{PATH}/{{meta_name}}"
        return [
            Route("GET", PATH, self.list_project_metadatas, _needs("list"), "A project's metadata", tag=TAG),
            Route("POST", PATH, self.add_project_metadatas, _needs("create"), "Add a key", tag=TAG, errors=(409,)),
            Route("GET", one, self.get_project_metadata, _needs("read"), "One key of the metadata", tag=TAG),
            Route("PUT", one, self.update_project_metadata, _needs("update"), "Change a key", tag=TAG),
            Route("DELETE", one, self.delete_project_metadata, _needs("delete"), "Remove a key", tag=TAG),
        ]

    async def list_project_metadatas(self, session: Session, namespace: Namespace) -> dict[str, str]:
        """All keys that are set."""
        return await self._all(namespace)

    async def add_project_metadatas(self, session: Session, namespace: Namespace, body: dict[str, str]) -> None:
        """Set a key that is not set; one in each request."""
        key, values = _one(body)

        def edit(project: StoredProject) -> StoredProject:
            if key == "public" or key in _keys(project):
                message = f"the metadata {key} is set already; change it with PUT"
                raise Exists(message)
            return _edited(project, values)

        await self._change(session, namespace, edit, "create")

    async def get_project_metadata(self, session: Session, namespace: Namespace, meta_name: str) -> dict[str, str]:
        """One key, if it is set."""
        found = await self._all(namespace)
        if meta_name not in found:
            raise _unset(namespace.name, meta_name)
        return {meta_name: found[meta_name]}

    async def update_project_metadata(
        self, session: Session, namespace: Namespace, meta_name: str, body: dict[str, str]
    ) -> None:
        """Change a key that is set."""
        key, values = _one(body)
        if key != meta_name:
            message = f"the body sets {key[:40]!r}, and the path names {meta_name[:40]!r}; write the same key in both"
            raise BadRequest(message)

        def edit(project: StoredProject) -> StoredProject:
            if key not in OPENNESS_KEYS | _keys(project):
                raise _unset(project.name, key)
            return _edited(project, values)

        await self._change(session, namespace, edit, "update")

    async def delete_project_metadata(self, session: Session, namespace: Namespace, meta_name: str) -> None:
        """Remove a key; a project without `public` or `visibility` is private."""

        def edit(project: StoredProject) -> StoredProject:
            if meta_name not in {"public"} | _keys(project):
                raise _unset(project.name, meta_name)
            left = {key: value for key, value in project.metadata.items() if key != meta_name}
            visibility = "private" if meta_name in OPENNESS_KEYS else project.visibility
            return msgspec.structs.replace(project, metadata=left, visibility=visibility)

        await self._change(session, namespace, edit, "delete")

    async def _all(self, namespace: Namespace) -> dict[str, str]:
        described = await self._documents.described([namespace])
        return metadata_document(await self._store.read(namespace), described.get(namespace.id, {})).values()

    async def _change(self, session: Session, namespace: Namespace, edit: Edit, action: str) -> None:
        await self._store.update(session, namespace, edit, needs=Action("metadata", action, namespace.scope))


def _needs(action: str) -> Action:
    return Action("metadata", action, "{namespace}/*")


def _one(body: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if len(body) != 1:
        message = f"one key of the metadata is set by each request; this one holds {len(body)}"
        raise BadRequest(message)
    values = normalised(body)
    return next(iter(values)), values


def _keys(project: StoredProject) -> set[str]:
    """The keys that are set, beside `public`, which always is."""
    return {*project.metadata, *(["visibility"] if project.visibility == "internal" else [])}


def _edited(project: StoredProject, values: Mapping[str, str]) -> StoredProject:
    kept = {key: value for key, value in values.items() if key not in OPENNESS_KEYS}
    return msgspec.structs.replace(
        project,
        visibility=visibility_of(values, project.visibility),
        metadata={**project.metadata, **kept},
    )


def _unset(project: str, key: str) -> Missing:
    return Missing(f"the metadata {key[:40]!r} of {project} is not set")
