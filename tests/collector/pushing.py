"""Pushes and pulls through a session, as short as can be, and what must be true of a registry at any time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import sqlalchemy as sa

from corereg import Digest, Registry, Session, Tag
from corereg.store.schema import blob_links, blobs, condemned, manifest_members, repositories, uploads

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def push_blob(session: Session, repository: str, data: bytes) -> Digest:
    upload = await session.start_upload(repository)
    await session.finish_upload(upload, digest_of(data), chunks(data))
    return digest_of(data)


def image_of(*layers: bytes, subject: bytes | None = None, note: str = "") -> bytes:
    """A manifest whose config is the first of `layers`."""
    described = [{"mediaType": "application/x", "digest": digest_of(each), "size": len(each)} for each in layers]
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described[0],
        "layers": described[1:],
    }
    if subject is not None:
        document["subject"] = {"mediaType": MANIFEST, "digest": digest_of(subject), "size": len(subject)}
    if note:
        document["annotations"] = {"note": note}
    return json.dumps(document).encode()


def index_of(*manifests: bytes) -> bytes:
    described = [{"mediaType": MANIFEST, "digest": digest_of(each), "size": len(each)} for each in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": described}).encode()


async def push_image(
    session: Session, repository: str, tag: str | None, *layers: bytes, subject: bytes | None = None
) -> bytes:
    """Push the layers and the manifest, under a tag or by its digest; the manifest."""
    for layer in layers:
        await push_blob(session, repository, layer)
    body = image_of(*layers, subject=subject)
    await put(session, repository, tag, body)
    return body


async def put(session: Session, repository: str, tag: str | None, body: bytes, media_type: str = MANIFEST) -> None:
    reference = Tag(tag) if tag is not None else digest_of(body)
    await session.put_manifest(repository, reference, body, media_type)


async def keys_of(registry: Registry) -> set[str]:
    """The digests whose bytes the storage holds."""
    return {stat.key.split("/")[-2] async for stat in registry.storage.committed()}


def hexes(*data: bytes) -> set[str]:
    return {hashlib.sha256(each).hexdigest() for each in data}


async def pulled(session: Session, repository: str, data: bytes) -> bool:
    """Whether the repository serves these bytes, whole."""
    blob = await session.blob(repository, digest_of(data))
    return b"".join([piece async for piece in session.read(blob)]) == data


async def check_whole(registry: Registry) -> None:
    """What must hold at any time: what a manifest names is served, and what is served has its bytes."""
    database = registry.database
    broken = await database.rows(
        sa.select(repositories.c.name, manifest_members.c.digest, manifest_members.c.member)
        .join(repositories, repositories.c.id == manifest_members.c.repository_id)
        .where(
            manifest_members.c.kind == "blob",
            ~sa.exists().where(
                blob_links.c.repository_id == manifest_members.c.repository_id,
                blob_links.c.digest == manifest_members.c.member,
            ),
        )
    )
    assert not broken, f"manifests without their blobs: {broken}"
    held = await keys_of(registry)
    rows = await database.rows(sa.select(blobs.c.digest))
    lost = [row[0] for row in rows if row[0].partition(":")[2] not in held]
    assert not lost, f"rows without their bytes: {lost}"


async def check_clean(registry: Registry, *kept: bytes, before: AbstractSet[str] = frozenset()) -> None:
    """After a last collection: the storage holds `kept`, what it held `before` (digests), and nothing else; no row is
    left over.
    """
    expected = hexes(*kept) | before
    held = await keys_of(registry)
    assert held == expected, f"left over: {sorted(held - expected)}, lost: {sorted(expected - held)}"
    rows: Sequence[Any] = await registry.database.rows(sa.select(blobs.c.digest))
    assert {row[0].partition(":")[2] for row in rows} == expected
    assert not await registry.database.rows(sa.select(condemned.c.storage_key))
    assert not await registry.database.rows(sa.select(uploads.c.id).where(uploads.c.committing.is_not(None)))
