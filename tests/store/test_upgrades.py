"""Nodes of two releases on one database: the older one goes on, or says why it cannot."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from corereg.http.app import asgi
from corereg.store import schema as module
from corereg.store.database import Database, DatabaseBusy
from corereg.store.engines import connect
from corereg.store.schema import CORE, Schema, SchemaTooNew, upgrade, versions
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

REVISION = '''"""A revision of tests."""
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None
breaks = {breaks}


def upgrade() -> None:
    {body}
'''
CREATE = 'op.create_table("demo_things", sa.Column("id", sa.BigInteger(), nullable=False))'
ADD = 'op.add_column("{table}", sa.Column("{column}", sa.BigInteger(), nullable=False, server_default="0"))'


def release(folder: Path, *breaking: bool) -> Schema:
    """The tables of a plugin in a release with one revision for each of `breaking`."""
    folder.mkdir()
    down = None
    for number, breaks in enumerate(breaking, 1):
        revision = f"demo{number:04}"
        body = CREATE if number == 1 else ADD.format(table="demo_things", column=f"column{number}")
        (folder / f"{number:04}.py").write_text(REVISION.format(revision=revision, down=down, breaks=breaks, body=body))
        down = revision
    return Schema("demo", sa.MetaData(), folder)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:{tmp_path / 'test.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    opened = connect(url)
    await opened.open()
    yield opened
    await opened.close()


async def test_an_older_node_serves_on_tables_that_only_grew(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = release(tmp_path / "older", False), release(tmp_path / "newer", False, False)
    await upgrade(database, [CORE, newer])
    caplog.clear()
    await upgrade(database, [CORE, older])
    assert "the tables of demo stand at demo0002, further than this release knows (demo0001)" in caplog.text
    version = (await versions(database, [older]))[0]
    assert (version.current, version.head, version.newer, version.is_current) == ("demo0002", "demo0001", True, False)
    assert (await versions(database, [newer]))[0].is_current
    assert await database.rows(sa.text("SELECT column2 FROM demo_things")) == []


async def test_an_older_node_upgrades_what_only_it_has(database: Database, tmp_path: Path) -> None:
    older, newer = release(tmp_path / "older", False), release(tmp_path / "newer", False, False)
    await upgrade(database, [CORE, newer])
    own = Schema("own", sa.MetaData(), release(tmp_path / "own", False).migrations)
    await database.run_sync(_dropping("demo_things"))
    await upgrade(database, [CORE, older, own])
    assert (await versions(database, [own]))[0].is_current
    assert (await versions(database, [newer]))[0].is_current


def _dropping(table: str) -> Any:
    def drop(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.commit()

    return drop


async def test_an_older_node_refuses_tables_that_a_later_release_broke(database: Database, tmp_path: Path) -> None:
    first = release(tmp_path / "first", False)
    second = release(tmp_path / "second", False, False)
    third = release(tmp_path / "third", False, False, True)
    fourth = release(tmp_path / "fourth", False, False, True, False)
    await upgrade(database, [CORE, first])
    await upgrade(database, [CORE, fourth])
    for older in (first, second):
        with pytest.raises(SchemaTooNew, match="stand at demo0004, and what demo0003 changed"):
            await upgrade(database, [CORE, older])
    await upgrade(database, [CORE, third])  # knows what broke, and serves on what came after
    await upgrade(database, [CORE, fourth])


async def test_tables_that_are_up_to_date_are_not_waited_for(database: Database, tmp_path: Path) -> None:
    """A node starts while another one holds what a migration would have to lock."""
    await upgrade(database, [CORE])
    async with database.transaction() as tx:
        if database.dialect == "postgresql":
            await tx.execute(sa.text("LOCK TABLE repositories IN ACCESS EXCLUSIVE MODE"))
            await database.lock(tx, "corereg migrations")
        with anyio.fail_after(10):
            await upgrade(database, [CORE])


# ---- a rolling upgrade, on PostgreSQL ----


@pytest.fixture
def next_release(tmp_path: Path) -> Schema:
    """The core's tables as a next release might have them: new columns in the tables that everybody uses."""
    folder = tmp_path / "next"
    assert CORE.migrations is not None
    shutil.copytree(CORE.migrations, folder, ignore=shutil.ignore_patterns("__pycache__"))
    from corereg.store.revisions import script  # noqa: PLC0415 - only here

    body = "\n    ".join(
        [ADD.format(table=table, column="next_release") for table in ("repositories", "manifests", "tags", "journal")]
        + ['op.create_index("ix_tags_next_release", "tags", ["next_release"])']
    )
    (folder / "9999_next.py").write_text(
        REVISION.format(revision="core9999", down=script(CORE.migrations).get_current_head(), breaks=False, body=body)
    )
    return Schema("core", CORE.metadata, folder)


async def test_a_node_serves_while_the_next_release_migrates(
    postgres_url: str, next_release: Schema, tmp_path: Path
) -> None:
    node = connect(postgres_url)
    await node.open()
    counted = {"before": 0, "after": 0}
    when = "before"
    async with scratch(tmp_path / "old", database=postgres_url) as registry:
        someone = Credentials("admin", "a password for tests only")
        async with RegistryClient("http://registry.test", app=asgi(registry), credentials=someone) as client:

            async def work(number: int) -> None:
                while counted["after"] < 40:
                    body = index(f"{number}-{counted}")
                    where = f"/v2/demo/app{number}/manifests"
                    answer = await client.request(
                        "PUT", f"{where}/latest", content=body, headers={"content-type": INDEX_TYPE}
                    )
                    assert answer.status_code == 201, answer.text
                    name = f"sha256:{hashlib.sha256(body).hexdigest()}"
                    for reference in ("latest", name):
                        found = await client.request("GET", f"{where}/{reference}")
                        assert (found.status_code, found.content) == (200, body)
                    counted[when] += 1

            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(work, number)
                while counted["before"] < 6:
                    await anyio.sleep(0.01)
                await upgrade(node, [next_release])
                when = "after"
    assert (await versions(node, [next_release]))[0].is_current
    async with scratch(tmp_path / "old", database=postgres_url) as registry:  # the old release starts once more
        assert await registry.ready()
    await node.close()


async def test_a_migration_does_not_make_everybody_wait_behind_a_long_read(
    postgres_url: str, next_release: Schema, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 1)
    monkeypatch.setattr(module, "PAUSES", (0.1,) * 100)
    caplog.set_level(logging.WARNING)
    node, reader, other = (connect(postgres_url) for _ in range(3))
    for each in (node, reader, other):
        await each.open()
    counting = sa.text("SELECT count(*) FROM repositories")
    async with anyio.create_task_group() as group:
        async with reader.transaction() as tx:
            await tx.rows(counting)  # its lock stays until it ends
            group.start_soon(_apart, node, next_release)
            while "tried again" not in caplog.text:
                assert await other.rows(counting) == [(0,)]
            assert not (await versions(other, [next_release]))[0].is_current
        while not (await versions(other, [next_release]))[0].is_current:
            await anyio.sleep(0.05)
    assert await other.rows(counting) == [(0,)]
    for each in (node, reader, other):
        await each.close()


async def _apart(node: Database, wanted: Schema) -> None:
    await upgrade(node, [wanted])


async def test_a_migration_that_never_gets_its_lock_says_so(
    postgres_url: str, next_release: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 1)
    monkeypatch.setattr(module, "PAUSES", ())
    node, reader = connect(postgres_url), connect(postgres_url)
    for each in (node, reader):
        await each.open()
    async with reader.transaction() as tx:
        await tx.rows(sa.text("SELECT count(*) FROM repositories"))
        with pytest.raises(DatabaseBusy):
            await upgrade(node, [next_release])
    for each in (node, reader):
        await each.close()


INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def index(note: str) -> bytes:
    """A manifest that needs nothing."""
    notes = {"note": hashlib.sha256(note.encode()).hexdigest()}
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], "annotations": notes}).encode()
