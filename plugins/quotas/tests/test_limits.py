"""Limits: refused to the byte, in words that help, and told in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from corereg import EVERYTHING, Event, OCIError, Registry, Session, Tag, hookimpl
from corereg_quotas.sizes import human

from .stage import (
    ALICE,
    MANIFEST,
    Projects,
    digest_of,
    events,
    image,
    push_blob,
    push_image,
    set_limit,
    used,
    wrong,
)

pytestmark = pytest.mark.anyio

A, B = b"a" * 1000, b"b" * 200


async def observed(registry: Registry) -> None:
    """Hand what has happened to this plugin, as the journal does."""
    plugin = next(each.plugin for each in registry.plugins if each.name == "quotas")
    for event in await registry.journal.events(limit=100_000):
        await plugin.observe(event)


async def test_a_push_to_the_last_byte_fits_and_one_more_does_not(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 1200)
    await push_blob(session, "demo/app", A)
    await push_blob(session, "demo/app", B)
    with pytest.raises(OCIError) as refused:
        await push_blob(session, "demo/new", b"x")
    error = refused.value
    assert (error.status, error.code) == (403, "DENIED")
    assert error.message == (
        "adding 1 B of storage resource, which when updated to current usage of 1.2 KiB will exceed the configured "
        "upper limit of 1.2 KiB. alice pushes a layer of 1 bytes to demo/new, and demo has 0 B left: delete what it no "
        "longer needs, or ask an administrator for a quota of 1201 bytes or more."
    )
    assert error.detail == {"namespace": "demo", "used": 1200, "hard": 1200, "needed": 1}
    assert await used(registry, "demo") == 1200
    assert await registry.catalog.repository_id("demo/new") is None, "nothing was made"
    assert await registry.catalog.blob("demo/new", digest_of(b"x")) is None
    assert not await wrong(registry)


async def test_a_manifest_that_does_not_fit_leaves_the_tag_where_it_was(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo")
    old = await push_image(session, "demo/app", A)
    await set_limit(registry, "demo", await used(registry, "demo") + 10)
    with pytest.raises(OCIError, match=r"adding .*alice pushes a manifest of"):
        await session.put_manifest("demo/app", Tag("latest"), image(A, note="new"), MANIFEST)
    assert (await session.manifest("demo/app", Tag("latest"))).digest == digest_of(old)
    await session.put_manifest("demo/app", Tag("again"), old, MANIFEST)
    assert not await wrong(registry)


async def test_mounts_and_copies_are_refused_too(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await projects.create(registry, "small", 100)
    body = await push_image(session, "demo/app", A)
    with pytest.raises(OCIError, match="will exceed the configured upper limit of 100 B"):
        await session.mount("small/app", digest_of(A), "demo/app")
    with pytest.raises(OCIError, match="will exceed the configured upper limit of 100 B"):
        await session.copy_artifact("demo/app", digest_of(body), "small/app")
    assert await used(registry, "small") == 0
    assert await registry.catalog.repository_id("small/app") is None
    assert not await wrong(registry)


async def test_what_is_there_may_be_pushed_again_and_deleted_beyond_the_limit(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo")
    await push_blob(session, "demo/app", A)
    await set_limit(registry, "demo", 10)
    await push_blob(session, "demo/app", A)
    await push_blob(session, "demo/twin", A)
    with pytest.raises(OCIError):
        await push_blob(session, "demo/app", b"x")
    await session.delete_blob("demo/app", digest_of(A))
    await session.delete_blob("demo/twin", digest_of(A))
    await push_blob(session, "demo/app", b"x")
    assert await used(registry, "demo") == 1
    assert not await wrong(registry)


async def test_at_the_limit_as_many_of_parallel_pushes_succeed_as_fit(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 7 * 100)
    done = await asyncio.gather(
        *(push_blob(session, f"demo/app{number % 3}", bytes([number]) * 100) for number in range(20)),
        return_exceptions=True,
    )
    assert sum(not isinstance(each, BaseException) for each in done) == 7
    assert all(isinstance(each, OCIError) and each.code == "DENIED" for each in done if isinstance(each, BaseException))
    assert await used(registry, "demo") == 700
    assert not await wrong(registry)


# ---- which limit ----


async def test_a_namespace_gets_the_default_of_the_day_or_its_own(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "before")
    await registry.session().change_settings({"storage_per_project": 500})
    await projects.create(registry, "after")
    await projects.create(registry, "own", 2000)
    await projects.create(registry, "free", -1)
    for name in ("before", "own", "free"):
        await push_blob(session, f"{name}/app", A)
    with pytest.raises(OCIError, match="upper limit of 500 B"):
        await push_blob(session, "after/app", A)


@pytest.mark.parametrize("value", [0, -2, 2**63, "much"])
async def test_a_default_that_is_none(registry: Registry, value: object) -> None:
    with pytest.raises(OCIError) as refused:
        await registry.session().change_settings({"storage_per_project": value})
    assert refused.value.status == 400


async def test_switched_off_limits_hold_nobody_up_and_the_counting_goes_on(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 100)
    await registry.session().change_settings({"quota_per_project_enable": False})
    await push_blob(session, "demo/app", A)
    assert await used(registry, "demo") == 1000
    await observed(registry)
    assert not await events(registry, "quota.warning")
    await registry.session().change_settings({"quota_per_project_enable": True})
    with pytest.raises(OCIError):
        await push_blob(session, "demo/app", B)


# ---- what is told ----


async def test_a_refusal_is_told_though_it_was_rolled_back(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 100)
    for _ in range(3):
        with pytest.raises(OCIError):
            await push_blob(session, "demo/app", A)
    (event,) = await events(registry, "quota.exceeded")
    assert (event.actor, event.repository, event.count) == ("alice", "demo/app", 3)
    assert event.details == {"namespace": "demo", "used": 0, "hard": 100}


async def test_a_warning_is_told_once_and_again_after_there_was_room(
    registry: Registry, projects: Projects, session: Session
) -> None:
    await projects.create(registry, "demo", 1000)
    await push_blob(session, "demo/app", b"x" * 849)
    await observed(registry)
    assert not await events(registry, "quota.warning")
    await push_blob(session, "demo/app", b"y")
    await push_blob(session, "demo/app", b"z")
    await observed(registry)
    (event,) = await events(registry, "quota.warning")
    assert (event.actor, event.repository) == ("system", "demo/app")
    assert event.details == {"namespace": "demo", "used": 851, "hard": 1000}
    await session.delete_blob("demo/app", digest_of(b"x" * 849))
    await observed(registry)
    assert len(await events(registry, "quota.warning")) == 1
    await push_blob(session, "demo/app", b"w" * 900)
    await observed(registry)
    assert len(await events(registry, "quota.warning")) == 2


async def test_a_lower_limit_warns(registry: Registry, projects: Projects, session: Session) -> None:
    await projects.create(registry, "demo")
    await push_blob(session, "demo/app", A)
    await set_limit(registry, "demo", 1100)
    await observed(registry)
    (event,) = await events(registry, "quota.warning")
    assert event.details == {"namespace": "demo", "used": 1000, "hard": 1100}


class NoWarnings:
    """A policy that wants no warning."""

    @hookimpl
    async def admit(self, operation: object) -> None:
        if getattr(operation, "kind", "") == "quota.warning":
            message = "hush"
            raise OCIError(message)


async def test_a_refused_warning_holds_nobody_up(make_registry: Callable[..., Registry], projects: Projects) -> None:
    async with make_registry(NoWarnings()) as registry:
        await projects.create(registry, "demo", 1000)
        await push_blob(registry.session(), "demo/app", A)
        await observed(registry)
        assert not await events(registry, "quota.warning")


class Hears:
    """Somebody who waits for a warning."""

    def __init__(self) -> None:
        self.warned = asyncio.Event()

    @hookimpl
    async def observe(self, event: Event) -> None:
        if event.kind == "quota.warning":
            self.warned.set()


async def test_the_journal_tells_it_by_itself(make_registry: Callable[..., Registry], projects: Projects) -> None:
    hears = Hears()
    async with make_registry(hears) as registry:
        await projects.create(registry, "demo", 1000)
        await push_blob(registry.session(ALICE, grants=[EVERYTHING]), "demo/app", A)
        await asyncio.wait_for(hears.warned.wait(), 30)


# ---- sizes ----


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024 - 1, "1 MiB"),
        (1024 * 1024 * 3 // 2, "1.5 MiB"),
        (10 * 1024**3, "10 GiB"),
        (2**63 - 1, "8 EiB"),
    ],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert human(size) == text
