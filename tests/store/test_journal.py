"""The journal: written with the change or not at all, read by each reader to the end, at least once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from inspect import isawaitable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa

from corereg import Event, OCIError, Operation, Refusal, Registry, Transaction, hookimpl
from corereg.config import JournalConfig
from corereg.store import journal as module
from corereg.store.database import DatabaseUnavailable, now
from corereg.store.journal import Happening, Journal
from corereg.store.schema import journal_cursors
from corereg.testing.registry import scratch

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("every_database")]


class Listener:
    """Remembers what it heard, and fails when told to."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.failing = 0

    @hookimpl
    async def observe(self, event: Event) -> None:
        if self.failing:
            self.failing -= 1
            message = "not now"
            raise ConnectionError(message)
        self.heard.append(event)

    async def wait(self, count: int) -> list[str]:
        with anyio.fail_after(10):
            while len(self.heard) < count:
                await anyio.sleep(0.02)
        return [event.kind for event in self.heard]


class Strict:
    """Refuses by name, inside the transaction."""

    name = "strict"

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        return Refusal("too much") if operation.kind == "demo.refused" else None


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def registry(tmp_path: Path, listener: Listener) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, listener, Strict()) as opened:
        yield opened


async def change(registry: Registry, kind: str, **details: object) -> None:
    session = registry.session()
    async with session.change(session.operation(kind, repository="demo/app", details=details)):
        pass


async def test_readers_hear_of_what_happens_in_order(registry: Registry, listener: Listener) -> None:
    for number in range(20):
        await change(registry, f"demo.{number}", number=number)
    assert await listener.wait(20) == [f"demo.{number}" for number in range(20)]
    assert [event.serial for event in listener.heard] == sorted({event.serial for event in listener.heard})
    assert listener.heard[7].details == {"number": 7}
    assert listener.heard[7].actor == "system"


async def test_what_is_refused_or_fails_is_not_told(registry: Registry, listener: Listener) -> None:
    with pytest.raises(OCIError, match="too much"):
        await change(registry, "demo.refused")
    session = registry.session()
    with pytest.raises(ZeroDivisionError):
        async with session.change(session.operation("demo.failed")):
            raise ZeroDivisionError
    await change(registry, "demo.done")
    assert await listener.wait(1) == ["demo.done"]
    assert [event.kind for event in await registry.journal.events()] == ["demo.done"]


async def test_a_failing_reader_is_told_again_and_holds_nobody_up(
    registry: Registry, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.05)
    listener.failing = 3
    await change(registry, "demo.one")
    await change(registry, "demo.two")
    assert await listener.wait(2) == ["demo.one", "demo.two"]


async def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first, second = Listener(), Listener()
    async with scratch(tmp_path, first) as registry:
        await change(registry, "demo.one")
        await first.wait(1)
    async with scratch(tmp_path) as registry:
        await change(registry, "demo.while_away")
    async with scratch(tmp_path, second) as registry:
        await change(registry, "demo.two")
        assert await second.wait(2) == ["demo.while_away", "demo.two"]


async def test_a_new_reader_starts_with_what_happens_from_now_on(tmp_path: Path) -> None:
    async with scratch(tmp_path) as registry:
        await change(registry, "demo.long_ago")
    late = Listener()
    async with scratch(tmp_path, late) as registry:
        await anyio.sleep(0.2)
        await change(registry, "demo.now")
        assert await late.wait(1) == ["demo.now"]


async def test_two_processes_share_a_reader(tmp_path: Path) -> None:
    ears = Listener(), Listener()
    async with scratch(tmp_path, ears[0]) as one, scratch(tmp_path, ears[1]) as two:
        for number in range(30):
            await change(one if number % 2 else two, f"demo.{number}")
        with anyio.fail_after(10):
            while len({event.serial for ear in ears for event in ear.heard}) < 30:
                await anyio.sleep(0.02)
        for ear in ears:
            serials = [event.serial for event in ear.heard]
            assert serials == sorted(serials)


async def test_frequent_events_are_counted_and_written_together(registry: Registry) -> None:
    happening = Happening(kind="manifest.pull", actor="alice", subject="user:alice", repository="demo/app")
    for _ in range(1000):
        registry.journal.gather(happening)
    registry.journal.gather(Happening(kind="manifest.pull", actor="bob", subject="user:bob", repository="demo/app"))
    await registry.journal.flush()
    events = await registry.journal.events()
    assert [(event.actor, event.count) for event in events] == [("alice", 1000), ("bob", 1)]


async def test_gathered_events_are_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHERED_AT_MOST", 10)
    for number in range(100):
        registry.journal.gather(Happening(kind="signin.failed", actor=f"guess{number}", subject="anonymous"))
    await registry.journal.flush()
    events = await registry.journal.events()
    assert len(events) == 11
    assert sum(event.count for event in events) == 100


async def test_what_no_database_holds_is_written_without_it(registry: Registry, listener: Listener) -> None:
    registry.journal.gather(
        Happening(
            kind="signin.failed",
            actor="a\0b\ud800",
            subject="an\0ybody",
            repository="c\0",
            digest="d\ud800",
            details=(("word", "e\0f\ud800"), ("number", 1)),
        )
    )
    await registry.journal.flush()
    await change(registry, "demo.done", words={"g\0": ["h\ud800", None]})
    assert await listener.wait(2) == ["signin.failed", "demo.done"]
    failed, done = listener.heard
    assert (failed.actor, failed.subject, failed.repository, failed.digest) == ("ab?", "anybody", "c", "d?")
    assert failed.details == {"word": "ef?", "number": 1}
    assert done.details == {"words": {"g": ["h?", None]}}


async def test_an_event_that_cannot_be_held_holds_up_no_other(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    gather = registry.journal.gather
    for number in range(9):
        gather(Happening(kind=f"demo.{number}", actor="a", subject="a"))
    impossible = Happening(kind="demo.impossible", actor="a", subject="a")
    registry.journal._gathered[impossible] = 2**63
    for number in range(9, 12):
        gather(Happening(kind=f"demo.{number}", actor="a", subject="a"))
    await registry.journal.flush()
    assert {event.kind for event in await registry.journal.events()} == {f"demo.{number}" for number in range(12)}
    assert not registry.journal._gathered
    assert "leaves out demo.impossible" in caplog.text


async def test_gathered_events_stay_bounded_while_the_database_is_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHERED_AT_MOST", 10)
    guesses = iter(range(50))

    def guess() -> None:
        name = f"guess{next(guesses)}"
        registry.journal.gather(Happening(kind="signin.failed", actor=name, subject="anonymous"))

    def away(*_: object, **__: object) -> None:
        for _ in range(9):  # while the flush waits
            guess()
        message = "away"
        raise DatabaseUnavailable(message)

    with monkeypatch.context() as patch:
        patch.setattr(registry.database, "transaction", away)
        for _ in range(5):
            guess()
            await registry.journal.flush()
    await registry.journal.flush()
    events = await registry.journal.events()
    assert len(events) == 11
    assert sum(event.count for event in events) == 50


async def test_who_gathers_what_is_no_json_hears_of_it(registry: Registry) -> None:
    with pytest.raises(TypeError, match="PosixPath"):
        registry.session().happened("demo.refused", details={"path": Path("/x")})
    registry.session().happened("demo.refused", details={"path": "/x"})
    await registry.journal.flush()
    assert [event.details for event in await registry.journal.events()] == [{"path": "/x"}]


async def test_gathered_events_are_written_after_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with scratch(tmp_path, journal=JournalConfig(batch=0.05)) as registry:
        parameters, failing = module._parameters, [True]

        def mistaken(happening: Happening, count: int) -> dict[str, object]:
            if count == 2 and failing:
                failing.clear()
                message = "a mistake"
                raise ZeroDivisionError(message)
            return parameters(happening, count)

        monkeypatch.setattr(module, "_parameters", mistaken)
        for _ in range(2):
            registry.session().happened("demo.refused", details={})
        with anyio.fail_after(20):
            while not (events := await registry.journal.events()):
                await anyio.sleep(0.02)
        assert [(event.kind, event.count) for event in events] == [("demo.refused", 2)]
        assert "a mistake" in caplog.text


async def test_a_flush_that_is_cut_while_it_waits_loses_nothing(registry: Registry) -> None:
    journal, held, release = registry.journal, anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with registry.database.transaction() as tx:
            await registry.database.lock(tx, "corereg journal")
            held.set()
            await release.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await held.wait()
        registry.session().happened("demo.refused", details={})
        flush = asyncio.create_task(journal.flush())
        with anyio.fail_after(20):
            while journal._gathered:  # until it has begun
                await anyio.sleep(0.01)
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        release.set()
    await journal.flush()
    assert [(event.kind, event.count) for event in await journal.events()] == [("demo.refused", 1)]


async def test_a_stop_closes_everything_though_the_background_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        message = "a mistake in the background"
        raise ZeroDivisionError(message)

    registry, closed = scratch(tmp_path), []
    monkeypatch.setattr(registry.journal, "run", fails)
    async with registry:
        registry._open.callback(closed.append, "closed")
        registry.session().happened("demo.refused", details={})
        with anyio.fail_after(20):
            while not registry._background[0].done():
                await anyio.lowlevel.checkpoint()
    assert closed == ["closed"]
    assert "a mistake in the background" in caplog.text
    async with scratch(tmp_path) as again:
        assert [event.kind for event in await again.journal.events()] == ["demo.refused"]


async def test_no_batch_is_so_short_that_an_idle_process_looks_all_the_time(tmp_path: Path) -> None:
    async with scratch(tmp_path, Listener(), journal=JournalConfig(batch=0)) as registry:
        assert registry.journal._batch >= module.SETTLE


async def test_pruning_waits_for_the_slowest_reader(tmp_path: Path, listener: Listener) -> None:
    async with scratch(tmp_path, listener) as registry:
        for number in range(5):
            await change(registry, f"demo.{number}")
        await listener.wait(5)
        with anyio.fail_after(20):
            while not await Journal(registry.database, keep=-10).prune():
                await anyio.sleep(0.05)  # the cursor is written a moment after the reader heard
        assert [event.kind for event in await registry.journal.events()] == []
    async with scratch(tmp_path) as registry:
        await change(registry, "demo.unheard")
        assert await Journal(registry.database, keep=-10).prune() == 0


# ---- leases ----


class Slow:
    """Takes its time over what is called slow: until it is told to go on."""

    name = "slow"

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.heard: list[str] = []
        self.cut: list[str] = []
        self.go_on = anyio.Event()

    @hookimpl
    async def observe(self, event: Event) -> None:
        self.begun.append(event.kind)
        try:
            if event.kind == "demo.slow":
                await self.go_on.wait()
        except BaseException:
            self.cut.append(event.kind)
            raise
        self.heard.append(event.kind)


async def until(true: Callable[[], Awaitable[object] | object]) -> None:
    with anyio.fail_after(20):
        while True:
            found = true()
            if await found if isawaitable(found) else found:
                return
            await anyio.sleep(0.02)


async def set_cursor(registry: Registry, **values: object) -> None:
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(journal_cursors).values(**values))


async def cursor(registry: Registry) -> tuple[int, int]:
    (row,) = await registry.database.rows(sa.select(journal_cursors.c.serial, journal_cursors.c.leased_until))
    return row[0], row[1]


async def test_in_a_batch_that_takes_long_the_lease_is_extended_and_the_cursor_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXTENSIONS", 1500)
    slow, other = Slow(), Slow()
    async with scratch(tmp_path, slow) as registry:
        async with registry.database.transaction() as tx:  # at once, so that they are one batch
            for kind in ("demo.quick", "demo.slow", "demo.last"):
                await registry.journal.append(tx, Happening(kind=kind, actor="a", subject="a"))
        registry.journal.committed()
        quick = (await registry.journal.events())[0].serial

        async def moved() -> bool:
            return (await cursor(registry))[0] == quick

        await until(moved)
        _, lease = await cursor(registry)

        async def extended() -> bool:
            return (await cursor(registry))[1] > lease

        await until(extended)
        async with scratch(tmp_path, other) as second:
            assert await second.journal._claim("slow") is None
            slow.go_on.set()
            await until(lambda: len(slow.heard) == 3)
        assert (slow.heard, slow.cut, other.begun) == (["demo.quick", "demo.slow", "demo.last"], [], [])


async def test_a_batch_ends_where_another_process_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXTENSIONS", 1500)
    slow = Slow()
    async with scratch(tmp_path, slow, journal=JournalConfig(batch=0.05)) as registry:
        await change(registry, "demo.slow")
        await until(lambda: slow.begun)
        before = (await cursor(registry))[0]
        await set_cursor(registry, owner="another", leased_until=now() + module.LEASE)
        await until(lambda: slow.cut)
        assert (slow.heard, (await cursor(registry))[0]) == ([], before)
        slow.go_on.set()
        await set_cursor(registry, leased_until=0)  # the other has died
        await until(lambda: slow.heard)
        assert slow.heard == ["demo.slow"]


async def test_a_reader_that_hangs_over_one_event_is_free_for_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, other = Slow(), Slow()
    other.go_on.set()
    async with scratch(tmp_path, hanging) as registry:
        monkeypatch.setattr(module, "EXTENSIONS", 1500)
        monkeypatch.setattr(module, "LONGEST_EVENT", 0.0)
        await change(registry, "demo.slow")
        await until(lambda: hanging.begun)
        async with scratch(tmp_path, other):
            await until(lambda: other.heard)
            await until(lambda: hanging.cut)


async def test_a_lease_given_by_a_clock_that_was_ahead_is_none(tmp_path: Path, listener: Listener) -> None:
    async with scratch(tmp_path, listener) as registry:
        await set_cursor(registry, owner="another", leased_until=now() + 100 * module.LEASE)
        await change(registry, "demo.one")
        assert await listener.wait(1) == ["demo.one"]
        await set_cursor(registry, owner="another", leased_until=now() + module.LEASE)
        assert await registry.journal._claim("listener") is None, "while a lease that may be one is honoured"


# ---- many writers at once ----


@pytest.mark.parametrize("seed", range(2))
async def test_no_reader_skips_what_commits_late(tmp_path: Path, every_database: str, seed: int) -> None:
    """Transactions of two nodes that take their time between the event and the commit, and some that are rolled back:
    whoever reads on from the last serial it saw has seen every event.
    """
    chance = random.Random(seed)
    written: list[str] = []
    seen: list[Event] = []
    async with scratch(tmp_path) as first, scratch(tmp_path) as second:
        start = max((each.serial for each in await first.journal.events(limit=1000)), default=0)

        async def write(registry: Registry, name: str, pauses: Sequence[float]) -> None:
            for number, pause in enumerate(pauses):
                kind = f"demo.{name}.{number}"
                with suppress(ZeroDivisionError):
                    async with registry.database.transaction() as tx:
                        await anyio.sleep(pause)
                        await registry.journal.append(tx, Happening(kind=kind, actor="a", subject="a"))
                        await anyio.sleep(pause)
                        if number % 7 == 3:
                            raise ZeroDivisionError
                    written.append(kind)

        async def read(done: anyio.Event) -> None:
            last = start
            while True:
                ended = done.is_set()
                found = await second.journal.events(after=last, limit=5)
                seen.extend(found)
                last = found[-1].serial if found else last
                if ended and not found:
                    return
                await anyio.lowlevel.checkpoint()

        done = anyio.Event()
        async with anyio.create_task_group() as readers:
            readers.start_soon(read, done)
            async with anyio.create_task_group() as writers:
                for number in range(8):
                    pauses = [chance.choice((0, 0, 0.001, 0.004)) for _ in range(20)]
                    writers.start_soon(write, (first, second)[number % 2], str(number), pauses)
            done.set()
    serials = [each.serial for each in seen]
    assert serials == sorted(set(serials))
    assert {each.kind for each in seen if each.kind.startswith("demo.")} == set(written)
