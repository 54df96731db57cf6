"""Whole artifacts: tags, deletes with all that hangs on them, copies; who is asked, and what a race may not break."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corereg import (
    ANONYMOUS,
    BlobUnknown,
    Denied,
    Digest,
    Exists,
    Grant,
    Identity,
    ManifestUnknown,
    Missing,
    NameInvalid,
    OCIError,
    Operation,
    Precondition,
    Refusal,
    Registry,
    Session,
    Tag,
    Transaction,
    hookimpl,
)
from corereg.config import ProtocolConfig
from corereg.session import Refused, SignInNeeded
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LONG_CHAIN = 1000
"""More than Python lets a function call itself."""
Meanwhile = Callable[[Session], Awaitable[Any]]


class Watch:
    """Remembers who was asked, may refuse a kind, and may do something between the reading and the lock."""

    def __init__(self) -> None:
        self.admitted: list[Operation] = []
        self.committed: list[Operation] = []
        self.refuses: tuple[str, str] = ("", "")
        self.registry: Registry | None = None
        self.meanwhile: tuple[str, Meanwhile] | None = None

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        self.admitted.append(operation)
        if self.meanwhile is not None and self.meanwhile[0] == operation.kind:
            act, self.meanwhile = self.meanwhile[1], None
            assert self.registry is not None
            await act(self.registry.session())
        return Refusal("not today") if self.refuses == ("admit", operation.kind) else None

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        self.committed.append(operation)
        return Refusal("not today") if self.refuses == ("commit", operation.kind) else None

    def forget(self) -> None:
        self.admitted.clear()
        self.committed.clear()

    def kinds(self) -> tuple[list[str], list[str]]:
        return sorted(each.kind for each in self.admitted), sorted(each.kind for each in self.committed)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def registry(tmp_path: Path, watch: Watch) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, watch) as opened:
        watch.registry = opened
        yield opened


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session()


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


async def push_blob(session: Session, repository: str, data: bytes) -> Digest:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await session.finish_upload(await session.start_upload(repository), digest_of(data), chunks())
    return digest_of(data)


def described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def image(*layers: bytes, subject: bytes | None = None, note: str = "") -> bytes:
    parts = [described(each, "application/octet-stream") for each in layers]
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
    if subject is not None:
        body |= {"subject": described(subject, MANIFEST), "artifactType": "application/vnd.example.signature"}
    return json.dumps({**body, "annotations": {"note": note}}).encode()


def index(*members: bytes) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(each, MANIFEST) for each in members]}
    ).encode()


async def push(
    session: Session, repository: str, body: bytes, *tags: str, layers: tuple[bytes, ...] = (b"x",)
) -> Digest:
    for layer in layers:
        await push_blob(session, repository, layer)
    kind = INDEX if b'"manifests"' in body else MANIFEST
    digest = digest_of(body)
    await session.put_manifest(repository, digest, body, kind, tags=[Tag(tag) for tag in tags])
    return digest


async def state(registry: Registry, repository: str) -> Any:
    """All that the repository holds."""
    number = await registry.catalog.repository_id(repository)
    if number is None:
        return None
    catalog = registry.catalog
    contents = sorted(row[0] for row in await catalog.contents(number))
    return contents, await catalog.all_tags(number), await catalog.links(number)


async def told(registry: Registry, after: int = 0) -> list[tuple[str, str | None, str | None]]:
    return [
        (each.kind, each.repository, each.digest) for each in await registry.journal.events(after=after, limit=1000)
    ]


async def serial(registry: Registry) -> int:
    return (await registry.journal.events(limit=1000))[-1].serial


# ---- tags ----


async def test_a_tag_is_made_and_taken_away(registry: Registry, session: Session, watch: Watch) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    watch.forget()
    await session.create_tag("demo/app", digest, Tag("v1"))
    assert (await session.manifest("demo/app", Tag("v1"))).digest == digest
    (operation,) = watch.committed
    assert (operation.kind, operation.tags, operation.digest) == ("tag.create", ("v1",), digest)
    assert (operation.media_type, operation.size) == (MANIFEST, len(image(b"x")))
    await session.delete_tag("demo/app", digest, Tag("v1"))
    with pytest.raises(ManifestUnknown):
        await session.manifest("demo/app", Tag("v1"))
    assert (await session.manifest("demo/app", Tag("latest"))).digest == digest
    assert [each[0] for each in await told(registry)][-2:] == ["tag.create", "tag.delete"]


async def test_a_tag_is_never_moved_by_making_it(registry: Registry, session: Session) -> None:
    first = await push(session, "demo/app", image(b"x"), "latest")
    second = await push(session, "demo/app", image(b"x", note="2"))
    for digest in (first, second):
        with pytest.raises(Exists, match="the tag latest is in demo/app already"):
            await session.create_tag("demo/app", digest, Tag("latest"))
    assert (await session.manifest("demo/app", Tag("latest"))).digest == first


async def test_tags_of_what_is_not_there(session: Session) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    other = await push(session, "demo/app", image(b"x", note="2"))
    for repository, wanted in (("demo/app", digest_of(b"nothing")), ("demo/none", digest)):
        with pytest.raises(ManifestUnknown):
            await session.create_tag(repository, wanted, Tag("v1"))
    for repository, wanted, tag in (
        ("demo/app", other, "latest"),
        ("demo/app", digest, "v1"),
        ("demo/no", digest, "v1"),
    ):
        with pytest.raises(Missing):
            await session.delete_tag(repository, wanted, Tag(tag))
    assert (await session.manifest("demo/app", Tag("latest"))).digest == digest


async def test_of_two_that_make_one_tag_one_does(session: Session) -> None:
    digests = [await push(session, "demo/app", image(b"x", note=str(number))) for number in range(5)]
    done = await asyncio.gather(
        *(session.create_tag("demo/app", digest, Tag("v1")) for digest in digests), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["Exists"] * 4 + ["NoneType"]


# ---- delete ----


async def test_an_artifact_goes_with_its_tags_and_all_that_refers_to_it(
    registry: Registry, session: Session, watch: Watch
) -> None:
    body = image(b"x")
    signature = image(b"x", subject=body)
    countersigned = image(b"x", subject=signature)
    digest = await push(session, "demo/app", body, "latest", "v1")
    hanging = {await push(session, "demo/app", signature, "sig"), await push(session, "demo/app", countersigned)}
    other = await push(session, "demo/app", image(b"x", note="other"), "other")
    before = await serial(registry)
    watch.forget()
    await session.delete_artifact("demo/app", digest)
    contents, tags, links = await state(registry, "demo/app")
    assert (contents, tags) == ([other], {other: ["other"]})
    assert digest_of(b"x") in links, "blobs are for the collector"
    assert {each.digest for each in watch.admitted} == {each.digest for each in watch.committed} == {digest, *hanging}
    assert {(each.kind, each.size is not None) for each in watch.committed} == {("manifest.delete", True)}
    assert next(each.tags for each in watch.committed if each.digest == digest) == ("latest", "v1")
    assert sorted(await told(registry, before)) == sorted(
        ("manifest.delete", "demo/app", each) for each in (digest, *hanging)
    )


async def test_what_an_index_needs_stays(registry: Registry, session: Session) -> None:
    body = image(b"x")
    member = await push(session, "demo/app", body, "one")
    signature = await push(session, "demo/app", image(b"x", subject=body))
    whole = await push(session, "demo/app", index(body), "all")
    before = await state(registry, "demo/app")
    with pytest.raises(Precondition, match="referenced by others") as refused:
        await session.delete_artifact("demo/app", member)
    assert refused.value.status == 412
    assert await state(registry, "demo/app") == before, "its signature stays too"
    await session.delete_artifact("demo/app", whole)
    await session.delete_artifact("demo/app", member)
    assert (await state(registry, "demo/app"))[0] == []
    assert signature


async def test_a_referrer_that_an_index_needs_keeps_its_subject(registry: Registry, session: Session) -> None:
    body = image(b"x")
    subject = await push(session, "demo/app", body, "one")
    signature = image(b"x", subject=body)
    await push(session, "demo/app", signature)
    await push(session, "demo/app", index(signature), "all")
    before = await state(registry, "demo/app")
    with pytest.raises(Precondition):
        await session.delete_artifact("demo/app", subject)
    assert await state(registry, "demo/app") == before


async def test_artifacts_that_are_not_there(session: Session) -> None:
    digest = await push(session, "demo/app", image(b"x"))
    for repository, wanted in (("demo/app", digest_of(b"nothing")), ("demo/none", digest)):
        with pytest.raises(ManifestUnknown):
            await session.delete_artifact(repository, wanted)


async def test_a_repository_goes_with_everything(registry: Registry, session: Session, watch: Watch) -> None:
    body = image(b"x", b"yy")
    digests = [
        await push(session, "demo/app", body, "one", layers=(b"x", b"yy")),
        await push(session, "demo/app", image(b"x", subject=body)),
        await push(session, "demo/app", index(body), "all", "both"),
    ]
    await push(session, "demo/twin", body, layers=(b"x", b"yy"))
    before, twin = await serial(registry), await state(registry, "demo/twin")
    watch.forget()
    await session.delete_repository("demo/app")
    assert await state(registry, "demo/app") is None
    assert await state(registry, "demo/twin") == twin
    assert watch.kinds() == (
        ["manifest.delete"] * 3 + ["repository.delete"],
        ["blob.delete"] * 2 + ["manifest.delete"] * 3 + ["repository.delete"],
    )
    assert {each.digest: each.size for each in watch.committed if each.kind == "blob.delete"} == {
        digest_of(b"x"): 1,
        digest_of(b"yy"): 2,
    }
    gone = await told(registry, before)
    assert gone[0] == ("repository.delete", "demo/app", None)
    assert {each[2] for each in gone if each[0] == "manifest.delete"} == set(digests)
    with pytest.raises(Missing, match="there is no repository demo/app"):
        await session.delete_repository("demo/app")


@pytest.mark.parametrize("where", ["admit", "commit"])
@pytest.mark.parametrize("kind", ["repository.delete", "manifest.delete", "blob.delete"])
async def test_a_policy_keeps_a_repository_whole(
    registry: Registry, session: Session, watch: Watch, where: str, kind: str
) -> None:
    await push(session, "demo/app", image(b"x"), "latest")
    before, events = await state(registry, "demo/app"), await serial(registry)
    watch.refuses = (where, kind)
    if (where, kind) == ("admit", "blob.delete"):
        await session.delete_repository("demo/app")  # of blobs one hears inside the transaction
        return
    with pytest.raises(Refused, match="not today"):
        await session.delete_repository("demo/app")
    assert await state(registry, "demo/app") == before
    await registry.journal.flush()
    assert {each[0] for each in await told(registry, events)} <= {"access.refused"}


async def test_deleting_can_be_switched_off(tmp_path: Path) -> None:
    async with scratch(tmp_path, protocol=ProtocolConfig(delete=False)) as registry:
        session = registry.session()
        digest = await push(session, "demo/app", image(b"x"), "latest")
        for act in (
            session.delete_artifact("demo/app", digest),
            session.delete_repository("demo/app"),
            session.delete_tag("demo/app", digest, Tag("latest")),
        ):
            with pytest.raises(OCIError, match="deleting is switched off"):
                await act
        assert (await session.manifest("demo/app", Tag("latest"))).digest == digest


# ---- copy ----


async def test_an_index_is_copied_with_what_it_is_made_of_and_what_refers_to_it(
    registry: Registry, session: Session, watch: Watch
) -> None:
    first, second = image(b"x"), image(b"yy", note="2")
    whole = index(first, second)
    signature, inner = image(b"s", subject=whole), image(b"s", subject=first)
    for body, layer in ((first, b"x"), (second, b"yy")):
        await push(session, "demo/app", body, layers=(layer,))
    digest = await push(session, "demo/app", whole, "all", layers=())
    for body in (signature, inner):
        await push(session, "demo/app", body, layers=(b"s",))
    await push(session, "demo/app", image(b"z"), "stays", layers=(b"z",))
    await push(session, "other/app", first, "old", layers=(b"x",))
    source, before = await state(registry, "demo/app"), await serial(registry)
    watch.forget()
    await session.copy_artifact("demo/app", digest, "other/app", [Tag("all"), Tag("v1")])
    assert watch.kinds() == (["blob.mount"] * 3 + ["manifest.push"] * 5,) * 2
    contents, tags, links = await state(registry, "other/app")
    everything = sorted(map(digest_of, (first, second, whole, signature, inner)))
    assert contents == everything
    assert tags == {digest: ["all", "v1"], digest_of(first): ["old"]}
    assert links == {digest_of(b"x"): 1, digest_of(b"yy"): 2, digest_of(b"s"): 1}
    assert await state(registry, "demo/app") == source
    for each in map(Digest, everything):
        ours, theirs = await session.manifest("demo/app", each), await session.manifest("other/app", each)
        assert (ours.body, ours.media_type) == (theirs.body, theirs.media_type)
    assert len(await session.referrers("other/app", digest, artifact_type=None, last="", limit=10)) == 1

    new = {each.digest: each.new for each in watch.committed}
    assert new == {each: each not in {digest_of(first), digest_of(b"x")} for each in (*everything, *links)}
    assert all(each.repository == "other/app" and each.size for each in watch.committed)
    (root,) = (each for each in watch.committed if each.digest == digest)
    assert (root.tags, root.source) == (("all", "v1"), "demo/app")
    events = await told(registry, before)
    assert events[0] == ("manifest.push", "other/app", digest)
    assert len(events) == 8


async def test_a_manifest_keeps_the_name_it_has(registry: Registry, session: Session) -> None:
    """Pushed under its sha512."""
    body = image(b"x")
    await push_blob(session, "demo/app", b"x")
    digest = digest_of(body, "sha512")
    await session.put_manifest("demo/app", digest, body, MANIFEST, tags=[Tag("long")])
    await session.copy_artifact("demo/app", digest, "other/app", [Tag("long")])
    assert (await state(registry, "other/app"))[:2] == ([digest], {digest: ["long"]})
    assert (await session.manifest("other/app", digest)).body == body
    await session.delete_artifact("other/app", digest)
    assert (await state(registry, "other/app"))[0] == []


async def test_a_copy_takes_a_long_chain_of_referrers_along(session: Session) -> None:
    first = last = image(b"x")
    await push(session, "demo/app", first, "v1")
    for number in range(LONG_CHAIN):
        last = image(b"x", subject=last, note=str(number))
        await session.put_manifest("demo/app", digest_of(last), last, MANIFEST)
    await session.copy_artifact("demo/app", digest_of(first), "demo/new")
    assert (await session.manifest("demo/new", digest_of(last))).body == last


async def test_a_mount_of_what_is_deleted_meanwhile_is_no_mount(watch: Watch, session: Session) -> None:
    digest = await push_blob(session, "demo/app", b"x")
    watch.meanwhile = ("blob.mount", lambda other: other.delete_blob("demo/app", digest))
    assert await session.mount("demo/new", digest, "demo/app") is None


async def test_a_copy_onto_itself_and_again_changes_nothing(registry: Registry, session: Session) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    before = await state(registry, "demo/app")
    await session.copy_artifact("demo/app", digest, "demo/app")
    assert await state(registry, "demo/app") == before
    await session.copy_artifact("demo/app", digest, "other/app", [Tag("v1")])
    once = await state(registry, "other/app")
    await session.copy_artifact("demo/app", digest, "other/app", [Tag("v1")])
    assert await state(registry, "other/app") == once


@pytest.mark.parametrize("where", ["admit", "commit"])
@pytest.mark.parametrize("kind", ["blob.mount", "manifest.push"])
async def test_a_policy_stops_a_whole_copy(
    registry: Registry, session: Session, watch: Watch, where: str, kind: str
) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    watch.refuses = (where, kind)
    with pytest.raises(Refused, match="not today"):
        await session.copy_artifact("demo/app", digest, "other/app")
    assert await state(registry, "other/app") is None


async def test_copies_of_nothing_and_to_nowhere(registry: Registry, session: Session) -> None:
    digest = await push(session, "demo/app", image(b"x"))
    for repository, wanted in (("demo/app", digest_of(b"nothing")), ("demo/none", digest)):
        with pytest.raises(ManifestUnknown):
            await session.copy_artifact(repository, wanted, "other/app")
    for target in ("Other/App", "", "other//app", "../app"):
        with pytest.raises(NameInvalid):
            await session.copy_artifact("demo/app", digest, target)
    assert await state(registry, "other/app") is None


# ---- rights ----

ACTS: dict[str, tuple[Grant, Callable[[Session, Digest], Awaitable[None]]]] = {
    "tag create": (
        Grant("demo/app", "tag", frozenset({"create"})),
        lambda session, digest: session.create_tag("demo/app", digest, Tag("v1")),
    ),
    "tag delete": (
        Grant("demo/app", "tag", frozenset({"delete"})),
        lambda session, digest: session.delete_tag("demo/app", digest, Tag("latest")),
    ),
    "artifact delete": (
        Grant("demo/app", "artifact", frozenset({"delete"})),
        lambda session, digest: session.delete_artifact("demo/app", digest),
    ),
    "repository delete": (
        Grant("demo/app", "repository", frozenset({"delete"})),
        lambda session, digest: session.delete_repository("demo/app"),
    ),
}


@pytest.mark.parametrize("name", ACTS)
async def test_each_needs_its_right_and_no_other(registry: Registry, session: Session, name: str) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    before = await state(registry, "demo/app")
    grant, act = ACTS[name]
    alice = Identity(name="alice", subject="user:alice")
    others = [other for other, _ in ACTS.values() if other != grant]
    elsewhere = Grant(frozenset({"demo/app2", "demo/app/*", "dem/*"}), "*", frozenset({"*"}))
    with pytest.raises(Denied):
        await act(registry.session(alice, grants=[*others, elsewhere]), digest)
    with pytest.raises(SignInNeeded):
        await act(registry.session(ANONYMOUS), digest)
    assert await state(registry, "demo/app") == before
    await act(registry.session(alice, grants=[grant]), digest)
    assert await state(registry, "demo/app") != before


async def test_a_copy_needs_both_ends(registry: Registry, session: Session) -> None:
    digest = await push(session, "demo/app", image(b"x"))
    alice = Identity(name="alice", subject="user:alice")
    read, create = (
        Grant("demo/app", "artifact", frozenset({"read"})),
        Grant("other/*", "artifact", frozenset({"create"})),
    )
    for grants in ([read], [create], []):
        with pytest.raises(Denied):
            await registry.session(alice, grants=grants).copy_artifact("demo/app", digest, "other/app")
    assert await state(registry, "other/app") is None
    await registry.session(alice, grants=[read, create]).copy_artifact("demo/app", digest, "other/app")


# ---- somebody else at the same moment ----


async def test_a_push_while_a_repository_is_deleted_is_not_lost(
    registry: Registry, session: Session, watch: Watch
) -> None:
    await push(session, "demo/app", image(b"x"), "latest")
    late = image(b"x", note="late")
    watch.meanwhile = ("repository.delete", lambda other: push(other, "demo/app", late, "late"))
    with pytest.raises(Precondition, match="somebody pushed to demo/app at the same moment"):
        await session.delete_repository("demo/app")
    assert (await session.manifest("demo/app", Tag("late"))).body == late
    await session.delete_repository("demo/app")


async def test_a_tag_moved_while_a_repository_is_deleted_is_not_lost(
    registry: Registry, session: Session, watch: Watch
) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    watch.meanwhile = ("repository.delete", lambda other: other.create_tag("demo/app", digest, Tag("kept")))
    with pytest.raises(Precondition):
        await session.delete_repository("demo/app")
    assert (await session.manifest("demo/app", Tag("kept"))).digest == digest


async def test_a_signature_while_its_artifact_is_deleted_is_not_lost(
    registry: Registry, session: Session, watch: Watch
) -> None:
    body = image(b"x")
    digest = await push(session, "demo/app", body, "latest")
    signature = image(b"x", subject=body)
    watch.meanwhile = ("manifest.delete", lambda other: push(other, "demo/app", signature))
    with pytest.raises(Precondition, match="somebody changed"):
        await session.delete_artifact("demo/app", digest)
    assert (await session.manifest("demo/app", digest_of(signature))).body == signature
    assert (await session.manifest("demo/app", Tag("latest"))).digest == digest


async def test_an_index_while_its_member_is_deleted_is_not_broken(
    registry: Registry, session: Session, watch: Watch
) -> None:
    body = image(b"x")
    digest = await push(session, "demo/app", body)
    watch.meanwhile = ("manifest.delete", lambda other: push(other, "demo/app", index(body), "all", layers=()))
    with pytest.raises(Precondition, match="referenced by others"):
        await session.delete_artifact("demo/app", digest)
    assert (await session.manifest("demo/app", digest)).body == body


async def test_a_tag_pushed_while_its_artifact_is_deleted_is_not_lost(
    registry: Registry, session: Session, watch: Watch
) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    watch.meanwhile = ("manifest.delete", lambda other: other.create_tag("demo/app", digest, Tag("kept")))
    with pytest.raises(Precondition, match="somebody changed"):
        await session.delete_artifact("demo/app", digest)
    assert (await session.manifest("demo/app", Tag("kept"))).digest == digest


async def test_what_is_deleted_while_it_is_copied_is_copied_whole_or_not_at_all(
    registry: Registry, session: Session, watch: Watch
) -> None:
    digest = await push(session, "demo/app", image(b"x"), "latest")
    watch.meanwhile = ("blob.mount", lambda other: other.delete_repository("demo/app"))
    with pytest.raises(BlobUnknown):
        await session.copy_artifact("demo/app", digest, "other/app", [Tag("latest")])
    assert await state(registry, "other/app") is None


async def test_deletes_side_by_side(registry: Registry, session: Session) -> None:
    digests = [await push(session, "demo/app", image(b"x", note=str(number)), f"t{number}") for number in range(8)]
    done = await asyncio.gather(
        *(session.delete_artifact("demo/app", digest) for digest in (*digests, *digests)), return_exceptions=True
    )
    assert sum(each is None for each in done) == 8
    assert all(isinstance(each, OCIError) for each in done if each is not None)
    assert (await state(registry, "demo/app"))[0] == []
