"""A disk that refuses the log of SQLite: nothing is acknowledged from then on, and what is whole is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg.store.engines import connect
from corereg.store.wal import OWN_SYNC, unsynced

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not OWN_SYNC, reason="elsewhere SQLite syncs the log itself"),
]

FAILS = """
import anyio, errno, json, os, sys
from pathlib import Path
import sqlalchemy as sa
from corereg.store import wal
from corereg.store.database import DatabaseUnavailable
from corereg.store.engines import connect

url = f"sqlite:{sys.argv[1]}"
log = Path(f"{sys.argv[1]}-wal")
wal.ALONE_AFTER = 0.0
sync = os.fdatasync

def once(descriptor):
    os.fdatasync = sync  # as Linux does: told once, and forgotten
    raise OSError(errno.EIO, os.strerror(errno.EIO))

async def write(database, text):
    try:
        async with database.transaction() as tx:
            await tx.execute(sa.text("INSERT INTO words VALUES (:word)"), word=text)
    except DatabaseUnavailable as error:
        assert "start it again" in str(error), error
        return "refused"
    return "written"

async def main():
    database, other = connect(url), connect(url)
    await database.open()
    await other.open()
    async with database.transaction() as tx:
        await tx.execute(sa.text("CREATE TABLE words (word TEXT)"))
    told = [await write(database, "whole"), await write(other, "too")]
    begin = log.stat().st_size
    os.fdatasync = once
    told.append(await write(database, "torn"))
    end = log.stat().st_size
    told += [await write(database, "never"), await write(other, "beside")]
    try:
        await connect(url).open()
    except DatabaseUnavailable as error:
        told.append(str(error).partition(" (")[2])
    print(json.dumps([told, begin, end]))
    await database.close()
    await other.close()

anyio.run(main)
"""


def fail(path: Path) -> tuple[int, int]:
    """A process to which the disk refuses the log; between which bytes of it."""
    ended = subprocess.run([sys.executable, "-c", FAILS, str(path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told, begin, end = json.loads(ended.stdout)
    assert told == ["written", "written", "refused", "refused", "refused", "another process has it open)"]
    return begin, end


async def words(path: Path) -> list[str]:
    database = connect(f"sqlite:{path}")
    await database.open()
    try:
        async with database.transaction() as tx:
            await tx.execute(sa.text("CREATE TABLE another (word TEXT)"))
        assert [row[0] for row in await database.rows(sa.text("PRAGMA integrity_check"))] == ["ok"]
        return [row[0] for row in await database.rows(sa.text("SELECT word FROM words"))]
    finally:
        await database.close()


async def test_what_the_log_still_holds_is_kept_by_whoever_comes_after_all_have_ended(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    fail(path)
    assert unsynced(path)
    found = await words(path)
    assert found[:3] == ["whole", "too", "torn"]
    assert "never" not in found
    assert not unsynced(path)


async def test_a_hole_in_the_log_costs_what_was_refused_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    begin, end = fail(path)
    with Path(f"{path}-wal").open("r+b") as log:  # noqa: ASYNC230 - nothing else runs here
        assert log.seek(0, 2) >= end  # closing has copied nothing that nobody has looked at
        log.seek(begin)
        log.write(bytes(end - begin))
    assert await words(path) == ["whole", "too"]
    assert not unsynced(path)
