"""Worker threads for calls that block."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar, TypeVarTuple

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
    """

    def __init__(self, size: int, name: str, *, nice: int = 0) -> None:
        """`nice` is how much they give way to others (nice(1)), where threads have a priority of their own: Linux."""
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name, initializer=partial(_give_way, nice))

    async def run(self, call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """What `call` returns or raises. A cancelled call runs to its end, too; what it returned is dropped."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                while not future.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait((future,))
            future.exception()  # looked at, or asyncio would report it as forgotten
            raise

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
