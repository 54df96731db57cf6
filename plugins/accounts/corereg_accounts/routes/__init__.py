"""What is answered over HTTP: Harbor's tags ``user`` and ``usergroup``, its sign-in pages' calls, and what goes beyond.

Each file is one noun of the API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corereg import Registry, Route
from corereg_accounts.routes.groups import GroupRoutes
from corereg_accounts.routes.sessions import SessionRoutes
from corereg_accounts.routes.tokens import TokenRoutes
from corereg_accounts.routes.users import UserRoutes
from corereg_accounts.stores import Stores

__all__ = ["routes_of"]


def routes_of(registry: Registry, stores: Callable[[], Stores]) -> Sequence[Route]:
    """All routes. `stores` gives the stores, which are there once the registry is open."""
    tables = (UserRoutes, GroupRoutes, SessionRoutes, TokenRoutes)
    return [route for table in tables for route in table(registry, stores).routes()]
