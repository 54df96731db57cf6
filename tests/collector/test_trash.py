"""What was deleted comes back, until it was collected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg import (
    BlobUnknown,
    Denied,
    Exists,
    Grant,
    Identity,
    Missing,
    Operation,
    Refusal,
    Registry,
    Session,
    Tag,
    hookimpl,
)
from corereg.config import ProtocolConfig
from corereg.errors import Precondition
from corereg.oci.errors import ManifestUnknown
from corereg.session import CollectOptions, Refused
from corereg.store.listing import Listing
from corereg.store.schema import blobs
from corereg.store.work import Silent
from corereg.testing.registry import scratch

from .pushing import INDEX, check_whole, digest_of, image_of, index_of, pulled, push_blob, push_image, put

pytestmark = pytest.mark.anyio


class Frozen:
    """Refuses pushes of a chosen tag."""

    name = "frozen"

    def __init__(self) -> None:
        self.tag = ""

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        pushes = operation.kind in {"manifest.push", "tag.create"}
        return Refusal("that tag is frozen") if pushes and self.tag in operation.tags else None


@pytest.fixture
def frozen() -> Frozen:
    return Frozen()


@pytest.fixture
async def registry(tmp_path: Path, frozen: Frozen) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, frozen) as opened:
        yield opened


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session()


async def latest(session: Session) -> int:
    found, _ = await session.trash(Listing())
    return found[0].id


async def collect_all(session: Session) -> None:
    await session.collect(Silent(), CollectOptions(grace=0))


async def test_a_deleted_image_comes_back_with_its_tags(registry: Registry, session: Session) -> None:
    body = await push_image(session, "demo/app", "v1", b"config", b"layer")
    await put(session, "demo/app", "v2", body)
    await session.delete_manifest("demo/app", digest_of(body))
    with pytest.raises(ManifestUnknown):
        await session.manifest("demo/app", Tag("v1"))
    (trashed,), total = await session.trash(Listing())
    assert (total, trashed.kind, trashed.repository, trashed.tags) == (1, "manifest", "demo/app", ("v1", "v2"))
    assert trashed.deleted_by == "system"
    await session.restore(trashed.id)
    for tag in ("v1", "v2"):
        assert (await session.manifest("demo/app", Tag(tag))).body == body
    assert await pulled(session, "demo/app", b"layer")
    assert (await session.trash(Listing()))[1] == 0
    await check_whole(registry)


async def test_a_deleted_tag_comes_back(session: Session) -> None:
    body = await push_image(session, "demo/app", "v1", b"config")
    await session.delete_manifest("demo/app", Tag("v1"))
    await session.restore(await latest(session))
    assert (await session.manifest("demo/app", Tag("v1"))).body == body


async def test_a_tag_that_points_elsewhere_by_now_is_not_taken_away(session: Session) -> None:
    await push_image(session, "demo/app", "v1", b"old")
    await session.delete_manifest("demo/app", Tag("v1"))
    newer = await push_image(session, "demo/app", "v1", b"new")
    with pytest.raises(Exists, match="by now"):
        await session.restore(await latest(session))
    assert (await session.manifest("demo/app", Tag("v1"))).body == newer
    assert (await session.trash(Listing()))[1] == 1, "it can be tried again"


async def test_a_deleted_repository_comes_back_whole(registry: Registry, session: Session) -> None:
    child = await push_image(session, "demo/app", None, b"c", b"l")
    index = index_of(child)
    await put(session, "demo/app", "multi", index, INDEX)
    signature = await push_image(session, "demo/app", None, b"{}", subject=index)
    await session.delete_repository("demo/app")
    restored = await session.restore(await latest(session))
    assert {each.digest for each in restored} == {str(digest_of(each)) for each in (child, index, signature)}
    assert (await session.manifest("demo/app", Tag("multi"))).body == index
    assert await pulled(session, "demo/app", b"l")
    await check_whole(registry)


async def test_an_artifact_comes_back_with_its_signature(session: Session) -> None:
    signed = await push_image(session, "demo/app", "v1", b"c", b"l")
    signature = await push_image(session, "demo/app", None, b"{}", subject=signed)
    await session.delete_artifact("demo/app", digest_of(signed))
    await session.restore(await latest(session))
    await session.manifest("demo/app", digest_of(signature))
    await session.manifest("demo/app", Tag("v1"))


async def test_after_its_collection_nothing_comes_back(registry: Registry, session: Session) -> None:
    body = await push_image(session, "demo/app", "v1", b"config", b"layer")
    await session.delete_manifest("demo/app", digest_of(body))
    trashed = await latest(session)
    await collect_all(session)
    with pytest.raises(Missing, match="may have been collected"):
        await session.restore(trashed)
    assert (await session.trash(Listing()))[1] == 0
    await check_whole(registry)


async def test_what_lost_its_blobs_says_so_and_changes_nothing(registry: Registry, session: Session) -> None:
    body = await push_image(session, "demo/app", "v1", b"config", b"layer")
    await session.delete_manifest("demo/app", digest_of(body))
    await session.delete_blob("demo/app", digest_of(b"layer"))
    async with registry.database.transaction() as tx:
        await tx.execute(sa.delete(blobs).where(blobs.c.digest == str(digest_of(b"layer"))))
    with pytest.raises(Precondition, match="not stored any more"):
        await session.restore(await latest(session))
    assert (await session.trash(Listing()))[1] == 1


@pytest.mark.parametrize("way", ["manifest", "artifact", "repository"])
async def test_what_was_never_there_does_not_come_back(tmp_path: Path, way: str) -> None:
    """A sparse manifest may name a secret of another repository: its digest alone opens nothing, this way either."""
    async with scratch(tmp_path, protocol=ProtocolConfig(allow_sparse=True)) as registry:
        session = registry.session()
        await push_blob(session, "private/app", b"secret")
        await push_blob(session, "demo/app", b"config")
        body = image_of(b"config", b"secret")
        await put(session, "demo/app", "v1", body)
        match way:
            case "manifest":
                await session.delete_manifest("demo/app", digest_of(body))
            case "artifact":
                await session.delete_artifact("demo/app", digest_of(body))
            case "repository":
                await session.delete_repository("demo/app")
        await session.restore(await latest(session))
        assert (await session.manifest("demo/app", Tag("v1"))).body == body
        assert await pulled(session, "demo/app", b"config")
        with pytest.raises(BlobUnknown):
            await session.blob("demo/app", digest_of(b"secret"))


async def test_a_restoration_is_a_push_to_policies(session: Session, frozen: Frozen) -> None:
    body = await push_image(session, "demo/app", "v1", b"config")
    await session.delete_manifest("demo/app", digest_of(body))
    frozen.tag = "v1"
    with pytest.raises(Refused, match="frozen"):
        await session.restore(await latest(session))
    assert (await session.trash(Listing()))[1] == 1


async def test_only_who_may_push_sees_and_restores(registry: Registry, session: Session) -> None:
    body = await push_image(session, "secret/app", "v1", b"config")
    await session.delete_manifest("secret/app", digest_of(body))
    trashed = await latest(session)
    reader = Identity(name="reader", subject="user:7")
    grants = [Grant("secret/*", "repository", frozenset({"pull"})), Grant("demo/*", "repository", frozenset({"push"}))]
    limited = registry.session(reader, grants=grants)
    assert await limited.trash(Listing()) == ([], 0)
    with pytest.raises((Missing, Denied)):
        await limited.restore(trashed)


async def test_a_manifest_pushed_again_is_restored_without_harm(session: Session) -> None:
    body = await push_image(session, "demo/app", "v1", b"config")
    await session.delete_manifest("demo/app", digest_of(body))
    await put(session, "demo/app", "v1", image_of(b"config"))
    await session.restore(await latest(session))
    assert (await session.manifest("demo/app", Tag("v1"))).body == body
