"""A process that does nothing but run jobs, for tests that kill it: ``python node.py FOLDER DATABASE_URL``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from corereg import Config, Job, Registry, Task, hookimpl
from corereg.config import DatabaseConfig, JobsConfig
from corereg.testing.registry import People


class Works:
    """A job that takes a tenth of a second, in five steps, and leaves a line for each time it was done."""

    name = "works"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def provide_jobs(self, registry: Registry) -> list[Job]:
        return [Job(kind="WORK", title="Work", handler=self.work, backoff=0.1)]

    async def work(self, task: Task) -> dict[str, int]:
        for step in range(5):
            await task.check()
            await asyncio.sleep(0.02)
            await task.progress("working", step + 1, 5)
        task.log("done")
        with (self.folder / "done").open("a") as file:
            file.write(f"{task.id}\n")
        return {"n": task.parameters["n"]}


def registry(folder: Path, database: str, *, slots: int = 4) -> Registry:
    """A node's registry: small leases, so that a death is noticed soon."""
    return Registry(
        Config(
            data=folder,
            database=DatabaseConfig(url=database),  # type: ignore[arg-type]  # as the configuration reads it
            jobs=JobsConfig(slots=slots, lease=3),
        ),
        plugins=["storage_fs", Works(folder), People({})],
    )


async def main(folder: Path, database: str) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with registry(folder, database):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await end.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
