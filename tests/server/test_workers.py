"""Several workers: all answer, the dead are replaced, and nobody tries for ever."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from .running import MIB, POLICY, Running, children, running


def processes(server: Running, tries: int = 60) -> set[int]:
    """The processes that answer."""
    return {json.loads(server.request("GET", "/process")[2])["process"] for _ in range(tries)}


def test_all_workers_answer_from_one_store(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind, "--workers", "3") as server:
        assert "with 3 workers" in server.said
        alive = set(children(server.pid))
        assert len(alive) == 3
        assert processes(server) <= alive
        place = server.push(os.urandom(MIB))
        assert all(server.request("HEAD", place)[0] == 200 for _ in range(20))


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind, "--workers", "2") as server:
        place = server.push(os.urandom(MIB))
        time.sleep(0.1)
        before = set(children(server.pid))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        server.wait_for("was ended by signal 9; starting another")
        end = time.monotonic() + 15
        while len(set(children(server.pid)) - {victim}) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert server.request("HEAD", place)[0] == 200
        server.terminate()
        assert server.ended() == 0
        assert "Traceback" not in server.said


def test_a_worker_that_is_ended_politely_is_replaced_too(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        os.kill(min(children(server.pid)), signal.SIGTERM)
        server.wait_for("ended with status 0; starting another")
        assert server.request("GET", "/healthz")[0] == 200


def test_requests_go_on_while_all_workers_are_killed_one_by_one(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        for deaths in range(1, 4):
            os.kill(children(server.pid)[0], signal.SIGKILL)
            for _ in range(10):
                assert server.request("GET", "/healthz")[0] == 200
            end = time.monotonic() + 15
            while len(children(server.pid)) < 2 or server.said.count("starting another") < deaths:
                assert time.monotonic() < end
                time.sleep(0.05)


DIES_LATER = (
    POLICY
    + """
from contextlib import asynccontextmanager
from pathlib import Path


@hookimpl
@asynccontextmanager
async def lifespan(registry):
    if Path("poison").exists():
        os._exit(7)
    yield
"""
)


def test_workers_that_die_at_once_are_given_up(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2", policy=DIES_LATER) as server:
        (tmp_path / "poison").touch()
        os.kill(min(children(server.pid)), signal.SIGKILL)
        assert server.ended(60) == 1
        assert "workers end as soon as they start, 6 in a row; giving up" in server.said
        assert server.said.count("ended with status 7; starting another") == 4


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_keeps_the_first_from_starting_is_said_once(tmp_path: Path, workers: str) -> None:
    broken = POLICY + '\n\n@hookimpl\ndef provide_schema():\n    raise OSError("no such cupboard")\n'
    server = Running(tmp_path, "--workers", workers, policy=broken)
    try:
        assert server.ended() == 1
    finally:
        server.kill()
    assert "Traceback" not in server.said
    assert server.said.count("no such cupboard") == 1
    assert "plugin 'policy', hook 'provide_schema' failed: OSError: no such cupboard" in server.said
