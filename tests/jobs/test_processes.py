"""Several processes and one queue: they die in the middle of their work, and all of it is done."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from corereg.access import Action
from corereg.store.jobs import ENDED
from corereg.store.listing import Listing

from .node import registry

pytestmark = pytest.mark.anyio

START = Action("garbage-collection", "create")
NODE = Path(__file__).with_name("node.py")
EXECUTIONS, TASKS = 8, 5


@contextmanager
def node(folder: Path, database: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, str(NODE), str(folder), database], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def database(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> str:
    """One of the test's own, for processes."""
    if pytestconfig.getoption("--corereg-database"):
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite:{tmp_path / 'corereg.db'}"


async def test_every_job_ends_once_though_its_processes_are_killed(tmp_path: Path, database: str) -> None:
    chance = random.Random(4)
    async with registry(tmp_path, database, slots=0) as watching:
        session = watching.session()
        started = [
            (await session.start_job("WORK", needs=START, tasks=[{"n": n} for n in range(TASKS)])).execution_id
            for _ in range(EXECUTIONS)
        ]
        for _ in range(4):
            with node(tmp_path, database) as first, node(tmp_path, database) as second:
                await anyio.sleep(chance.uniform(0.02, 0.3))
                first.kill()
                await anyio.sleep(chance.uniform(0.02, 0.2))
                second.kill()
        with node(tmp_path, database), anyio.fail_after(60):
            while True:
                found, _ = await watching.history.executions(Listing(page_size=0), kind="WORK")
                if all(each.status in ENDED for each in found):
                    break
                await anyio.sleep(0.1)
        assert {each.id: each.status for each in found} == dict.fromkeys(started, "Success")
        done = Counter((tmp_path / "done").read_text().split())
        assert len(done) == EXECUTIONS * TASKS
        for execution in started:
            tasks, total = await watching.history.tasks(execution, Listing(page_size=0))
            assert total == TASKS
            for task in tasks:
                assert done[str(task.id)] >= 1
                assert task.attempts >= 1
                lines = [line.line for line in await watching.history.log(task.id)]
                assert "done" in lines
        ends = Counter(event.details["execution"] for event in await watching.journal.events(limit=1000)
                       if event.kind == "job.end")  # fmt: skip
        assert ends == dict.fromkeys(started, 1)
