"""What the tests push with, and somebody who knows namespaces."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import fsspec

from corereg import (
    ANONYMOUS,
    EVERYTHING,
    Digest,
    Event,
    FsspecStorage,
    Grant,
    Identity,
    Namespace,
    Registry,
    Session,
    Tag,
    hookimpl,
)
from corereg_quotas.reconcile import Difference, reconcile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ALICE = Identity(name="alice", subject="user:1")


class Projects:
    """Knows namespaces. They outlive a registry, as in a database."""

    name = "projects"

    def __init__(self) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.made = 0

    @hookimpl
    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        if isinstance(reference, str):
            return self.namespaces.get(reference)
        return next((each for each in self.namespaces.values() if each.id == reference), None)

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant]:
        return [] if identity == ANONYMOUS else [EVERYTHING]

    async def create(self, registry: Registry, name: str, storage_limit: int | None = None) -> Namespace:
        session = registry.session()
        self.made += 1
        namespace = Namespace(self.made, name)
        details = {"name": name, "storage_limit": storage_limit}
        async with session.change(session.operation("project.create", details=details)) as change:
            change.details["id"] = namespace.id
        self.namespaces[name] = namespace
        return namespace

    async def delete(self, registry: Registry, name: str) -> None:
        session = registry.session()
        details = {"name": name, "id": self.namespaces[name].id}
        async with session.change(session.operation("project.delete", details=details)):
            pass
        del self.namespaces[name]


class MemoryStorage:
    """A place for bytes."""

    def __init__(self) -> None:
        self.root = f"/{secrets.token_hex(8)}"

    @hookimpl
    def provide_storage(self, url: str) -> FsspecStorage:
        return FsspecStorage(fsspec.filesystem("memory"), self.root)


# ---- pushing ----


def digest_of(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


async def push_blob(session: Session, repository: str, data: bytes) -> Digest:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    upload = await session.start_upload(repository)
    await session.finish_upload(upload, digest_of(data), chunks())
    return digest_of(data)


def image(*layers: bytes, note: str = "") -> bytes:
    """A manifest of blobs; the first is the config."""
    described = [
        {"mediaType": "application/octet-stream", "digest": digest_of(each), "size": len(each)} for each in layers
    ]
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    return json.dumps({**body, "annotations": {"note": note}}).encode()


async def push_image(session: Session, repository: str, *layers: bytes, tag: str = "latest", note: str = "") -> bytes:
    """As docker does: the blobs, then the manifest. Its bytes."""
    for each in layers:
        await push_blob(session, repository, each)
    body = image(*layers, note=note)
    await session.put_manifest(repository, Tag(tag), body, MANIFEST)
    return body


def index(*manifests: bytes) -> bytes:
    members = [{"mediaType": MANIFEST, "digest": digest_of(each), "size": len(each)} for each in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": members}).encode()


# ---- looking ----


def ledger(registry: Registry) -> Any:
    return next(each.plugin for each in registry.plugins if each.name == "quotas")._ledger


async def used(registry: Registry, name: str) -> int:
    """What the namespace is counted to hold."""
    namespace = await registry.plugins.resolve_namespace(name)
    assert namespace is not None
    said = await ledger(registry).describe([namespace])
    return int(said[namespace.id]["quota"]["used"]["storage"])


async def wrong(registry: Registry) -> Sequence[Difference]:
    return await reconcile(ledger(registry), check=True)


async def set_limit(registry: Registry, name: str, hard: int) -> None:
    namespace = await registry.plugins.resolve_namespace(name)
    assert namespace is not None
    counters = await ledger(registry)._of([namespace])
    await ledger(registry).set_hard(registry.session(), counters[namespace.id].id, hard)


async def events(registry: Registry, kind: str) -> list[Event]:
    await registry.journal.flush()
    return [event for event in await registry.journal.events(limit=100_000) if event.kind == kind]
