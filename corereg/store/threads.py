"""Worker threads for calls that block."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple

import anyio

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def _give_way(nice: int) -> None:
    if nice and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


class Threads:
    """At most `size` threads that make blocking calls for one event loop.

    `run` always waits until its call has ended, also when it is cancelled, so that no file is closed and no buffer is
    used again under a call that still works on it. `anyio.to_thread.run_sync` promises that for anyio's own
    cancellation only: asyncio's `Task.cancel`, which servers use, goes through anyio's shields, and `asyncio.run`
    cancels every task when it ends.

    A call costs half of what it does with asyncio's own executor: one queue and one future instead of two of each.
    """

    def __init__(self, size: int, name: str, *, nice: int = 0) -> None:
        """`nice` is how much they give way to others (nice(1)), where threads have a priority of their own: Linux."""
        self._size = size
        self._name = name
        self._nice = nice
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        """Calls that have not ended, for the event loop's eyes."""

    async def run(self, call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """What `call` returns or raises. A cancelled call runs to its end, too; what it returned is dropped."""
        loop = asyncio.get_running_loop()
        made = _Call(loop, call, arguments)
        self._busy += 1
        if self._busy > len(self._threads) < self._size:
            self._start()
        self._calls.put(made)
        try:
            try:
                await made.ended
            except asyncio.CancelledError:
                with anyio.CancelScope(shield=True):
                    await made.wait()
                raise
            error, made.error = made.error, None
            if error is not None:
                raise error
            return made.result  # type: ignore[no-any-return]  # what the call returned
        finally:
            self._busy -= 1
            error = None  # its trace leads back to it from here: a circle that would keep the arguments

    def _start(self) -> None:
        # Daemons: whoever is asked to end waits for the calls in `run`, and for no thread that has nothing to do.
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=_work, args=(self._calls, self._nice), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Let the threads end."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads.clear()


class _Call:
    """One call on its way: what it is, and what became of it."""

    __slots__ = ("_arguments", "_call", "_done", "_loop", "ended", "error", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.ended = loop.create_future()
        self.error: BaseException | None = None
        self.result: Any = None
        self._loop = loop
        self._call = call
        self._arguments = arguments
        self._done = False

    def make(self) -> None:
        """In a thread."""
        try:
            self.result = self._call(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
            self.error = error
        self._arguments = ()
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """In the event loop."""
        self._done = True
        if not self.ended.done():  # whoever waited was cancelled
            self.ended.set_result(None)

    async def wait(self) -> None:
        """Until it has ended, however often whoever waits is cancelled."""
        while not self._done:
            self.ended = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self.ended


def _work(calls: SimpleQueue[_Call | None], nice: int) -> None:
    _give_way(nice)
    while (call := calls.get()) is not None:
        call.make()
        del call  # its arguments may be large, and the next one may be long in coming
