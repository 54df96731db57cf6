"""A process that does nothing but collect, again and again, for tests that kill it: ``python collector.py FOLDER``.

Everything else it takes from the environment, as the server does beside which it collects.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from corereg import Config, Registry
from corereg.session import CollectOptions
from corereg.store.work import Silent

PLUGINS = ["storage_fs", "accounts", str(Path(__file__).with_name("hasty.py"))]
ALL = CollectOptions(delete_untagged=True)


async def main(folder: Path) -> None:
    registry = Registry(Config.load(environment=os.environ, overrides={"data": folder}))
    await registry.open(background=False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        await registry.session().collect(Silent(), ALL)
        await asyncio.sleep(0.02)  # a server that starts wants the write lock, too


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
