"""The logs of tasks as plain text, a window at a time: the longest are not held in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from corereg import Registry, Response
from corereg_management.documents import rfc3339

WINDOW = 1000


def log_of(registry: Registry, tasks: Sequence[int]) -> Response:
    """The logs of these tasks one after another."""
    return Response(200, [("content-type", "text/plain; charset=utf-8")], _lines(registry, tasks))


async def _lines(registry: Registry, tasks: Sequence[int]) -> AsyncIterator[bytes]:
    for task in tasks:
        after = 0
        while lines := await registry.history.log(task, after=after, limit=WINDOW):
            after = lines[-1].number
            yield "".join(f"{rfc3339(each.time)} {each.line}\n" for each in lines).encode()
