"""The way every change goes: what hooks are asked with, what the journal tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from corereg import Operation, Refusal, Transaction, hookimpl
from corereg import plugins as module
from corereg.oci.errors import Unavailable
from corereg.session import Refused
from corereg.testing.registry import scratch

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
