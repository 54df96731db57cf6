"""PostgreSQL that restarts, hangs up, is full, locked or slow.

Nothing is written twice, nothing that was acknowledged is lost, and whoever asked hears a sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
import sqlalchemy as sa

from corereg.config import DatabaseConfig
from corereg.http.app import asgi
from corereg.store.database import Conflict, Database, DatabaseBusy, DatabaseUnavailable, Query
from corereg.store.engines import connect
from corereg.store.postgres import PostgresDatabase
from corereg.store.schema import repositories
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.plugin import start_postgres
from corereg.testing.postgres import Databases, Server
from corereg.testing.registry import scratch
from corereg.testing.statements import reads_beside

from .proxy import Proxy

pytestmark = pytest.mark.anyio

INSERT = Query(sa.insert(repositories).values(name=sa.bindparam("repository"), created_at=1))
NAMES = Query(sa.select(repositories.c.name).order_by(repositories.c.name))
TOUCH = Query(sa.update(repositories).values(created_at=repositories.c.created_at + 1))
TOUCH_ONE = Query(
    sa.update(repositories)
    .where(repositories.c.name == sa.bindparam("repository"))
    .values(created_at=repositories.c.created_at + 1)
)
PROCESS = Query(sa.select(sa.func.pg_backend_pid()))
OTHERS = sa.text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own: it is restarted."""
    started = start_postgres()
    yield started
    started.remove()


@pytest.fixture(scope="module")
def databases(server: Server) -> Databases:
    return Databases(server.url)


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.fresh()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = connect(url)
    await opened.open()
    yield opened
    await opened.close()


async def names(database: Database) -> list[str]:
    return [row[0] for row in await database.rows(NAMES)]


async def several(database: Database, count: int = 4) -> None:
    """Make the pool keep some connections."""
    await asyncio.gather(*(database.rows(sa.text("SELECT pg_sleep(0.05)")) for _ in range(count)))


# ---- the server goes away ----


async def test_reads_and_writes_go_on_after_a_restart(database: Database, server: Server) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="before")
    for _ in range(2):
        await several(database)
        server.restart()
        assert await names(database) == ["before"]
        assert [row.name for row in await database.rows(sa.select(repositories.c.name))] == ["before"]
    await several(database)
    server.restart()
    async with database.transaction() as tx:  # a write finds the broken connections first
        await tx.execute(INSERT, repository="after")
    assert await names(database) == ["after", "before"]


async def test_connections_that_the_server_ended_are_replaced(database: Database, url: str) -> None:
    other = connect(url)
    await other.open()
    for statement in (NAMES, sa.select(repositories.c.name)):
        await several(database)
        await several(other, 1)
        assert (await other.rows(OTHERS))[0][0] >= 4
        assert await database.rows(statement) == []
    await several(database)
    await other.rows(OTHERS)
    assert await database.execute(INSERT, repository="a") == 1
    assert await names(database) == ["a"]
    await other.close()


async def test_a_transaction_whose_connection_died_wrote_nothing_and_says_so(database: Database, url: str) -> None:
    other = connect(url)
    await other.open()
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - what stands before is what must not be kept
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="lost")
            await other.rows(OTHERS)
            await tx.execute(INSERT, repository="never sent")
    with pytest.raises(DatabaseUnavailable, match="whether it was made is not known"):  # noqa: PT012 - as above
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="lost too")
            await other.rows(OTHERS)
    assert await names(database) == []
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="kept")
    assert await names(other) == ["kept"]
    await other.close()


async def test_a_server_that_is_away_is_told_in_a_sentence(database: Database, server: Server) -> None:
    await several(database)
    server.stop()
    try:
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await database.rows(NAMES)
        with pytest.raises(DatabaseUnavailable, match="does not answer"):
            await database.execute(INSERT, repository="a")
    finally:
        server.start()
    assert await names(database) == []


async def test_a_commit_whose_answer_is_lost_is_no_success(url: str, server: Server) -> None:
    async with Proxy(server.port) as proxy:
        database = connect(urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl())
        await database.open()
        proxy.word = b"COMMIT"
        with pytest.raises(DatabaseUnavailable, match="whether it was made is not known"):
            async with database.transaction() as tx:
                await tx.execute(INSERT, repository="a")
        with pytest.raises(DatabaseUnavailable, match="whether it was made is not known"):
            await database.execute(INSERT, repository="b")  # not repeated: it may have been done
        assert proxy.cut == 2
        proxy.word = None
        assert await names(database) == ["a", "b"]  # each once
        await database.close()


async def test_a_push_whose_commit_is_not_answered_is_told_to_try_again(
    url: str, server: Server, tmp_path: Path
) -> None:
    manifest = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    async with Proxy(server.port) as proxy:
        through = urlsplit(url)._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl()
        async with scratch(tmp_path, database=through) as registry:
            someone = Credentials("admin", "a password for tests only")
            async with RegistryClient("http://registry.test", app=asgi(registry), credentials=someone) as client:

                async def put() -> Any:
                    return await client.request(
                        "PUT",
                        "/v2/demo/app/manifests/latest",
                        content=manifest,
                        headers={"content-type": "application/vnd.oci.image.index.v1+json"},
                    )

                await client.authorization("PUT", "/v2/demo/app/manifests/latest")
                proxy.word = b"COMMIT"
                answer = await put()
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
                assert "not known" in answer.json()["errors"][0]["message"]
                proxy.word = None
                assert (await put()).status_code == 201
                assert (await client.request("GET", "/v2/demo/app/manifests/latest")).content == manifest


# ---- it says no ----


async def test_a_statement_that_takes_too_long_is_ended(url: str) -> None:
    database = connect(url, DatabaseConfig(statement_timeout=1))
    await database.open()
    for statement in (Query(sa.select(sa.func.pg_sleep(30))), sa.text("SELECT pg_sleep(30)")):
        with pytest.raises(DatabaseUnavailable, match=r"longer than database\.statement_timeout"):
            await database.rows(statement)
    assert await names(database) == []
    await database.close()


async def test_a_lock_that_is_not_given_up_is_told(url: str) -> None:
    database, other = connect(url, DatabaseConfig(lock_timeout=1)), connect(url)
    await database.open()
    await other.open()
    async with other.transaction() as tx:
        await other.lock(tx, "corereg test")
        with pytest.raises(DatabaseBusy, match=r"longer than database\.lock_timeout"):
            async with database.transaction() as mine:
                await database.lock(mine, "corereg test")
    async with database.transaction() as mine:
        await database.lock(mine, "corereg test")
    for each in (database, other):
        await each.close()


async def test_a_server_without_free_connections_is_told(server: Server, url: str) -> None:
    owner = connect(url)
    await owner.open()
    async with owner.transaction() as tx:
        await tx.execute(sa.text("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1"))
    lonely = connect(urlsplit(url)._replace(netloc=f"lonely@127.0.0.1:{server.port}").geturl())
    await lonely.open()
    async with lonely.transaction():
        with reads_beside(), pytest.raises(DatabaseUnavailable, match="no free connection"):
            await lonely.rows(sa.text("SELECT 1"))
    assert (await lonely.rows(sa.text("SELECT 1")))[0][0] == 1
    for each in (lonely, owner):
        await each.close()


async def test_a_pool_of_which_all_are_busy_makes_wait_and_then_says_so(url: str) -> None:
    database = connect(url, DatabaseConfig(pool_size=1, pool_overflow=1, pool_timeout=1))
    assert isinstance(database, PostgresDatabase)
    await database.open()
    free = anyio.Event()

    async def hold() -> None:
        async with database.transaction():
            await free.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        group.start_soon(hold)
        while database.connections.open < 2 or database.connections.idle:
            await anyio.sleep(0.01)
        with pytest.raises(DatabaseUnavailable, match="all 2 connections"):
            await database.rows(NAMES)
        group.start_soon(database.rows, NAMES)
        while not database.connections.waiting:
            await anyio.sleep(0.01)
        free.set()
    assert (database.connections.open, database.connections.idle, database.connections.waiting) == (1, 1, 0)
    await database.close()
    assert database.connections.open == 0


async def test_who_gives_up_waiting_takes_no_connection_along(url: str) -> None:
    database = connect(url, DatabaseConfig(pool_size=1, pool_overflow=0))
    await database.open()
    for pause in (0, 0.001, 0.005, 0.01):
        async with database.transaction():
            tasks = [asyncio.create_task(database.rows(NAMES)) for _ in range(3)]
            await asyncio.sleep(pause)
            tasks[0].cancel()
        tasks[1].cancel()  # in the moment in which it is given one, perhaps
        await asyncio.gather(*tasks, return_exceptions=True)
    with anyio.fail_after(20):
        assert await names(database) == []
    await database.close()


async def test_an_old_connection_is_replaced(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = connect(url, DatabaseConfig(recycle=100))
    assert isinstance(database, PostgresDatabase)
    await database.open()
    first = (await database.rows(PROCESS))[0][0]
    assert (await database.rows(PROCESS))[0][0] == first
    for connection in database.connections._idle:
        connection.born -= 101
    assert (await database.rows(PROCESS))[0][0] != first
    assert database.connections.open == 1
    await database.close()


# ---- two changes at once ----


async def test_of_two_that_wait_for_each_other_one_is_told_to_do_it_again(database: Database) -> None:
    for name in "ab":
        await database.execute(INSERT, repository=name)
    started = 0
    told = []

    async def change(first: str, second: str) -> None:
        nonlocal started
        try:
            async with database.transaction() as tx:
                await tx.execute(TOUCH_ONE, repository=first)
                started += 1
                while started < 2:
                    await anyio.sleep(0.01)
                await tx.execute(TOUCH_ONE, repository=second)
        except DatabaseBusy as error:
            told.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(change, "a", "b")
        group.start_soon(change, "b", "a")
    (sentence,) = told
    assert "do it again" in sentence


async def test_a_statement_alone_is_repeated_for_whoever_asked(database: Database) -> None:
    for name in "ab":
        await database.execute(INSERT, repository=name)
    done = []
    held = anyio.Event()

    async def both() -> None:
        await held.wait()
        done.append(await database.execute(TOUCH))

    async with anyio.create_task_group() as group:
        group.start_soon(both)  # has a, waits for b, and after a second finds that nobody can go on
        async with database.transaction() as tx:
            await tx.execute(TOUCH_ONE, repository="b")
            held.set()
            with reads_beside():
                while not (await database.rows(sa.text("SELECT 1 FROM pg_locks WHERE NOT granted"))):
                    await anyio.sleep(0.01)
            await tx.execute(TOUCH_ONE, repository="a")
    assert done == [2]
    assert [row[0] for row in await database.rows(sa.select(repositories.c.created_at))] == [3, 3]


async def test_a_failure_that_was_swallowed_is_not_committed(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="did not commit"):  # noqa: PT012 - the commit is what must fail
        async with database.transaction() as tx:
            await tx.execute(INSERT, repository="a")
            with pytest.raises(Conflict):
                await tx.execute(INSERT, repository="a")
    assert await names(database) == []


async def test_a_cancelled_transaction_leaves_nothing(database: Database) -> None:
    assert isinstance(database, PostgresDatabase)
    for slow in (Query(sa.select(sa.func.pg_sleep(30))), sa.text("SELECT pg_sleep(30)")):
        with anyio.move_on_after(0.2):
            async with database.transaction() as tx:
                await tx.execute(INSERT, repository="a")
                await tx.rows(slow)

        async def change(slow: Any = slow) -> None:
            async with database.transaction() as tx:
                await tx.execute(INSERT, repository="b")
                await tx.rows(slow)

        task = asyncio.create_task(change())
        await asyncio.sleep(0.2)
        task.cancel()  # as servers do it
        with pytest.raises(asyncio.CancelledError):
            await task
    with anyio.fail_after(20):
        await database.execute(INSERT, repository="c")
    assert await names(database) == ["c"]
    assert database.connections.open == database.connections.idle


async def test_what_is_no_word_of_the_database_is_no_outage(database: Database) -> None:
    """A bug in this house must not be answered as if the server were away."""
    with pytest.raises(KeyError):
        await database.rows(Query(sa.select(repositories.c.name).where(repositories.c.name == sa.bindparam("name"))))


# ---- tables that change under running nodes ----


async def test_statements_that_were_prepared_before_a_migration_go_on(database: Database, url: str) -> None:
    other = connect(url)
    await other.open()
    await database.execute(INSERT, repository="a")
    plain = sa.select(repositories.c.created_at)
    prepared = Query(plain)
    for kind in ("text", "bigint"):
        await several(database)
        for _ in range(3):
            await asyncio.gather(*(database.rows(each) for each in (prepared, plain, prepared, plain)))
        await other.run_sync(_altering(kind))
        for _ in range(6):
            assert len(await database.rows(prepared)) == 1
            assert len(await database.rows(plain)) == 1
    async with database.transaction() as tx:
        await tx.rows(prepared)
    await other.run_sync(_altering("text"))
    with pytest.raises(DatabaseUnavailable, match="changed by an upgrade; do it again"):
        async with database.transaction() as tx:
            await tx.rows(prepared)
    async with database.transaction() as tx:
        assert len(await tx.rows(prepared)) == 1
    await other.close()


def _altering(kind: str) -> Any:
    def alter(connection: sa.Connection) -> None:
        connection.execute(sa.text(f"ALTER TABLE repositories ALTER created_at TYPE {kind} USING created_at::{kind}"))
        connection.commit()

    return alter


# ---- what nodes call out ----


async def test_notices_are_heard_once_committed_and_again_after_a_restart(
    database: Database, url: str, server: Server
) -> None:
    other = connect(url)
    await other.open()
    heard: list[str] = []
    news = anyio.Event()

    def hear(payload: str) -> None:
        nonlocal news
        heard.append(payload)
        news.set()
        news = anyio.Event()

    async def until(payload: str) -> None:
        with anyio.fail_after(20):
            while payload not in heard:
                await news.wait()

    await database.listen("corereg test", hear)
    await until("")
    await other.notify("corereg test", "now")
    await until("now")
    async with other.transaction() as tx:
        await other.notify("corereg test", "later", tx=tx)
        with reads_beside():
            await other.notify("corereg test", "sooner")
        await until("sooner")
        assert "later" not in heard
    await until("later")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what was rolled back is not called out
        async with other.transaction() as tx:
            await other.notify("corereg test", "never", tx=tx)
            raise ZeroDivisionError
    heard.clear()
    server.restart()
    await until("")  # something may have been missed
    await other.notify("corereg test", "again")
    await until("again")
    assert "never" not in heard
    await other.close()


# ---- the way in ----


async def test_the_password_comes_from_a_file_that_may_change(server: Server, url: str, tmp_path: Path) -> None:
    owner = connect(url)
    await owner.open()
    async with owner.transaction() as tx:
        await tx.execute(sa.text("CREATE ROLE keeper LOGIN PASSWORD 'first'"))
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all keeper 127.0.0.1/32 scram-sha-256\n{before}")
    await owner.rows(sa.text("SELECT pg_reload_conf()"))
    file = tmp_path / "password"
    file.write_text("wrong\n")
    database = connect(
        urlsplit(url)._replace(netloc=f"keeper@127.0.0.1:{server.port}").geturl(),
        DatabaseConfig(password_file=file, recycle=1),
    )
    try:
        with anyio.fail_after(20):  # the server reads its rules soon
            while True:
                try:
                    await database.open()
                except DatabaseUnavailable as error:
                    assert "refuses the password" in str(error)  # noqa: PT017 - and until then it lets everybody in
                    break
                await database.close()
        file.write_text("first\n")
        await database.open()
        assert (await database.rows(sa.text("SELECT current_user")))[0][0] == "keeper"
        file.unlink()
        with pytest.raises(DatabaseUnavailable, match=r"password_file: .* cannot be read"):
            await asyncio.gather(*(database.rows(sa.text("SELECT pg_sleep(0.1)")) for _ in range(2)))
        await database.close()
    finally:
        rules.write_text(before)
        await owner.close()


async def test_the_servers_certificate_is_checked(server: Server, url: str, tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority, stranger = trustme.CA(), trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    for name, blob in (("server.key", made.private_key_pem), ("server.crt", made.cert_chain_pems[0])):
        path = server.folder / "data" / name
        path.write_bytes(blob.bytes())
        path.chmod(0o600)
        server.give(path)
    owner = connect(url)
    await owner.open()
    await owner.run_sync(_telling("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    try:
        with anyio.fail_after(20):
            while (await owner.rows(sa.text("SHOW ssl")))[0][0] != "on":
                await anyio.sleep(0.05)
        right = connect(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}")
        await right.open()
        assert (await right.rows(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")))[0][0] is True
        assert str(tmp_path) not in right.describe()
        await right.close()
        for wrong in (
            f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'stranger.pem'}",
            f"{url.replace('127.0.0.1', 'localhost')}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}",
        ):
            with pytest.raises(DatabaseUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await connect(wrong).open()
    finally:
        await owner.run_sync(_telling("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()"))
        await owner.close()


def _telling(*statements: str) -> Any:
    def tell(connection: sa.Connection) -> None:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for each in statements:
            connection.execute(sa.text(each))

    return tell


async def test_a_pooler_in_between_needs_no_prepared_statements(url: str) -> None:
    """As pgbouncer needs it: no prepared statement, no parameter of the session but the name, no LISTEN."""
    database = connect(url, DatabaseConfig(statement_cache_size=0))
    await database.open()
    await database.listen("corereg test", lambda _: None)
    async with database.transaction() as tx:
        await tx.execute(INSERT, repository="a")
        await tx.execute(sa.insert(repositories).values(name="b", created_at=1))
    for _ in range(3):
        assert await names(database) == ["a", "b"]
        assert len(await database.rows(sa.select(repositories.c.name))) == 2
    assert await database.rows(sa.text("SELECT name FROM pg_prepared_statements WHERE name LIKE '%asyncpg%'")) == []
    assert [row[0] for row in await database.rows(sa.text("SHOW statement_timeout"))] == ["0"]
    listening = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
    )
    assert (await database.rows(listening))[0][0] == 0
    await database.close()
