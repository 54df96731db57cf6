"""Not faster than somebody wants it."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel


class Rate:
    """So many bytes a second at most, on average; None for no limit. `passed` counts them."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._began: float | None = None
        self.passed = 0

    async def pause(self, size: int) -> None:
        """`size` bytes have passed: wait until that is not too fast."""
        if self._began is None:
            self._began = time.monotonic()
        self.passed += size
        early = 0.0 if self._limit is None else self._began + self.passed / self._limit - time.monotonic()
        if early > 0:
            await anyio.sleep(early)
        else:
            await anyio.lowlevel.checkpoint()
