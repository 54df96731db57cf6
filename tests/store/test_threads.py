"""Worker threads: a call is waited for to its end, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Iterator

import anyio
import pytest

from corereg import Threads

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(3, "test")
    yield made
    made.close()


async def test_what_a_call_returns_and_raises(threads: Threads) -> None:
    assert await threads.run(max, 2, 3) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    assert await threads.run(threading.get_ident) != threading.get_ident()


async def test_no_more_threads_than_calls_nor_than_allowed(threads: Threads) -> None:
    names = {await threads.run(lambda: threading.current_thread().name) for _ in range(10)}
    assert names == {"test-0"}
    barrier = threading.Barrier(3)  # three must be at work at once, or nobody passes
    await asyncio.gather(*(threads.run(barrier.wait, PATIENCE) for _ in range(9)))
    assert len([each for each in threading.enumerate() if each.name.startswith("test-")]) == 3


@pytest.mark.parametrize("cancel", ["asyncio", "anyio"])
async def test_a_cancelled_call_runs_to_its_end(threads: Threads, cancel: str) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go_on.wait(PATIENCE)
        ended.set()

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await threads.run(call)

    scopes: list[anyio.CancelScope] = []
    task = asyncio.create_task(cancelled())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    for _ in range(3):  # servers may say it more than once
        task.cancel() if cancel == "asyncio" else scopes[0].cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    await asyncio.wait([task])
    assert ended.is_set()
    assert task.cancelled() == (cancel == "asyncio")
    assert await threads.run(max, 1, 2) == 2, "the thread is free again"


async def test_a_cancelled_call_that_waits_for_a_thread_runs_too(threads: Threads) -> None:
    gate = threading.Event()
    busy = [asyncio.create_task(threads.run(gate.wait, PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0)
    made: list[int] = []
    late = asyncio.create_task(threads.run(made.append, 1))
    await asyncio.sleep(0)
    late.cancel()
    gate.set()
    await asyncio.wait([*busy, late])
    assert late.cancelled()
    assert made == [1]


class Large:
    """Something that should not be kept."""


@pytest.mark.parametrize("fails", [False, True])
async def test_arguments_and_results_are_let_go(threads: Threads, *, fails: bool) -> None:
    def call(argument: Large) -> Large:
        if fails:
            raise ValueError
        return argument

    large = Large()
    watched = weakref.ref(large)
    gc.disable()
    try:
        try:
            await threads.run(call, large)
        except ValueError:
            assert fails
        del large
        await threads.run(max, 1, 2)
        assert watched() is None
    finally:
        gc.enable()


async def test_closed_threads_end() -> None:
    threads = Threads(1, "closed")
    thread = await threads.run(threading.current_thread)
    threads.close()
    await anyio.to_thread.run_sync(thread.join, PATIENCE)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="no priorities here")
async def test_niceness() -> None:
    threads = Threads(1, "nice", nice=3)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert await threads.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == own + 3
    threads.close()
