"""Something small that is done again and again beside the work it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from corereg.store.database import DatabaseError


class Repeated:
    """Calls `call` every `pause` seconds, until it says that it is over (False), or `stop`.

    The first time is after a pause: most work is done by then, and a timer is all that this has cost. While the
    database is away it is tried again.
    """

    def __init__(self, call: Callable[[], Awaitable[bool]], pause: float) -> None:
        self._call = call
        self._pause = pause
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(pause, self._begin)

    def stop(self) -> None:
        """No call begins any more. One that is under way ends by itself: nobody is to cut a statement off."""
        self._stopped = True
        self._timer.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(self._once())

    async def _once(self) -> None:
        try:
            over = not await self._call()
        except DatabaseError:
            over = False
        if not over and not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._begin)
