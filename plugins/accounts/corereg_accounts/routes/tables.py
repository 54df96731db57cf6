"""A table of routes with short lines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from corereg import Action, Route

Needs = Any
"""An `Action`, `SIGNED_IN` or `OPEN`."""


def table(tag: str, *, extension: bool = False) -> Callable[..., Route]:
    """Makes the routes of one tag: method, path, handler, what it needs, a summary, and further statuses it answers.

    A path that names a thing may answer 404, and a route for some people only 403, without being told.
    """

    def route(
        method: str, path: str, handler: Callable[..., Awaitable[Any]], needs: Needs, summary: str, *errors: int
    ) -> Route:
        found = {*errors, *((404,) if "{" in path else ()), *((403,) if isinstance(needs, Action) else ())}
        return Route(method, path, handler, needs, summary, tag=tag, errors=tuple(sorted(found)), extension=extension)

    return route
