"""Makes or restores a backup in a process of its own, and dies by SIGKILL where it is told to.

``restorer.py create|restore DATA FOLDER BLOBS``: after so many blobs.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio

from corereg.care.backup import create
from corereg.care.restore import restore
from corereg.store.work import Silent
from corereg.testing.registry import scratch


class Deadly(Silent):
    """Ends the process."""

    def __init__(self, blobs: int) -> None:
        self.blobs = blobs

    async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
        if phase == "blobs" and done >= self.blobs:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(what: str, data: Path, folder: Path, blobs: int) -> None:
    registry = scratch(data)
    if what == "create":
        async with registry:
            await create(registry.house, registry.session(), registry.schemas, folder, Deadly(blobs))
    else:
        await anyio.Path(data).mkdir(exist_ok=True)
        await registry.database.open()
        await registry.storage.open()
        await restore(folder, registry.database, registry.storage, registry.schemas, Deadly(blobs))


anyio.run(main, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
