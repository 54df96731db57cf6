"""From SQLite to PostgreSQL and back: every row of every plugin, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from corereg.cli import cli
from corereg.config import Config
from corereg.http.app import asgi
from corereg.registry import Registry
from corereg.store import move as module
from corereg.store.database import Database, DatabaseError, ValueRefused
from corereg.store.engines import connect
from corereg.store.move import MoveRefused, batches, move, names, whole
from corereg.store.nodes import Nodes
from corereg.store.schema import CORE, Schema, repositories, upgrade
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.postgres import Databases

pytestmark = pytest.mark.anyio

ROWS = 7
PASSWORD = "Moved-secret-12345"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)


@pytest.fixture
def schemas(tmp_path: Path) -> Sequence[Schema]:
    """The tables of the core and of every plugin that is installed."""
    return Registry(Config(data=tmp_path)).schemas


@pytest.fixture
async def source(tmp_path: Path, schemas: Sequence[Schema]) -> AsyncIterator[Database]:
    """A database with rows in every table."""
    opened = connect(f"sqlite:{tmp_path / 'source.db'}")
    await opened.open()
    await upgrade(opened, schemas)
    await fill(opened, schemas)
    yield opened
    await opened.close()


@pytest.fixture
async def target(postgres_databases: Databases) -> AsyncIterator[Database]:
    opened = connect(postgres_databases.empty())
    await opened.open()
    yield opened
    await opened.close()


async def fill(database: Database, schemas: Sequence[Schema]) -> None:
    """Rows made of what columns may hold; keys point to rows that are there. The newest number is given and gone."""
    made: dict[str, list[dict[str, Any]]] = {}
    async with database.transaction() as tx:
        for table in reversed(whole(schemas).sorted_tables):
            await tx.execute(sa.delete(table))
        for table in whole(schemas).sorted_tables:
            made[table.name] = rows = [row(table, number, made) for number in range(ROWS + 1)]
            await tx.execute_many(sa.insert(table), rows)
        for table in reversed(whole(schemas).sorted_tables):
            last = made[table.name].pop()
            key = [column == last[column.name] for column in table.primary_key.columns]
            await tx.execute(sa.delete(table).where(*key))


def row(table: sa.Table, number: int, made: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.nullable and number % 2:
            values[column.name] = None
        elif isinstance(column.type, sa.LargeBinary):
            values[column.name] = bytes([0, 255, number]) * 100
        elif isinstance(column.type.dialect_impl(_sqlite), sa.Integer):
            values[column.name] = number + 1 if isinstance(column.type, sa.Integer) else 2**62 + number
        else:
            values[column.name] = ("Zebra", "apfel", "Äpfel", "日本", "a-b", "a_b", "a/b", "a.b")[number] + column.name
    for constraint in table.foreign_key_constraints:
        for element in constraint.elements:
            parent = made[element.column.table.name][number]
            values[element.parent.name] = parent[element.column.name]
    return values


_sqlite = sa.dialects.sqlite.dialect()


async def dump(database: Database, schemas: Sequence[Schema]) -> dict[str, set[tuple[Any, ...]]]:
    """Every row there is."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    async with database.transaction() as tx:
        for table in whole(schemas).sorted_tables:
            found[table.name] = {tuple(row) async for rows in batches(tx, table) for row in rows}
    return found


async def test_every_row_of_every_table_goes_there_and_back(
    source: Database, target: Database, schemas: Sequence[Schema], tmp_path: Path
) -> None:
    before = await dump(source, schemas)
    assert {len(rows) for rows in before.values()} == {ROWS}
    moved = await move(source, target, schemas, lambda *_: None)
    assert {each.table: each.rows for each in moved} == dict.fromkeys(before, ROWS)
    assert await dump(target, schemas) == before
    back = connect(f"sqlite:{tmp_path / 'back.db'}")
    await back.open()
    assert [each.checksum for each in await move(target, back, schemas, lambda *_: None)] == [
        each.checksum for each in moved
    ]
    assert await dump(back, schemas) == before
    for database in (target, back):  # numbers go on behind those that were given, also where their rows are gone
        numbered = [
            table
            for table in whole(schemas).sorted_tables
            if table.autoincrement_column is not None and table.dialect_options["sqlite"]["autoincrement"]
        ]
        assert len(numbered) > 3
        for table in numbered:
            column = table.autoincrement_column
            assert column is not None
            highest = ROWS + 1
            if database.dialect == "postgresql":
                sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
                found = await database.rows(sa.text(f"SELECT nextval({sequence})"))
                assert found[0][0] == highest + 1, table.name
            else:
                found = await database.rows(sa.text(f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'"))
                assert [each[0] for each in found] == [highest], table.name
    await back.close()


async def test_a_target_with_tables_is_refused(source: Database, target: Database, schemas: Sequence[Schema]) -> None:
    await upgrade(target, [CORE])
    there = await names(target)
    with pytest.raises(MoveRefused, match="is not empty"):
        await move(source, target, schemas, lambda *_: None)
    assert await names(target) == there


async def test_a_source_that_is_served_is_refused(
    source: Database, target: Database, schemas: Sequence[Schema]
) -> None:
    node = Nodes(source, version="1", slots=1)
    await node.beat()
    with pytest.raises(MoveRefused, match="is being served"):
        await move(source, target, schemas, lambda *_: None)
    await node.leave()
    assert await names(target) == set()
    assert await move(source, target, schemas, lambda *_: None)


async def test_a_source_with_tables_of_a_plugin_that_is_not_enabled_is_refused(
    source: Database, target: Database, schemas: Sequence[Schema]
) -> None:
    with pytest.raises(MoveRefused, match="no enabled plugin knows"):
        await move(source, target, [CORE], lambda *_: None)
    assert await names(target) == set()


async def test_what_fails_half_way_leaves_an_empty_target(
    source: Database, target: Database, schemas: Sequence[Schema]
) -> None:
    async with source.transaction() as tx:
        await tx.execute(sa.update(repositories).where(repositories.c.name == "日本name").values(name="nul\0"))
    with pytest.raises(ValueRefused):
        await move(source, target, schemas, lambda *_: None)
    assert await names(target) == set()


async def test_a_row_that_differs_afterwards_is_found(
    source: Database, target: Database, schemas: Sequence[Schema], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = module._parameters

    def spoilt(table: sa.Table, found: Any) -> dict[str, Any]:
        values = kept(table, found)
        return values | {"time": 1} if table.name == "journal" and values["serial"] == 5 else values

    monkeypatch.setattr(module, "_parameters", spoilt)
    with pytest.raises(DatabaseError, match="journal holds 7 rows that differ"):
        await move(source, target, schemas, lambda *_: None)
    assert await names(target) == set()


@pytest.mark.corereg_files
def test_the_command_moves_a_registry_that_then_serves_as_before(
    tmp_path: Path, postgres_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    config = Config(data=tmp_path)
    anyio.run(_push, config, "library/before")
    url = postgres_databases.empty()
    runner = CliRunner()
    result = runner.invoke(cli, ["db", "move", url, "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f'[database]\nurl = "{url}"' in result.output
    there = msgspec.structs.replace(config, database=msgspec.structs.replace(config.database, url=url))
    anyio.run(_pull, there, "library/before")
    anyio.run(_push, there, "library/after")
    again = runner.invoke(cli, ["db", "move", url, "--data", str(tmp_path)])
    assert again.exit_code == 1
    assert "is not empty" in again.output
    checked = runner.invoke(cli, ["db", "check", "--data", str(tmp_path)], env={"COREREG__DATABASE__URL": url})
    assert "PostgreSQL" in checked.output
    assert "as this release makes them" in checked.output
    assert checked.exit_code == 9  # the servers of tests do without fsync
    assert "what was acknowledged may be lost" in checked.output
    assert runner.invoke(cli, ["db", "check", "--data", str(tmp_path)]).exit_code == 0


INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'


async def _push(config: Config, repository: str) -> None:
    async with Registry(config) as registry, _client(registry) as client:
        answer = await client.request(
            "PUT",
            f"/v2/{repository}/manifests/latest",
            content=INDEX,
            headers={"content-type": "application/vnd.oci.image.index.v1+json"},
        )
        assert answer.status_code == 201, answer.text


async def _pull(config: Config, repository: str) -> None:
    async with Registry(config) as registry, _client(registry) as client:
        answer = await client.request("GET", f"/v2/{repository}/manifests/latest")
        assert (answer.status_code, answer.content) == (200, INDEX)


def _client(registry: Registry) -> RegistryClient:
    return RegistryClient("http://registry.test", app=asgi(registry), credentials=Credentials("admin", PASSWORD))
