"""``extra_attrs``: what an artifact's config says, read when somebody first wants to know, and kept.

A push does not wait for it: the transaction reads no storage. Usually the journal's reader has been there before the
first list; a list that comes earlier reads by itself, a few configs at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import BlobUnknown, DatabaseError, Manifest, OCIError, Query, Registry, StorageError, tables
from corereg_management.content import Content, Unreadable
from corereg_management.kinds import SKIP_LIST
from corereg_management.schema import artifacts, references

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Configs read at the same time in this process."""
LARGEST = 64 * 1024
"""Bytes of attributes that are kept; the rest of a longer config is not for lists."""
IMAGE_KEYS = ("architecture", "author", "config", "created", "os")
CNAB_CONFIG = ("io.cnab.manifest.type", "config")

KEEP = Query(
    sa.update(artifacts)
    .where(artifacts.c.id == bindparam("artifact"), artifacts.c.extra_attrs.is_(None))
    .values(extra_attrs=bindparam("said"))
)


class Unread(msgspec.Struct, frozen=True):
    """An artifact whose config nobody has read yet."""

    id: int
    repository_id: int
    repository: str
    digest: str
    type: str
    config: str | None


class Attributes:
    """Reads and keeps the attributes of one registry's artifacts."""

    def __init__(self, registry: Registry, content: Content) -> None:
        self._registry = registry
        self._content = content
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def read(self, unread: Sequence[Unread]) -> dict[int, dict[str, Any]]:
        """The attributes by artifact's id, of those that can be read now; kept for the next time."""
        found: dict[int, dict[str, Any]] = {}

        async def one(each: Unread) -> None:
            async with self._limiter:
                said = await self._said(each)
            if said is not None:
                found[each.id] = said

        async with anyio.create_task_group() as group:
            for each in unread:
                group.start_soon(one, each)
        await self._keep(found)
        return found

    async def _keep(self, found: Mapping[int, Mapping[str, Any]]) -> None:
        if not found:
            return
        rows = [{"artifact": key, "said": msgspec.json.encode(said).decode()} for key, said in found.items()]
        try:
            async with self._registry.database.transaction(durable=False) as tx:
                await tx.execute_many(KEEP, rows)
        except DatabaseError as error:  # a list is no reason to write; the next one reads them again
            log.warning("the attributes of %d artifacts could not be kept: %s", len(rows), error)

    async def of_digest(self, repository_id: int, repository: str, digest: str) -> None:
        """Read those of one artifact, unless they are there."""
        row = await self._registry.database.row(
            sa.select(artifacts.c.id, artifacts.c.type, artifacts.c.config_digest).where(
                artifacts.c.repository_id == repository_id,
                artifacts.c.digest == digest,
                artifacts.c.extra_attrs.is_(None),
            )
        )
        if row is not None:
            await self.read([Unread(row[0], repository_id, repository, digest, row[1], row[2])])

    async def _said(self, unread: Unread) -> dict[str, Any] | None:
        """None where the storage, or a policy, does not let it be read now."""
        try:
            config = unread.config or await self._config_of_bundle(unread)
            if config is None:
                return {}
            document = await self._content.document(unread.repository, config)
            skipped = () if unread.type in {"IMAGE", "CHART"} else await self._skipped(unread)
        except (Unreadable, BlobUnknown):  # nor will it be readable tomorrow
            return {}
        except (OCIError, StorageError, DatabaseError) as error:
            log.info("the config of %s@%s cannot be read now: %s", unread.repository, unread.digest, error)
            return None
        return attributes_of(unread.type, document, skipped)

    async def _manifest(self, unread: Unread, digest: str) -> Manifest | None:
        row = await self._registry.database.row(
            sa.select(tables.manifests.c.body, tables.manifests.c.media_type).where(
                tables.manifests.c.repository_id == unread.repository_id, tables.manifests.c.digest == digest
            )
        )
        return Manifest.parse(row[0], row[1]) if row else None

    async def _skipped(self, unread: Unread) -> Sequence[str]:
        """Keys of the config that whoever pushed it does not want to be told."""
        manifest = await self._manifest(unread, unread.digest)
        if manifest is None or manifest.config is None:
            return ()
        return [word.strip() for word in manifest.config.annotations.get(SKIP_LIST, "").split(",")]

    async def _config_of_bundle(self, unread: Unread) -> str | None:
        """Of an index that is a CNAB bundle: the config of the child that is marked as its config."""
        rows = await self._registry.database.rows(
            sa.select(references.c.child, references.c.descriptor).where(
                references.c.repository_id == unread.repository_id, references.c.parent == unread.digest
            )
        )
        key, value = CNAB_CONFIG
        for child, descriptor in rows:
            if msgspec.json.decode(descriptor)["annotations"].get(key) == value:
                manifest = await self._manifest(unread, child)
                return str(manifest.config.digest) if manifest and manifest.config else None
        return None


def attributes_of(kind: str, document: Mapping[str, Any], skipped: Iterable[str]) -> dict[str, Any]:
    """What of a config is told: of an image five keys, of anything else all but what it asks to be skipped."""
    if kind in {"IMAGE", "WASM"}:
        found = {key: document[key] for key in IMAGE_KEYS if key in document}
    elif kind == "SBOM":
        found = {}
    else:
        without = set(skipped)
        found = {key: value for key, value in document.items() if key not in without}
    return _bounded(found)


def _bounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Without its longest values, where all of it is more than `LARGEST`."""
    sizes = {key: len(msgspec.json.encode((key, value))) for key, value in found.items()}
    total = sum(sizes.values())
    dropped = set()
    for key in sorted(sizes, key=lambda each: -sizes[each]):
        if total <= LARGEST:
            break
        dropped.add(key)
        total -= sizes[key]
    return {key: value for key, value in found.items() if key not in dropped}
