"""Pushes, mounts, deletes and collections in any order and through one another: nothing may ever dangle.

The machine decides what happens next; the storage and the database hand the turn to others at every step, so that a
collection is cut into many pieces that pushes fall between. The grace period is 0: nothing protects a push but the
protocol itself.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corereg import OCIError, Registry, Session, StorageError, Tag
from corereg.oci.errors import ManyErrors
from corereg.session import CollectOptions
from corereg.store.schema import manifest_members
from corereg.store.work import Silent
from corereg.testing.registry import scratch

from .pushing import INDEX, check_clean, check_whole, digest_of, image_of, index_of, pulled, push_blob, put

REPOSITORIES = ("demo/a", "demo/b")
BLOBS = tuple(b"blob %d" % number for number in range(5))
TAGS = ("v1", "v2")
NOW = CollectOptions(grace=0, delete_untagged=True)
# What a race may rightly answer: it is gone, it is in use, somebody was faster, try again.
EXPECTED = (OCIError, StorageError, ManyErrors)

Step = tuple[str, int, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["image", "image", "image", "blob", "mount", "head", "index", "signature", "untag", "delete", "drop",
             "collect", "collect", "collect"]
        ),
        st.integers(0, 1),
        st.integers(0, len(BLOBS) - 1),
        st.integers(0, len(BLOBS) - 1),
    ),
    min_size=4,
    max_size=24,
)  # fmt: skip


class Slow:
    """Gives others their turn before and after each call of a storage or a database."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def around(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def slowly(*arguments: Any, **options: Any) -> Any:
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)
            found = await call(*arguments, **options)
            for _ in range(self.chance.choice((0, 1, 3, 40))):
                await asyncio.sleep(0)
            return found

        return slowly


async def act(session: Session, step: Step) -> None:  # noqa: C901 - one line for each thing that may happen
    what, where, one, other = step
    repository, elsewhere = REPOSITORIES[where], REPOSITORIES[1 - where]
    first, second = BLOBS[one], BLOBS[other]
    tag = TAGS[other % len(TAGS)]
    image = image_of(first, second)
    match what:
        case "image":
            await push_blob(session, repository, first)
            await push_blob(session, repository, second)
            await put(session, repository, tag, image)
        case "blob":
            await push_blob(session, repository, first)
        case "mount":
            if await session.mount(repository, digest_of(first), elsewhere) is not None:
                await put(session, repository, tag, image_of(first))
        case "head":
            await session.blob(repository, digest_of(first), head=True)
        case "index":
            await put(session, repository, tag, index_of(image), INDEX)
        case "signature":
            await put(session, repository, None, image_of(first, subject=image))
        case "untag":
            await session.delete_manifest(repository, Tag(tag))
        case "delete":
            await session.delete_artifact(repository, digest_of(image))
        case "drop":
            await session.delete_blob(repository, digest_of(first))
        case "collect":
            await session.collect(Silent(), NOW)


async def attempt(session: Session, step: Step) -> None:
    try:
        await act(session, step)
    except EXPECTED:
        return


async def settle(registry: Registry) -> None:
    """Take back all that may go, until nothing does; then the storage holds what manifests name and nothing else."""
    session = registry.session()
    for _ in range(4):
        await session.collect(Silent(), NOW)
    rows = await registry.database.rows(NAMED)
    kept = [each for each in BLOBS if str(digest_of(each)) in {row[0] for row in rows}]
    await check_whole(registry)
    await check_clean(registry, *kept)


NAMED = sa.select(manifest_members.c.member).where(manifest_members.c.kind == "blob").distinct()


def run(body: Callable[[Registry], Awaitable[None]]) -> None:
    async def inside() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with scratch(Path(folder)) as registry:
                await body(registry)

    anyio.run(inside)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_in_any_order_nothing_dangles(order: list[Step]) -> None:
    async def body(registry: Registry) -> None:
        session = registry.session()
        for step in order:
            await attempt(session, step)
            await check_whole(registry)
        await settle(registry)

    run(body)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, steps, steps, st.integers(0, 2**32))
def test_through_one_another_nothing_dangles(
    first: list[Step], second: list[Step], third: list[Step], seed: int
) -> None:
    """Three clients at once, two of whom may collect at the same time, and the turn changes at every step."""

    async def body(registry: Registry) -> None:
        slow = Slow(random.Random(seed))
        for owner, names in ((registry.storage, ("commit", "delete", "stat", "writer")),
                             (registry.database, ("rows", "execute"))):  # fmt: skip
            for name in names:
                setattr(owner, name, slow.around(getattr(owner, name)))

        async def client(order: list[Step]) -> None:
            for step in order:
                await attempt(registry.session(), step)

        async with anyio.create_task_group() as group:
            for order in (first, second, third):
                group.start_soon(client, order)
        await check_whole(registry)
        await settle(registry)

    run(body)


class Gate:
    """Stops one call before or after it was made, until it is opened."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *, after: bool) -> None:
        self._call = call
        self._after = after
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        found = await self._call(*arguments, **options) if self._after else None
        self.reached.set()
        await self.open.wait()
        return found if self._after else await self._call(*arguments, **options)


async def _given_up(registry: Registry, data: bytes) -> None:
    """The bytes are stored, and no repository serves them."""
    session = registry.session()
    await push_blob(session, "demo/before", data)
    await session.delete_blob("demo/before", digest_of(data))


@pytest.mark.anyio
async def test_a_push_between_its_bytes_and_its_rows_keeps_the_collector_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scratch(tmp_path) as registry:
        await _given_up(registry, b"wanted again")
        gate = Gate(registry.storage.commit, after=True)
        with monkeypatch.context() as patch, anyio.fail_after(30):
            patch.setattr(registry.storage, "commit", gate)
            async with anyio.create_task_group() as group:
                group.start_soon(push_blob, registry.session(), "demo/app", b"wanted again")
                await gate.reached.wait()
                found = await registry.session().collect(Silent(), CollectOptions(grace=0))
                gate.open.set()
        assert found.blobs == 0
        await check_whole(registry)
        assert await pulled(registry.session(), "demo/app", b"wanted again")


@pytest.mark.anyio
async def test_a_push_of_condemned_bytes_stores_them_after_they_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scratch(tmp_path) as registry:
        await _given_up(registry, b"wanted again")
        gate = Gate(registry.storage.delete, after=False)
        pushed = asyncio.Event()

        async def push() -> None:
            await push_blob(registry.session(), "demo/app", b"wanted again")
            pushed.set()

        with monkeypatch.context() as patch, anyio.fail_after(30):
            patch.setattr(registry.storage, "delete", gate)
            async with anyio.create_task_group() as group:
                group.start_soon(registry.session().collect, Silent(), CollectOptions(grace=0))
                await gate.reached.wait()
                group.start_soon(push)
                await anyio.sleep(0.1)
                assert not pushed.is_set(), "its bytes would be deleted a moment later"
                gate.open.set()
        await check_whole(registry)
        assert await pulled(registry.session(), "demo/app", b"wanted again")


@pytest.mark.anyio
async def test_two_collections_at_once_free_each_byte_once(tmp_path: Path) -> None:
    async with scratch(tmp_path) as registry:
        session = registry.session()
        for number in range(30):
            await push_blob(session, "demo/app", b"%03d" % number)
        found = []

        async def collect() -> None:
            found.append(await registry.session().collect(Silent(), CollectOptions(grace=0)))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(collect)
        assert sum(each.size for each in found) == 90
        assert sum(each.blobs for each in found) == 30
        await check_clean(registry)
