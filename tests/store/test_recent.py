"""What SQLite answered a moment ago is given again only while nobody has committed anything."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corereg.store.database import Query
from corereg.store.recent import HEADER, LARGEST, MOST, VERSION, Recent
from corereg.store.sqlite import SQLiteDatabase
from corereg.testing.statements import reads_beside

pytestmark = pytest.mark.anyio

TABLE = sa.Table("things", sa.MetaData(), sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text))
VALUE = Query(sa.select(TABLE.c.value).where(TABLE.c.name == sa.bindparam("name")), often=True)
RARE = Query(VALUE.statement)
BOTH = Query(
    sa.select(TABLE.c.value).where(TABLE.c.name == sa.bindparam("name"), TABLE.c.value != sa.bindparam("other")),
    often=True,
)
PUT = Query(
    sa.text("INSERT INTO things VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
)
DELETE = Query(sa.delete(TABLE).where(TABLE.c.name == sa.bindparam("name_")))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLiteDatabase]:
    opened = SQLiteDatabase(tmp_path / "test.db")
    await opened.open()
    await opened.run_sync(TABLE.create)
    await opened.execute(PUT, name="a", value="1")
    yield opened
    await opened.close()


@pytest.fixture
def another(database: SQLiteDatabase) -> Iterator[sqlite3.Connection]:
    """Somebody else on the same file."""
    connection = sqlite3.connect(str(database.path), isolation_level=None, timeout=10)
    yield connection
    connection.close()


async def value(database: SQLiteDatabase, name: str = "a") -> str | None:
    row = await database.row(VALUE, name=name)
    return row[0] if row else None


def kept(database: SQLiteDatabase) -> int:
    assert database._recent is not None, "it is here that this is for"
    return len(database._recent)


async def test_a_row_is_read_once(database: SQLiteDatabase) -> None:
    asked: list[str] = []
    database._raw_reader.set_trace_callback(asked.append)
    first = await database.row(VALUE, name="a")
    assert await database.row(VALUE, name="a") is first
    assert len(asked) == 1
    assert await database.row(RARE, name="a") == ("1",)
    assert len(asked) == 2, "this one is always asked"


async def test_what_this_process_commits_is_seen(database: SQLiteDatabase) -> None:
    assert await value(database) == "1"
    await database.execute(PUT, name="a", value="2")
    assert await value(database) == "2"
    async with database.transaction() as tx:
        await tx.execute(PUT, name="a", value="3")
        with reads_beside():
            assert await value(database) == "2"
        assert await tx.row(VALUE, name="a") == ("3",)
    assert await value(database) == "3"
    await database.execute(DELETE, name_="a")
    assert await value(database) is None


async def test_what_is_rolled_back_is_not(database: SQLiteDatabase) -> None:
    assert await value(database) == "1"
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what stands before it is what is rolled back
        async with database.transaction() as tx:
            await tx.execute(PUT, name="a", value="2")
            assert await tx.row(VALUE, name="a") == ("2",)
            raise ZeroDivisionError
    assert await value(database) == "1"


async def test_what_was_not_there_is_looked_for_again(database: SQLiteDatabase, another: sqlite3.Connection) -> None:
    assert await value(database, "b") is None
    assert kept(database) == 0
    another.execute("INSERT INTO things VALUES ('b', '2')")
    assert await value(database, "b") == "2"


async def test_parameters_are_told_apart_by_their_names(database: SQLiteDatabase) -> None:
    await database.execute(PUT, name="b", value="a")
    assert await database.row(BOTH, name="a", other="b") == ("1",)
    assert await database.row(BOTH, other="a", name="b") is None
    assert await database.row(BOTH, other="b", name="a") == ("1",)


async def test_an_unrelated_commit_is_enough(database: SQLiteDatabase, another: sqlite3.Connection) -> None:
    await value(database)
    another.execute("INSERT INTO things VALUES ('b', '2')")
    await value(database, "b")
    assert kept(database) == 1


async def test_large_rows_are_not_kept_and_not_too_many(database: SQLiteDatabase) -> None:
    await database.execute(PUT, name="large", value="x" * (LARGEST + 1))
    assert await value(database, "large") == "x" * (LARGEST + 1)
    assert kept(database) == 0
    async with database.transaction() as tx:
        await tx.execute_many(PUT, [{"name": f"n{number}", "value": ""} for number in range(MOST + 5)])
    for number in range(MOST + 5):
        assert await value(database, f"n{number}") == ""
        assert kept(database) <= MOST
    assert kept(database) == 5


async def test_a_database_in_memory_keeps_none() -> None:
    database = SQLiteDatabase(None)
    await database.open()
    await database.run_sync(TABLE.create)
    await database.execute(PUT, name="a", value="1")
    assert await value(database) == "1"
    await database.execute(PUT, name="a", value="2")
    assert await value(database) == "2"
    assert database._recent is None
    await database.close()


OTHER = {"empty": b"", "short": b"short", "of a later format": struct.pack("=I", VERSION + 1) + bytes(HEADER)}


@pytest.mark.parametrize("index", OTHER.values(), ids=OTHER)
def test_an_index_of_another_kind_is_left_alone(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "test.db-shm").write_bytes(index)
    with (tmp_path / "test.db-shm").open("rb"):
        assert Recent.beside(tmp_path / "test.db") is None


def test_an_index_that_nobody_has_opened_is_left_alone(tmp_path: Path) -> None:
    assert Recent.beside(tmp_path / "test.db") is None
    (tmp_path / "test.db-shm").write_bytes(struct.pack("=I", VERSION) + bytes(HEADER))
    assert Recent.beside(tmp_path / "test.db") is None
    with (tmp_path / "test.db-shm").open("rb"):
        recent = Recent.beside(tmp_path / "test.db")
    assert recent is not None
    recent.close()
    recent.close()


LOCKS = """
import fcntl, os, sys
index = os.open(sys.argv[1] + "-shm", os.O_RDWR)
try:
    fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
except BlockingIOError:
    print("locked", flush=True)
else:
    print("free", flush=True)
"""
"""Whether somebody has the lock that says: this index is used."""


async def test_sqlite_keeps_its_locks(database: SQLiteDatabase) -> None:
    """By POSIX a process loses all locks on a file when it closes any descriptor of it."""
    for _ in range(2):
        with beside(database, script=LOCKS) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
        second = SQLiteDatabase(database.path)
        await second.open()
        assert await value(second) == "1"
        await second.close()


# ---- others on the same file ----

STEPS = st.lists(
    st.sampled_from(
        ["here", "there", "there, rolled back", "nothing there", "PASSIVE", "RESTART", "TRUNCATE", "vacuum"]
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whoever_commits_and_whatever_becomes_of_the_log(
    database: SQLiteDatabase, another: sqlite3.Connection, steps: list[str]
) -> None:
    for number, step in enumerate(steps):
        expected = await value(database)
        match step:
            case "here":
                expected = f"here {number}"
                await database.execute(PUT, name="a", value=expected)
            case "there":
                expected = f"there {number}"
                another.execute("UPDATE things SET value = ? WHERE name = 'a'", [expected])
            case "there, rolled back":
                another.execute("BEGIN IMMEDIATE")
                another.execute("UPDATE things SET value = 'never' WHERE name = 'a'")
                assert await value(database) == expected
                another.execute("ROLLBACK")
            case "nothing there":
                another.execute("BEGIN IMMEDIATE")
                another.execute("COMMIT")
            case "vacuum":
                another.execute("VACUUM")
            case how:
                another.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        assert await value(database) == expected
        assert await value(database) == expected


WRITES = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("PRAGMA synchronous = OFF")
if len(sys.argv) > 2:  # a large transaction, most of it in the log, whose end never comes
    connection.execute("PRAGMA cache_size = 10")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE things SET value = 'never' WHERE name = 'a'")
    connection.executemany("INSERT INTO things VALUES (?, ?)", ((f"x{n}", "x" * 1000) for n in range(5000)))
    print("middle", flush=True)
    sys.stdin.readline()
number = 0
while sys.stdin.readline():
    number += 1
    connection.execute("UPDATE things SET value = ? WHERE name = 'a'", [str(number)])
    if number % 50 == 0:
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    print(number, flush=True)
"""


def beside(database: SQLiteDatabase, *more: str, script: str = WRITES) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(database.path), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def log_size(database: SQLiteDatabase) -> int:
    return Path(f"{database.path}-wal").stat().st_size


def told(process: subprocess.Popen[str]) -> str:
    """What the process says to a line of ours."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


async def test_what_another_process_says_it_has_committed_is_seen(database: SQLiteDatabase) -> None:
    with beside(database) as process:
        for number in range(1, 501):
            assert told(process) == str(number)
            assert await value(database) == str(number)
            assert await value(database) == str(number)
        assert process.stdin is not None
        process.stdin.close()


async def test_a_process_that_was_killed_in_the_middle_has_changed_nothing(database: SQLiteDatabase) -> None:
    assert await value(database) == "1"
    with beside(database, "never ends") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "middle\n"
        assert log_size(database) > 1_000_000, "its pages are in the log"
        assert await value(database) == "1"
        os.kill(process.pid, signal.SIGKILL)
    assert await value(database) == "1"
    with beside(database) as process:  # it writes over what the other left
        assert told(process) == "1"
        assert told(process) == "2"
        assert await value(database) == "2"
        assert process.stdin is not None
        process.stdin.close()


REBUILDS = """
import fcntl, os, sys, time
index = os.open(sys.argv[1] + "-shm", os.O_RDWR)
for lock in (120, 122):  # to write, and to rebuild the index: https://sqlite.org/walformat.html, 2.3
    fcntl.lockf(index, fcntl.LOCK_EX, 1, lock)
os.pwrite(index, b"torn", 8)  # as a process leaves it that is killed while it writes there
print("torn", flush=True)
time.sleep(0.5)  # whoever waits meanwhile stands still, and can tell nobody that it does
"""


async def test_a_reader_waits_for_whoever_rebuilds_the_index(database: SQLiteDatabase) -> None:
    assert await value(database) == "1"
    with beside(database, script=REBUILDS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "torn\n"
        assert await value(database) == "1"
    await database.execute(PUT, name="a", value="2")
    assert await value(database) == "2"
