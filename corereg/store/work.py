"""What work that takes long says while it goes on: to a job's row, or to a terminal."""

from __future__ import annotations

from typing import Protocol


class Stopped(Exception):
    """Somebody stopped the work. What was done stays done; nothing is half-written."""


class Work(Protocol):
    """How a long piece of work reports. Call `check` between two batches, at least every few seconds."""

    async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
        """`done` of `total` (None: not known) steps of this phase; `size` bytes so far."""

    def log(self, line: str) -> None:
        """One line for whoever reads about it later."""

    async def check(self) -> None:
        """Show that the work is alive. Raises Stopped when somebody stopped it."""


class Silent:
    """Tells nobody, and is never stopped."""

    async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
        pass

    def log(self, line: str) -> None:
        pass

    async def check(self) -> None:
        pass
