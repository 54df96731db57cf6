"""What a manifest says of its members, and what is stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from corereg import Digest, Session, Tag
from corereg.oci.errors import ManifestInvalid, ManifestUnknown
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DATA = b"a blob"


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    """With the blob in demo/app."""
    async with scratch(tmp_path) as registry:
        session = registry.session()
        upload = await session.start_upload("demo/app")
        await session.finish_upload(upload, Digest.of(DATA), chunks(DATA))
        yield session


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


def described(data: bytes, more: int = 0, media_type: str = "application/x") -> dict[str, Any]:
    """A descriptor whose size is wrong by `more`."""
    return {"mediaType": media_type, "digest": Digest.of(data), "size": len(data) + more}


def image(*members: dict[str, Any]) -> bytes:
    """The first is the config."""
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": members[0], "layers": members[1:]}
    return json.dumps(document).encode()


def index(*members: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": members}).encode()


async def refused(session: Session, body: bytes, media_type: str) -> None:
    with pytest.raises(ManifestInvalid, match="are stored"):
        await session.put_manifest("demo/app", Tag("v1"), body, media_type)
    with pytest.raises(ManifestUnknown):
        await session.manifest("demo/app", Tag("v1"))


@pytest.mark.parametrize("wrong", range(3))
async def test_a_digest_that_is_named_twice_has_one_size(session: Session, wrong: int) -> None:
    """Config and layer, or a layer twice: whoever pulls believes one of them."""
    for count in (2, 3):
        members = [described(DATA, int(place == wrong)) for place in range(count)]
        if wrong < count:
            await refused(session, image(*members), MANIFEST)


async def test_equal_sizes_may_stand_there_twice(session: Session) -> None:
    body = image(described(DATA), described(DATA), described(DATA))
    await session.put_manifest("demo/app", Tag("v1"), body, MANIFEST)
    assert (await session.manifest("demo/app", Tag("v1"))).body == body


@pytest.mark.parametrize("wrong", range(2))
async def test_a_child_that_is_named_twice_has_one_size(session: Session, wrong: int) -> None:
    child = image(described(DATA))
    await session.put_manifest("demo/app", Digest.of(child), child, MANIFEST)
    members = [described(child, int(place == wrong), MANIFEST) for place in range(2)]
    await refused(session, index(*members), INDEX)
    twice = index(described(child, media_type=MANIFEST), described(child, media_type=MANIFEST))
    await session.put_manifest("demo/app", Tag("v1"), twice, INDEX)
    assert (await session.manifest("demo/app", Tag("v1"))).body == twice
