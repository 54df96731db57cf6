"""Transactions: whole or not at all, one at a time, and never in the way of reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from corereg.store import sqlite as module
from corereg.store.database import Conflict, Database, DatabaseFull, DatabaseUnavailable, Query, ValueRefused
from corereg.store.engines import connect
from corereg.store.schema import CORE, metadata, repositories, upgrade, versions
from corereg.store.scopes import covered
from corereg.store.sqlstates import translated
from corereg.testing.statements import reads_beside

pytestmark = pytest.mark.anyio

INSERT = Query(sa.insert(repositories).values(name=sa.bindparam("repository"), created_at=1))
NAMES = Query(sa.select(repositories.c.name).order_by(repositories.c.name))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = connect(f"sqlite:{tmp_path / 'test.db'}")
    await opened.open()
    await upgrade(opened, [CORE])
    yield opened
    await opened.close()


async def names(database: Database) -> list[str]:
    return [row[0] for row in await database.rows(NAMES)]


async def test_an_exception_rolls_everything_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what stands before the exception is what is rolled back
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="a")
            await tx.execute(sa.insert(repositories).values(name="b", created_at=1))
            raise ZeroDivisionError
    assert await names(database) == []
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="c")
    assert await names(database) == ["c"]


async def test_readers_do_not_see_what_is_not_committed(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="a")
        with reads_beside():
            assert await names(database) == []
        assert [row[0] for row in await tx.rows(NAMES)] == ["a"]
    assert await names(database) == ["a"]


async def test_a_cancelled_transaction_leaves_nothing_and_frees_the_lock(database: Database) -> None:
    with anyio.move_on_after(0.05):
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="a")
            await anyio.sleep_forever()
    assert await names(database) == []
    with anyio.fail_after(20):
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="b")


async def test_a_task_that_is_begun_inside_a_transaction_has_its_own(database: Database) -> None:
    async def later() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="b")
            with pytest.raises(RuntimeError, match="open in this task already"):
                async with database.transaction():
                    pass

    async with database.transaction() as tx:
        task = asyncio.create_task(later())
        await anyio.lowlevel.checkpoint()  # it waits for its turn
        await tx.execute(INSERT, repository="a")
    with anyio.fail_after(20):
        await task
    assert await names(database) == ["a", "b"]


async def test_a_transaction_in_a_transaction_is_a_mistake_not_a_deadlock(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="a")
        with pytest.raises(RuntimeError, match="use it instead of opening another"):
            async with database.transaction():
                pass
    assert await names(database) == ["a"]


async def test_writers_of_one_process_take_turns(database: Database) -> None:
    async def write(name: str) -> None:
        async with database.transaction() as tx:
            before = len(await tx.rows(NAMES))
            await anyio.lowlevel.checkpoint()
            await tx.execute(INSERT, repository=name)
            assert len(await tx.rows(NAMES)) == before + 1

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(write, f"r{number:02}")
    assert len(await names(database)) == 20


async def test_a_second_process_is_waited_for_without_stopping_the_loop(database: Database, tmp_path: Path) -> None:
    other = connect(f"sqlite:{tmp_path / 'test.db'}")
    await other.open()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    async def hold() -> None:
        async with other.transaction() as tx:
            await tx.execute(INSERT, repository="other")
            await anyio.sleep(0.3)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        group.start_soon(hold)
        await anyio.sleep(0.05)
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="mine")
        group.cancel_scope.cancel()
    assert await names(database) == ["mine", "other"]
    assert ticks > 10
    await other.close()


async def test_a_lock_that_is_never_given_up_is_told(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.2)
    other = connect(f"sqlite:{tmp_path / 'test.db'}")
    await other.open()
    async with other.transaction():
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            async with module_transaction(database):
                pass
    await other.close()


def module_transaction(database: Database):  # type: ignore[no-untyped-def]
    return database.transaction()


async def test_a_unique_key_is_a_conflict(database: Database) -> None:
    for statement in (INSERT, sa.insert(repositories).values(name=sa.bindparam("repository"), created_at=1)):
        with pytest.raises(Conflict):  # noqa: PT012 - the second of the two is the conflict
            async with database.transaction() as tx:
                await tx.execute(statement, repository="twice")
                await tx.execute(statement, repository="twice")
    assert await names(database) == []


async def test_a_statement_alone_is_a_transaction(database: Database, tmp_path: Path) -> None:
    assert await database.execute(INSERT, repository="a") == 1
    with pytest.raises(Conflict):
        await database.execute(INSERT, repository="a")
    other = connect(f"sqlite:{tmp_path / 'test.db'}")
    await other.open()
    assert await names(other) == ["a"]  # committed, not only seen by who wrote it
    await other.close()
    async with database.transaction() as tx:
        with pytest.raises(RuntimeError, match="use it instead of opening another"):
            await database.execute(INSERT, repository="b")
        await tx.execute(INSERT, repository="c")
    assert await names(database) == ["a", "c"]


async def test_a_statement_alone_waits_for_its_turn(database: Database, tmp_path: Path) -> None:
    other = connect(f"sqlite:{tmp_path / 'test.db'}")
    await other.open()
    order = []

    async def write(name: str, held: anyio.Event) -> None:
        await held.wait()
        assert await database.execute(INSERT, repository=name) == 1
        order.append(name)

    for holder, name in ((database, "of this process"), (other, "of another process")):
        async with anyio.create_task_group() as group:
            held = anyio.Event()
            group.start_soon(write, f"after a task {name}", held)
            async with holder.transaction() as tx:
                await tx.execute(INSERT, repository=f"by a task {name}")
                held.set()
                for _ in range(10):
                    await anyio.lowlevel.checkpoint()
                order.append("commit")
    assert order == ["commit", "after a task of this process", "commit", "after a task of another process"]
    await other.close()


async def test_a_statement_alone_tells_of_a_lock_that_is_never_given_up(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.2)
    other = connect(f"sqlite:{tmp_path / 'test.db'}")
    await other.open()
    async with other.transaction():
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            await database.execute(INSERT, repository="a")
    await other.close()


async def test_the_file_is_for_its_owner_alone(database: Database, tmp_path: Path) -> None:
    for file in tmp_path.iterdir():  # noqa: ASYNC240 - nobody waits for this loop
        assert file.stat().st_mode & 0o077 == 0, file


@pytest.mark.filterwarnings("ignore:.*expression-based index")  # nobody can read one back; the next test asks for it
async def test_migrations_make_the_tables_of_the_metadata(database: Database) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - heavy, and only here
    from alembic.migration import MigrationContext  # noqa: PLC0415

    differences: list[object] = []

    def compare(connection: sa.Connection) -> None:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: not (kind == "table" and "alembic" in name)}
        )
        differences.extend(compare_metadata(context, metadata))

    await database.run_sync(compare)
    assert differences == []
    assert all(version.is_current for version in await versions(database, [CORE]))


async def test_a_list_for_many_namespaces_uses_its_index(database: Database) -> None:
    await upgrade(database, [CORE])
    condition = covered(database, repositories.c.name, [f"p{number}/*" for number in range(100)])
    statement = sa.select(repositories.c.name).where(condition)
    literal = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    plan = await database.rows(sa.text(f"EXPLAIN QUERY PLAN {literal}"))
    assert "ix_repositories_first_word" in " ".join(row[3] for row in plan)


async def test_nodes_that_start_together_migrate_once(tmp_path: Path) -> None:
    nodes = [connect(f"sqlite:{tmp_path / 'together.db'}") for _ in range(4)]
    for node in nodes:
        await node.open()
    async with anyio.create_task_group() as group:
        for node in nodes:
            group.start_soon(upgrade, node, [CORE])
    assert [version.is_current for version in await versions(nodes[0], [CORE])] == [True]
    for node in nodes:
        await node.close()


def test_a_database_nobody_knows() -> None:
    with pytest.raises(DatabaseUnavailable, match="no database for 'mysql'"):
        connect("mysql://localhost/registry")


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:/", "sqlite://", "sqlite:///", "sqlite:.", "sqlite:///:memory:"])
def test_a_path_that_is_missing_is_no_database_in_memory(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="needs the path of a file"):
        connect(url)


def test_a_database_in_memory_is_asked_for_by_name() -> None:
    assert connect("sqlite::memory:").describe() == "sqlite:in memory"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@one:1,two:2/name",
        "postgresql://me:secret@one:x/name",
        "postgresql://me:secret@one..two/name",
        "postgresql://me:secret@/name?host=one,.two",
    ],
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"\?host=one,two") as caught:
        connect(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.fixture
async def chosen(database: Database, corereg_database: str | None) -> AsyncIterator[Database]:
    """The database of ``--corereg-database``, where one is named."""
    if corereg_database is None:
        yield database
        return
    opened = connect(corereg_database)
    await opened.open()
    await upgrade(opened, [CORE])
    yield opened
    await opened.close()


BY_NAME = sa.select(repositories.c.id).where(repositories.c.name == sa.bindparam("name"))
BY_NUMBER = sa.select(repositories.c.id).where(repositories.c.id == sa.bindparam("number"))


@pytest.mark.parametrize("wrap", [Query, lambda statement: statement], ids=["query", "plain"])
async def test_what_no_row_can_hold_is_told_apart_from_a_database_that_is_away(
    chosen: Database, wrap: Callable[[Any], Any]
) -> None:
    by_name, by_number = wrap(BY_NAME), wrap(BY_NUMBER)
    for values in ({"number": 2**63}, {"number": -(2**63) - 1}):
        with pytest.raises(ValueRefused):
            await chosen.rows(by_number, **values)
        with pytest.raises(ValueRefused):
            async with chosen.transaction() as tx:
                await tx.execute(by_number, **values)
    with pytest.raises(ValueRefused):
        await chosen.rows(by_name, name="\ud800")
    if chosen.dialect == "postgresql":
        with pytest.raises(ValueRefused):
            await chosen.rows(by_name, name="a\0")
    assert await chosen.rows(by_number, number=2**63 - 1) == []


@pytest.mark.parametrize(
    ("state", "kind"),
    [("23505", Conflict), ("53100", DatabaseFull), ("22021", ValueRefused), ("57P01", DatabaseUnavailable)],
)
def test_what_postgresql_refuses_is_told_by_its_state(state: str, kind: type[Exception]) -> None:
    """22021 is a text with a NUL: whoever sent it hears so, and the operator hears of no trouble."""
    refused = Exception("refused")
    refused.sqlstate = state  # type: ignore[attr-defined]
    assert isinstance(translated(DBAPIError("SELECT", {}, refused), "a database"), kind)
