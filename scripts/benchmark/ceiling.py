"""The empty app on corereg's own server: `python -m benchmark.ceiling KIND WORKERS PORT`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvloop

from benchmark.empty import app
from corereg.server.shutdown import Stop
from corereg.server.sockets import listen_each, raise_file_limit
from corereg.server.worker import server
from corereg.server.workers import Workers

CLOSING = 2.0
"""Seconds for connections nobody uses any more."""


def main(kind: str, workers: int, port: int) -> int:
    """Serve until a signal ends it; the exit status."""
    raise_file_limit()

    def job(listener: socket.socket, first: bool, parent: int, tell: int) -> None:  # noqa: ARG001, FBT001 - Job's type
        async def work() -> None:
            stop = Stop(alone=False)
            stop.listen()
            asyncio.get_running_loop().add_reader(parent, stop.request)
            serving = asyncio.create_task(server(kind)(app, listener, None, stop))  # type: ignore[arg-type]
            os.write(tell, b"+")
            await stop.requested.wait()
            await asyncio.wait({serving}, timeout=CLOSING)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work())

    listeners = listen_each("127.0.0.1", port, workers)
    return Workers(listeners, job, timeout=CLOSING).run(lambda: None)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
