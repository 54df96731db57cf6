"""The way every change goes: what hooks are asked with, what the journal tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from corereg import Config, Digest, OCIError, Operation, Refusal, Registry, Tag, Transaction, hookimpl
from corereg import plugins as module
from corereg.config import DatabaseConfig
from corereg.oci.errors import Unavailable
from corereg.session import Refused
from corereg.store.database import Query
from corereg.store.schema import repositories
from corereg.testing.registry import People, scratch
from corereg.testing.statements import reads_beside

pytestmark = pytest.mark.anyio


class Listens:
    """Remembers what `commit` was asked with."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        self.asked.append((operation.kind, dict(operation.details)))
        return Refusal("not today") if self.refuses else None


async def test_commit_hooks_hear_what_the_change_found_out(tmp_path: Path) -> None:
    """An id that a row gets inside the transaction: who counts on it (quotas, robots) is asked after the writing."""
    listens = Listens()
    async with scratch(tmp_path, listens) as registry:
        session = registry.session()
        async with session.change(session.operation("thing.create", details={"name": "a"})) as change:
            change.details["id"] = 7
            change.describe(details={"colour": "red"}, size=3)
        assert listens.asked == [("thing.create", {"name": "a", "id": 7, "colour": "red"})]
        (event,) = await registry.journal.events()
        assert (event.details, event.size) == ({"name": "a", "id": 7, "colour": "red"}, 3)


async def test_what_happened_beside_a_refusal_is_told_though_the_transaction_is_rolled_back(tmp_path: Path) -> None:
    listens = Listens()
    listens.refuses = True
    async with scratch(tmp_path, listens) as registry:
        session = registry.session()
        for _ in range(3):
            with pytest.raises(Refused, match="not today"):
                async with session.change(session.operation("thing.create", details={"name": "a"})):
                    session.happened("thing.refused", repository="a/b", details={"used": 7, "namespace": "a"})
        await registry.journal.flush()
        (event,) = await registry.journal.events()
        assert (event.kind, event.repository, event.count) == ("thing.refused", "a/b", 3)
        assert event.details == {"used": 7, "namespace": "a"}


class Hangs:
    """Never comes back from `commit` over one kind of operation."""

    name = "hangs"

    @hookimpl
    async def commit(self, operation: Operation, tx: Transaction) -> None:
        if operation.kind == "thing.hang":
            await anyio.sleep_forever()


async def test_a_commit_hook_that_hangs_stops_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "COMMIT_DEADLINE", 0.05)
    async with scratch(tmp_path, Listens(), Hangs()) as registry:
        session = registry.session()
        with anyio.fail_after(20):
            with pytest.raises(Unavailable) as caught:
                async with session.change(session.operation("thing.hang")):
                    pass
            monkeypatch.undo()
            async with session.change(session.operation("thing.create")):
                pass
        assert "hangs" not in caught.value.message, "which plugin it is is for the log"
        assert "plugin hangs did not end in commit" in caplog.text
        assert [event.kind for event in await registry.journal.events()] == ["thing.create"]


NAMES = Query(sa.select(repositories.c.name))


async def test_a_read_beside_the_open_transaction_is_an_error_in_tests(tmp_path: Path) -> None:
    async with scratch(tmp_path) as registry:
        session = registry.session()
        for read in (registry.database.rows, registry.database.row):
            with pytest.raises(AssertionError, match="beside the open transaction"):
                async with session.change(session.operation("thing.create")):
                    await read(NAMES)
        async with session.change(session.operation("thing.create")):
            with reads_beside():
                assert await registry.database.rows(NAMES) == []


async def test_a_hook_without_a_transaction_reads_with_the_one_that_is_open(tmp_path: Path) -> None:
    async with scratch(tmp_path) as registry:
        session, database = registry.session(), registry.database
        async with session.change(session.operation("thing.create")) as change:
            await registry.catalog.ensure_repository(change.tx, "demo/app")
            assert database.reader is change.tx
            assert await database.reader.rows(NAMES) == [("demo/app",)]
        assert database.reader is database
        assert await database.reader.rows(NAMES) == [("demo/app",)]


async def test_whoever_deletes_what_is_not_there_needs_one_connection(tmp_path: Path, postgres_url: str) -> None:
    """As many as there are connections would wait for one another, and everybody else for them."""
    one = DatabaseConfig(url=postgres_url, pool_size=1, pool_overflow=0, pool_timeout=1)
    registry = Registry(Config(data=tmp_path, database=one), plugins=["storage_fs", People({})])
    await registry.open(background=False)
    try:
        session = registry.session()
        for reference in (Digest(f"sha256:{'0' * 64}"), Tag("v1")):
            with pytest.raises(OCIError) as refused:
                await session.delete_manifest("demo/app", reference)
            assert refused.value.code == "NAME_UNKNOWN"
        async with session.change(session.operation("thing.create")) as change:
            await registry.catalog.ensure_repository(change.tx, "demo/app")
        for reference in (Digest(f"sha256:{'0' * 64}"), Tag("v1")):
            with pytest.raises(OCIError) as refused:
                await session.delete_manifest("demo/app", reference)
            assert refused.value.code == "MANIFEST_UNKNOWN"
    finally:
        await registry.close()
