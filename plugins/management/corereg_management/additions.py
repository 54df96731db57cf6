"""More about an artifact than a list tells: how an image was built, what a chart's values are, an SBOM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from corereg import BadRequest, Descriptor, Manifest, Missing, Namespace, Registry, tables
from corereg_management.content import LARGEST_FILE, LARGEST_LAYER, Content, Unreadable
from corereg_management.documents import AdditionLink
from corereg_management.kinds import SBOM
from corereg_management.schema import artifacts

Addition = Literal["build_history", "values.yaml", "readme.md", "dependencies", "sbom", "license", "files"]
_JSON = "application/json; charset=utf-8"
_MARKDOWN = "text/markdown; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
OFFERED: Mapping[str, Sequence[Addition]] = {
    "IMAGE": ("build_history",),
    "WASM": ("build_history",),
    "CHART": ("values.yaml", "readme.md", "dependencies"),
    "CNAI": ("readme.md", "license", "files"),
    "SBOM": ("sbom",),
}
"""What a type of artifact has."""
CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
FILE_PATHS = ("org.cncf.model.filepath", "org.cnai.model.filepath")
DEPENDENCY = ("name", "version", "repository")


class About(Protocol):
    """What must be known of an artifact."""

    @property
    def id(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def repository_id(self) -> int: ...
    @property
    def is_index(self) -> bool: ...


class Told(msgspec.Struct, frozen=True):
    """An addition: its media type and its bytes."""

    media_type: str
    body: bytes


def links(row: About, namespace: Namespace, *, with_sbom: bool) -> dict[str, AdditionLink]:
    """Where the additions of an artifact are."""
    offered = [] if row.is_index else list(OFFERED.get(row.type, ()))
    if with_sbom and "sbom" not in offered:
        offered.append("sbom")
    name = quote(quote(row.repository.removeprefix(f"{namespace.name}/"), safe=""), safe="")
    project = quote(namespace.name, safe="")
    base = f"/api/v2.0/projects/{project}/repositories/{name}/artifacts/{row.digest}/additions"
    return {addition: AdditionLink(f"{base}/{addition}") for addition in offered}


class Additions:
    """Reads the additions of one registry's artifacts."""

    def __init__(self, registry: Registry, content: Content) -> None:
        self._database = registry.database
        self._content = content

    async def read(self, row: About, addition: Addition) -> Told:
        """The addition. Raises BadRequest where artifacts of the type have none, Missing where this one has none."""
        offered = () if row.is_index else OFFERED.get(row.type, ())
        if addition != "sbom" and addition not in offered:
            message = f"addition {addition} isn't supported for {row.type}"
            raise BadRequest(message)
        try:
            told = await self._read(row, addition)
        except Unreadable as error:
            message = f"the {addition} of {row.repository}@{row.digest} cannot be shown: {error}"
            raise Missing(message) from error
        if told is None:
            message = f"{row.repository}@{row.digest} has no {addition}"
            raise Missing(message)
        return told

    async def _read(self, row: About, addition: Addition) -> Told | None:
        if addition == "sbom":
            return await self._sbom(row)
        manifest = await self._manifest(row.repository_id, row.digest)
        match row.type, addition:
            case _, "build_history":
                return _json((await self._config(row, manifest)).get("history") or [])
            case "CHART", "dependencies":
                return _dependencies(await self._config(row, manifest))
            case "CHART", _:
                return await self._chart_file(row, manifest, addition)
            case _, "files":
                return _json(tree(manifest))
        return await self._model_file(row, manifest, addition)

    async def _manifest(self, repository_id: int, digest: str) -> Manifest:
        row = await self._database.row(
            sa.select(tables.manifests.c.body, tables.manifests.c.media_type).where(
                tables.manifests.c.repository_id == repository_id, tables.manifests.c.digest == digest
            )
        )
        if row is None:
            message = f"artifact {digest} not found"
            raise Missing(message)
        return Manifest.parse(row[0], row[1])

    async def _config(self, row: About, manifest: Manifest) -> Mapping[str, Any]:
        if manifest.config is None:
            message = "it has no config"
            raise Unreadable(message)
        return await self._content.document(row.repository, str(manifest.config.digest))

    # ---- SBOMs ----

    async def _sbom(self, row: About) -> Told | None:
        """Of an SBOM itself its content; of anything else the newest one that hangs on it."""
        digest = row.digest if row.type == "SBOM" else await self._newest_sbom(row)
        if digest is None:
            return None
        manifest = await self._manifest(row.repository_id, digest)
        if not manifest.layers:
            return None
        return Told(_JSON, await self._content.blob(row.repository, str(manifest.layers[0].digest), LARGEST_LAYER))

    async def _newest_sbom(self, row: About) -> str | None:
        found = await self._database.row(
            sa.select(artifacts.c.digest)
            .where(
                artifacts.c.repository_id == row.repository_id,
                artifacts.c.subject == row.digest,
                artifacts.c.accessory_type == SBOM,
            )
            .order_by(artifacts.c.pushed_at.desc(), artifacts.c.id.desc())
            .limit(1)
        )
        return found[0] if found else None

    # ---- charts ----

    async def _chart_file(self, row: About, manifest: Manifest, addition: str) -> Told | None:
        layer = next((each for each in manifest.layers if each.media_type == CHART_LAYER), None)
        if layer is None:
            return None
        body = await self._content.member(row.repository, str(layer.digest), in_chart(addition), packed=True)
        return None if body is None else Told(_MARKDOWN if addition == "readme.md" else _TEXT, body)

    # ---- models ----

    async def _model_file(self, row: About, manifest: Manifest, addition: str) -> Told | None:
        wanted = {"readme.md": ("readme.md", "readme"), "license": ("license", "license.md", "license.txt")}[addition]
        layer = next((each for each in manifest.layers if path_of(each).lower() in wanted), None)
        if layer is None:
            return None
        if layer.media_type.endswith(".raw"):
            body: bytes | None = await self._content.blob(row.repository, str(layer.digest), LARGEST_FILE)
        else:
            packed = layer.media_type.endswith("gzip")
            body = await self._content.member(
                row.repository, str(layer.digest), lambda parts: parts[-1].lower() in wanted, packed=packed
            )
        return None if body is None else Told(_MARKDOWN if addition == "readme.md" else _TEXT, body)


def in_chart(name: str) -> Callable[[Sequence[str]], bool]:
    """Whether a path of an archive is that file of the chart itself, not of one inside it."""
    return lambda parts: len(parts) == 2 and parts[1].lower() == name and parts[0] not in {"", ".", ".."}


def path_of(layer: Descriptor) -> str:
    """Which file of a model a layer is; empty where it does not say."""
    return next((layer.annotations[name] for name in FILE_PATHS if name in layer.annotations), "")


def tree(manifest: Manifest) -> list[dict[str, Any]]:
    """A model's files as folders and files: ``{name, type, size}``, of a folder ``{name, type, children}``."""
    root: dict[str, Any] = {}
    for layer in manifest.layers:
        parts = [part for part in path_of(layer).split("/") if part][:16]
        folder: Any = root
        for part in parts[:-1]:
            inner = folder.get(part)
            if not isinstance(inner, dict):
                inner = folder[part] = {}
            folder = inner
        if parts:
            folder[parts[-1]] = layer.size
    return _nodes(root)


def _nodes(folder: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "directory", "children": _nodes(inner)}
        if isinstance(inner, dict)
        else {"name": name, "type": "file", "size": inner}
        for name, inner in sorted(folder.items())
    ]


def _dependencies(chart: Mapping[str, Any]) -> Told:
    listed = chart.get("dependencies")
    found = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return _json([{key: str(each.get(key) or "") for key in DEPENDENCY} for each in found])


def _json(value: Any) -> Told:
    return Told(_JSON, msgspec.json.encode(value))
