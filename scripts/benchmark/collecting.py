"""One collection on a data folder: `python -m benchmark.collecting collect|start FOLDER OPTIONS`.

`collect` does it in this process; `start` lets the server do it that runs on the folder, and waits for it. OPTIONS are
those of `CollectOptions`, as JSON. The last line that is printed tells what came of it, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import msgspec

from corereg import Action, Config, Registry
from corereg.session import CollectOptions

COLLECT = Action("garbage-collection", "create")


class Clock:
    """How long each phase took, in seconds."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._last = time.perf_counter()

    async def progress(self, phase: str, _done: int, _total: int | None = None, _size: int = 0) -> None:
        at = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + at - self._last
        self._last = at

    def log(self, _line: str) -> None:
        pass

    async def check(self) -> None:
        pass


async def collect(folder: Path, options: CollectOptions) -> dict[str, object]:
    """Collect; what came of it, how long it took and how much memory it held."""
    registry = Registry(Config(data=folder))
    await registry.open(background=False)
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        clock = Clock()
        began = time.perf_counter()
        found = await registry.session().collect(clock, options)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    finally:
        await registry.close()
    taken: dict[str, object] = msgspec.to_builtins(found)
    return {**taken, "seconds": seconds, "phases": clock.phases, "rest": before, "peak": after}


async def start(folder: Path, options: CollectOptions) -> dict[str, object]:
    """Let the server that runs on the folder collect, as a job, and wait until it has."""
    registry = Registry(Config(data=folder))
    await registry.open(background=False)
    try:
        began = time.perf_counter()
        parameters = msgspec.to_builtins(options)
        started = await registry.session().start_job("GARBAGE_COLLECTION", parameters, needs=COLLECT)
        while True:
            found = await registry.history.execution(started.execution_id)
            if found is not None and found.ended:
                break
            await asyncio.sleep(0.2)
        return {"status": found.status, "message": found.message, "seconds": time.perf_counter() - began}
    finally:
        await registry.close()


def main() -> None:
    """Do as the command line says."""
    what, folder, options = sys.argv[1:]
    work = {"collect": collect, "start": start}[what]
    found = asyncio.run(work(Path(folder), msgspec.json.decode(options, type=CollectOptions)))
    print(json.dumps(found))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
