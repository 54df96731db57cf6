"""From the first signal to the end: stop accepting, finish what is under way, cut what takes too long.

hypercorn 0.18 cannot do this by itself: its `graceful_timeout` cancels everything at once, and from Python 3.12.1 on
with asyncio's own loop it is ignored, so that one living connection keeps a server for ever (its issue 308). So the
deadline is ours, and the same for all three servers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

from corereg.server.logs import hush
from corereg.server.transfers import Transfers

log = logging.getLogger(__name__)

CUT = 3.0
"""Seconds that requests have to end after they were cut."""
ENDING = 0.5
"""Seconds the server has to come to its end once nothing is wanted of it any more; twice."""
FAREWELL = 2.0
"""Seconds TLS connections have to close. A client that is idle answers no goodbye, and the loop would wait for it for
half a minute."""
LONG_FAREWELL = 10.0
"""The same when a request was under way: the last 64 KiB of its answer may still be on their way to a slow client."""


class Stop:
    """What signals ask of this process. `requested` is set by the first SIGTERM or SIGINT; a second one ends at once.

    A worker (`alone=False`) counts no signals: its parent does, and a service manager may signal both.
    """

    def __init__(self, *, alone: bool) -> None:
        self.requested = asyncio.Event()
        self._alone = alone
        self._loop = asyncio.get_running_loop()
        self._signals = 0
        self._hangup_stops = alone and sys.stdin is not None and _is_terminal()

    def listen(self) -> None:
        """Take over SIGTERM, SIGINT and SIGHUP."""
        # signal.signal, not loop.add_signal_handler: the second signal must end a process whose loop hangs, too
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal if self._alone else signal.SIG_IGN)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, self._on_hangup)

    def request(self) -> None:
        """Stop as the first signal does."""
        self.requested.set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1 and self._alone:
            os._exit(128 + number)
        with suppress(RuntimeError):  # the loop is closed: it has come to its end already
            self._loop.call_soon_threadsafe(self.requested.set)

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._hangup_stops:
            self._on_signal(number, frame)
        elif self._alone:
            self._loop.call_soon_threadsafe(log.warning, HANGUP)


HANGUP = "SIGHUP is ignored: the configuration is read at start only; restart to change it"


def _is_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except ValueError:  # closed
        return False


async def until_stopped(
    serving: Coroutine[Any, Any, None], stop: Stop, transfers: Transfers, *, patience: float, tls: bool
) -> None:
    """Run `serving`, which begins to stop when `stop` is requested, and see that it ends.

    Requests under way have `patience` seconds. Raises what `serving` raises before that.
    """
    server = asyncio.create_task(serving, name="corereg server")
    asked = asyncio.create_task(stop.requested.wait())
    watch = asyncio.create_task(transfers.watch())
    try:
        await asyncio.wait({server, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.requested.is_set():
            server.result()
            return
        await _finish(server, transfers, patience=patience, tls=tls)
    finally:
        asked.cancel()
        watch.cancel()
        await _end(server)


async def _end(server: asyncio.Task[None]) -> None:
    """Tear down what has not ended by itself. hypercorn's connections wait once more when they are cancelled."""
    for _ in range(2):
        if server.done():
            break
        hush()
        server.cancel()
        await asyncio.wait({server}, timeout=ENDING)
    if server.done() and not server.cancelled():
        server.exception()  # looked at; what fails while it is torn down is no news


async def _finish(server: asyncio.Task[None], transfers: Transfers, *, patience: float, tls: bool) -> None:
    farewell = FAREWELL
    if transfers:
        farewell = LONG_FAREWELL
        log.info("stopping; %d requests are under way and have %d s", len(transfers), patience)
        log.info("under way: %s", transfers.names())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    try:
        await asyncio.wait_for(transfers.none_left(), patience)
    except TimeoutError:
        hush()
        log.warning("stopping; %d requests took longer than %d s and are cut", transfers.cut(), patience)
        with suppress(TimeoutError):
            await asyncio.wait_for(transfers.none_left(), CUT)
        return
    left = max(0.0, deadline - loop.time())
    await asyncio.wait({server}, timeout=min(farewell, left) if tls else left)


def end_in(seconds: float, code: int) -> None:
    """End the process in so many seconds whatever hangs: a thread in a dead network file system, a lost connection."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
