"""What costs, what frees, and what does neither."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from corereg import (
    EVERYTHING,
    Namespace,
    OCIError,
    Operation,
    Refusal,
    Registry,
    Session,
    Tag,
    Transaction,
    hookimpl,
    tables,
)

from .stage import (
    ALICE,
    INDEX,
    Projects,
    digest_of,
    events,
    index,
    push_blob,
    push_image,
    used,
    wrong,
)

pytestmark = pytest.mark.anyio

A, B, C = b"a" * 1000, b"b" * 200, b"c" * 30


async def test_docker_pushes_blobs_then_a_manifest(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    body = await push_image(session, "demo/app", A, B)
    assert await used(registry, "demo") == 1200 + len(body)
    await push_image(session, "demo/app", A, B)
    await push_image(session, "demo/app", A, B, tag="again")
    assert await used(registry, "demo") == 1200 + len(body), "what is there already costs nothing"
    assert not await wrong(registry)


async def test_what_two_repositories_share_costs_once(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await projects.create(registry, "other")
    body = await push_image(session, "demo/app", A, B)
    await push_image(session, "demo/twin", A, B)
    assert await used(registry, "demo") == 1200 + len(body)
    await push_image(session, "other/app", A, B)
    assert await used(registry, "other") == 1200 + len(body), "another namespace pays for itself"
    await session.delete_repository("demo/app")
    assert await used(registry, "demo") == 1200 + len(body), "the twin still holds it all"
    await session.delete_repository("demo/twin")
    assert await used(registry, "demo") == 0
    assert await used(registry, "other") == 1200 + len(body)
    assert not await wrong(registry)


async def test_names_that_begin_alike_are_not_the_namespace(
    registry: Registry, projects: Projects, session: Session
) -> None:
    for name in ("demo", "demo-2", "demo0", "dem"):
        await projects.create(registry, name)
    await push_blob(session, "demo-2/app", A)
    await push_blob(session, "demo0/app", A)
    await push_blob(session, "dem/o", A)
    await push_blob(session, "demo/app", A)
    assert [await used(registry, name) for name in ("demo", "demo-2", "demo0", "dem")] == [1000] * 4
    assert not await wrong(registry)


async def test_mounts_and_deletes(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await projects.create(registry, "other")
    layer = await push_blob(session, "demo/app", A)
    assert await session.mount("other/app", layer, "demo/app") is not None
    assert await session.mount("other/twin", layer, "demo/app") is not None
    assert await session.mount("other/twin", layer, "demo/app") is not None
    assert await used(registry, "other") == 1000
    await session.delete_blob("other/app", layer)
    assert await used(registry, "other") == 1000
    await session.delete_blob("other/twin", layer)
    assert await used(registry, "other") == 0
    assert await used(registry, "demo") == 1000
    assert not await wrong(registry)


async def test_manifests_go_with_their_digest_and_tags_cost_nothing(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo")
    body = await push_image(session, "demo/app", A, B)
    both = await used(registry, "demo")
    await session.create_tag("demo/app", digest_of(body), Tag("more"))
    await session.delete_manifest("demo/app", Tag("more"))
    await session.delete_tag("demo/app", digest_of(body), Tag("latest"))
    assert await used(registry, "demo") == both
    await session.delete_manifest("demo/app", digest_of(body))
    assert await used(registry, "demo") == 1200, "blobs stay until somebody takes them away"
    assert not await wrong(registry)


async def test_copies_with_an_index_count_what_is_new(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await projects.create(registry, "other")
    first, second = await push_image(session, "demo/app", A, B), await push_image(session, "demo/app", A, C)
    whole = index(first, second)
    await session.put_manifest("demo/app", Tag("all"), whole, INDEX)
    everything = await used(registry, "demo")
    assert everything == 1230 + len(first) + len(second) + len(whole)
    await session.copy_artifact("demo/app", digest_of(whole), "demo/copy", [Tag("all")])
    assert await used(registry, "demo") == everything
    await push_blob(session, "other/app", A)
    await session.copy_artifact("demo/app", digest_of(whole), "other/app", [Tag("all")])
    assert await used(registry, "other") == everything
    await session.delete_artifact("other/app", digest_of(whole))
    assert await used(registry, "other") == everything - len(whole)
    assert not await wrong(registry)


async def test_a_cancelled_upload_costs_nothing(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await session.cancel_upload(await session.start_upload("demo/app"))
    assert await used(registry, "demo") == 0


class NotToday:
    """A policy that refuses after the quota has counted."""

    def __init__(self) -> None:
        self.refuses = True

    @hookimpl(trylast=True)
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        return Refusal("not today") if self.refuses and operation.kind == "blob.push" else None


async def test_what_another_policy_refuses_costs_nothing(
    make_registry: Callable[..., Registry], projects: Projects
) -> None:
    policy = NotToday()
    async with make_registry(policy) as registry:
        await projects.create(registry, "demo")
        session = registry.session(ALICE, grants=[EVERYTHING])
        with pytest.raises(OCIError, match="not today"):
            await push_blob(session, "demo/app", A)
        assert await used(registry, "demo") == 0
        policy.refuses = False
        await push_blob(session, "demo/app", A)
        assert await used(registry, "demo") == 1000


# ---- namespaces ----


async def test_the_deepest_namespace_pays(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await push_blob(session, "demo/team/app", A)
    assert await used(registry, "demo") == 1000
    await projects.create(registry, "demo/team")
    assert (await used(registry, "demo"), await used(registry, "demo/team")) == (0, 1000), "what was there moves along"
    await push_blob(session, "demo/team/app", B)
    await push_blob(session, "demo/team-2/app", B)
    assert (await used(registry, "demo"), await used(registry, "demo/team")) == (200, 1200)
    await push_blob(session, "demo/app", A)
    assert await used(registry, "demo") == 1200, "a namespace below shares nothing with the one above"
    await session.delete_blob("demo/app", digest_of(A))
    assert await used(registry, "demo") == 200
    assert not await wrong(registry)
    await projects.delete(registry, "demo/team")
    assert await used(registry, "demo") == 1200
    assert not await wrong(registry)


async def test_a_namespace_that_is_made_again_starts_anew(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 5000)
    await push_blob(session, "demo/app", A)
    await session.delete_repository("demo/app")
    await projects.delete(registry, "demo")
    assert not await wrong(registry)
    await projects.create(registry, "demo", 7000)
    await push_blob(session, "demo/app", B)
    assert await used(registry, "demo") == 200
    assert not await wrong(registry)


async def test_what_belongs_to_nobody_is_not_counted(registry: Registry, session: Session) -> None:
    await push_image(session, "nobody/app", A)
    await session.delete_repository("nobody/app")
    assert not await wrong(registry)


# ---- a time without the plugin ----


async def test_what_was_there_before_is_counted_at_the_first_start(
    make_registry: Callable[..., Registry], projects: Projects
) -> None:
    async with make_registry(quotas=False) as registry:
        for name in ("demo", "demo/team", "empty"):
            await projects.create(registry, name)
        session = registry.session()
        body = await push_image(session, "demo/app", A, B)
        await push_image(session, "demo/twin", A, B)
        await push_blob(session, "demo/team/app", C)
    async with make_registry() as registry:
        assert not await wrong(registry)
        assert await used(registry, "demo") == 1200 + len(body)
        assert await used(registry, "demo/team") == 30
        assert await used(registry, "empty") == 0


async def test_what_happened_meanwhile_is_found_at_the_next_start(
    make_registry: Callable[..., Registry], projects: Projects
) -> None:
    async with make_registry() as registry:
        for name in ("demo", "gone", "again", "calm"):
            await projects.create(registry, name)
        for name in ("demo/app", "again/app", "calm/app"):
            await push_blob(registry.session(), name, A)
    async with make_registry(quotas=False) as registry:
        await push_blob(registry.session(), "demo/app", B)
        await projects.delete(registry, "gone")
        await registry.session().delete_repository("again/app")
        await projects.delete(registry, "again")
        await projects.create(registry, "again")
        await projects.create(registry, "demo/team")
        await push_blob(registry.session(), "demo/team/app", A)
    async with make_registry() as registry:
        assert not await wrong(registry)
        assert [await used(registry, name) for name in ("demo", "again", "calm", "demo/team")] == [1200, 0, 1000, 1000]
        told = {event.details["namespace"] for event in await events(registry, "quota.reconcile")}
        assert told == {"gone", "again", "demo/team"}, "only what changed was looked at; demo moved with its team"


async def test_a_quiet_start_changes_nothing(make_registry: Callable[..., Registry], projects: Projects) -> None:
    for _ in range(2):
        async with make_registry() as registry:
            if not projects.namespaces:
                await projects.create(registry, "demo")
                await push_blob(registry.session(), "demo/app", A)
            serial = (await registry.journal.events(limit=1000))[-1].serial
    async with make_registry() as registry:
        assert (await registry.journal.events(limit=1000))[-1].serial == serial


async def test_a_killed_process_leaves_the_counters_right(
    make_registry: Callable[..., Registry], projects: Projects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        """A mark that was never written."""

    async with make_registry() as registry:
        await projects.create(registry, "demo")
        await push_blob(registry.session(), "demo/app", A)
        monkeypatch.setattr("corereg_quotas.reconcile.set_mark", lost)
    monkeypatch.undo()
    async with make_registry() as registry:
        assert not await wrong(registry)
        assert not await events(registry, "quota.reconcile"), "nothing was to be mended"


async def test_events_that_were_dropped_meanwhile(make_registry: Callable[..., Registry], projects: Projects) -> None:
    """The journal forgets after a while: then everything is looked at."""
    async with make_registry() as registry:
        await projects.create(registry, "demo")
        await push_blob(registry.session(), "demo/app", A)
    async with make_registry(quotas=False) as registry:
        await push_blob(registry.session(), "demo/app", B)
        await push_blob(registry.session(), "demo/app", B)
        async with registry.database.transaction() as tx:
            await tx.execute(sa.delete(tables.journal))
        await push_blob(registry.session(), "demo/app", B)
    async with make_registry() as registry:
        assert await used(registry, "demo") == 1200


# ---- side by side ----


async def test_of_parallel_pushes_of_one_blob_one_pays(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo")
    await asyncio.gather(*(push_blob(session, f"demo/app{number}", A) for number in range(20)))
    assert await used(registry, "demo") == 1000
    await asyncio.gather(*(session.delete_blob(f"demo/app{number}", digest_of(A)) for number in range(20)))
    assert await used(registry, "demo") == 0
    assert not await wrong(registry)


async def test_the_first_pushes_of_two_processes_meet(
    make_registry: Callable[..., Registry], projects: Projects
) -> None:
    """Both find a namespace that nobody counts yet."""
    async with make_registry() as first, make_registry() as second:
        projects.namespaces["demo"] = Namespace(99, "demo")
        await asyncio.gather(
            *(push_blob(each.session(), f"demo/app{number}", A) for number in range(5) for each in (first, second))
        )
        assert await used(first, "demo") == 1000
        assert not await wrong(second)


async def test_a_namespace_made_and_deleted_under_pushes(
    registry: Registry, projects: Projects, session: Session
) -> None:
    """Whoever pushes waits for the one who draws the line, and counts on the right side of it."""
    await projects.create(registry, "demo")
    for number in range(4):
        pushes = [push_blob(session, f"demo/team/app{each % 3}", bytes([number, each])) for each in range(8)]
        line = projects.delete if "demo/team" in projects.namespaces else projects.create
        await asyncio.gather(*pushes[:4], line(registry, "demo/team"), *pushes[4:])
        assert not await wrong(registry)
    assert await used(registry, "demo") == 4 * 8 * 2


async def test_deletes_and_pushes_of_one_blob_meet(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    for _ in range(5):
        await asyncio.gather(*(push_blob(session, f"demo/app{number}", A) for number in range(6)))
        await asyncio.gather(
            *(session.delete_blob(f"demo/app{number}", digest_of(A)) for number in range(6)),
            *(push_blob(session, f"demo/new{number}", A) for number in range(3)),
        )
        assert await used(registry, "demo") == 1000
        await asyncio.gather(*(session.delete_repository(f"demo/new{number}") for number in range(3)))
        assert await used(registry, "demo") == 0
    assert not await wrong(registry)
