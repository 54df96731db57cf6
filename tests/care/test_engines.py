"""The same between SQLite and PostgreSQL: a backup of the one becomes the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from corereg.care.adopt import adopt
from corereg.care.fsck import FsckOptions, fsck
from corereg.store.work import Silent
from corereg.testing.postgres import Databases
from corereg.testing.registry import scratch

from .distribution import Distribution
from .test_backup import PEOPLE, back_up, bring_back, push, refill, rows, whole

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]


async def test_from_sqlite_to_postgresql_and_back(tmp_path: Path, postgres_databases: Databases) -> None:
    async with scratch(tmp_path / "one", people=PEOPLE) as one:
        await push(one, "t0")
        await back_up(one, tmp_path / "first")
        before = await rows(one)

    url = postgres_databases.empty()
    await refill(scratch(tmp_path / "two", people=PEOPLE, database=url), tmp_path / "first")
    async with scratch(tmp_path / "two", people=PEOPLE, database=url) as two:
        assert await rows(two) == before
        await push(two, "t1")  # numbers go on behind those that were brought along
        there = Distribution(tmp_path / "two/storage")
        there.index("team/app", [there.image("team/app", "1")], "all")
        found = await adopt(two.house, two.session(), Silent())
        assert (found.manifests, found.counts) == (2, {})
        checked = await fsck(two.house, two.session(), two.schemas, Silent(), FsckOptions(rehash=True))
        assert (checked.problems, checked.manifests) == ({}, 4)
        await back_up(two, tmp_path / "second")
        before = await rows(two)

    await bring_back(tmp_path / "three", tmp_path / "second")
    async with scratch(tmp_path / "three", people=PEOPLE) as three:
        assert await rows(three) == before
        assert await whole(three) == ["t0", "t1"]
