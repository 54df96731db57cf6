"""Which namespace a repository stands in, for pages that show many."""

from __future__ import annotations

import time
from collections.abc import Iterable

from corereg import Namespace, Registry

KEPT = 5.0
"""Seconds that an answer is used again: a page of a hundred repositories asks for few of them."""
MOST = 10_000


class Places:
    """Remembers namespaces for a few seconds."""

    def __init__(self, registry: Registry) -> None:
        self._plugins = registry.plugins
        self._known: dict[str, tuple[float, Namespace | None]] = {}

    async def of(self, repositories: Iterable[str]) -> dict[str, Namespace]:
        """The namespace of each repository that has one."""
        found = {}
        for repository in repositories:
            namespace = await self._namespace(repository)
            if namespace is not None:
                found[repository] = namespace
        return found

    async def _namespace(self, repository: str) -> Namespace | None:
        folder, clock = repository.rpartition("/")[0], time.monotonic()
        until, namespace = self._known.get(folder, (0.0, None))
        if clock > until:
            namespace = await self._plugins.namespace_of(repository)
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[folder] = (clock + KEPT, namespace)
        return namespace
