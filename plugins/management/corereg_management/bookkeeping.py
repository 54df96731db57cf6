"""What operations and events do to the rows that lists are read from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from corereg import Conflict, Event, OCIError, Operation, Registry, Transaction
from corereg_management.attributes import Attributes
from corereg_management.readmodel import ReadModel
from corereg_management.switches import NO_PULL_COUNT, NO_PULL_TIME

log = logging.getLogger(__name__)

CHANGES = frozenset({"manifest.push", "manifest.delete", "tag.create", "tag.delete"})
BATCH = 100
"""Manifests from before the plugin was here that one transaction takes in."""


class Bookkeeping:
    """Keeps the read model of one registry."""

    def __init__(self, registry: Registry, model: ReadModel, attributes: Attributes) -> None:
        self._registry = registry
        self._model = model
        self._attributes = attributes

    async def commit(self, operation: Operation, tx: Transaction) -> None:
        """Inside the operation's transaction: whoever sees the manifest sees its row."""
        if operation.kind not in CHANGES or operation.repository is None or operation.digest is None:
            return
        repository_id = await self._model.repository_id(tx, operation.repository)
        if repository_id is None:
            return  # it went as a whole, and its rows with it
        if operation.kind == "manifest.push" and operation.manifest is not None:
            await self._model.push(tx, repository_id, operation.digest, operation.manifest, operation.tags)
        elif operation.kind == "manifest.delete":
            await self._model.forget(tx, repository_id, operation.digest)
        else:
            for name in operation.tags if operation.kind == "tag.create" else ():
                await self._model.put_tag(tx, repository_id, name, operation.digest)
            await self._model.settle(tx, repository_id, operation.digest)

    async def observe(self, event: Event) -> None:
        """Count pulls; read what a push brought; mend what happened while the plugin was switched off."""
        if event.repository is None or event.digest is None:
            return
        if event.kind == "manifest.pull":
            await self._pulled(event, event.repository, event.digest)
        elif event.kind in CHANGES:
            repository_id = await self._model.repository_id(self._registry.database, event.repository)
            if repository_id is None:
                return
            if not await self._model.stands(repository_id, event.digest):
                await self._mend([(repository_id, event.digest)])
            if event.kind == "manifest.push":
                await self._attributes.of_digest(repository_id, event.repository, event.digest)

    async def _pulled(self, event: Event, repository: str, digest: str) -> None:
        settings, database = self._registry.settings, self._registry.database
        counts, times = not settings.get(NO_PULL_COUNT), not settings.get(NO_PULL_TIME)
        repository_id = await self._model.repository_id(database, repository)
        if repository_id is None or not (counts or times):
            return
        async with database.transaction(durable=False) as tx:
            if counts:
                await self._model.count(tx, repository_id, event.serial, event.count, event.time)
            if times:
                await self._model.pulled(tx, repository_id, digest, event.tags, event.time)

    async def catch_up(self) -> int:
        """Take in everything that was pushed before the plugin was here; how many manifests that were."""
        missing = await self._model.missing()
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            try:
                await self._mend(batch)
            except Conflict:  # another node has just deleted one of them
                for each in batch:
                    with suppress(Conflict):
                        await self._mend([each])
        return len(missing)

    async def _mend(self, manifests: Sequence[tuple[int, str]]) -> None:
        async with self._registry.database.transaction(durable=False) as tx:
            for repository_id, digest in manifests:
                try:
                    await self._model.mend(tx, repository_id, digest)
                except OCIError as error:  # what was stored once and is refused today is no reason not to start
                    log.warning("%s cannot be listed: %s", digest, error)
