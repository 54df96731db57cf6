"""The same work for many things, some at once: a storage behind a network answers late, but many at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

Item = TypeVar("Item")
Result = TypeVar("Result")

WIDTH = 16
"""How many are under way at once."""


async def parallel(
    function: Callable[[Item], Awaitable[Result]], items: Sequence[Item], *, width: int = WIDTH
) -> list[Result]:
    """``function(item)`` of each item, in order. The first failure ends the others and is raised as it is."""
    results: dict[int, Result] = {}
    waiting = iter(enumerate(items))

    async def work() -> None:
        for number, item in waiting:
            results[number] = await function(item)

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(width, len(items))):
                group.start_soon(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [results[number] for number in range(len(items))]
