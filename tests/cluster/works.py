"""Jobs for tests of several nodes: each leaves a line in a file for what it did, and where. A plugin in one file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from corereg import Job, Registry, Task, hookimpl


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the lines are left."""

    folder: Path


settings = Settings(folder=Path())
"""Replaced by what the configuration says."""


@hookimpl
def provide_jobs(registry: Registry) -> list[Job]:
    """A job that takes a moment, one that goes on until it is let go, and one of every second."""
    return [
        Job(kind="WORK", title="Work", handler=work, backoff=0.1),
        Job(kind="WAIT", title="Wait", handler=wait, backoff=0.1),
        Job(kind="TICK", title="Tick", handler=tick, schedule="* * * * * *", keep=500),
    ]


def _line(name: str, line: object) -> None:
    with (settings.folder / name).open("a") as file:
        file.write(f"{line}\n")


async def work(task: Task) -> dict[str, int]:
    """A second in ten steps."""
    for step in range(10):
        await task.check()
        await asyncio.sleep(0.1)
        await task.progress("working", step + 1, 10)
    _line("work", task.id)
    return {"n": task.parameters["n"]}


async def wait(task: Task) -> None:
    """As long as there is no file ``go``."""
    _line("wait", os.getpid())
    while not (settings.folder / "go").exists():
        await task.check()
        await asyncio.sleep(0.05)


async def tick(task: Task) -> None:
    """A moment."""
    _line("tick", task.execution_id)
