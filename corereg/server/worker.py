"""One process that answers requests: opens the registry, serves, closes."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from corereg.config import Config
from corereg.http.app import asgi
from corereg.registry import Registry
from corereg.server.allocator import keep_freed_pages
from corereg.server.failure import ServerError
from corereg.server.logs import on_loop_error
from corereg.server.scrape import telling
from corereg.server.shutdown import Stop, end_in, until_stopped
from corereg.server.tls import Certificate
from corereg.server.transfers import Application, Transfers

log = logging.getLogger(__name__)

CLOSING = 10.0
"""Seconds the registry has to close its plugins, storage and database."""

LEAVING = 2.0
"""Seconds the process has to end once the registry is closed, and nothing can be lost any more."""

NEEDS = {
    "hypercorn": (("hypercorn",), "corereg"),
    "uvicorn": (("uvicorn", "httptools"), "'corereg[uvicorn]'"),
    "granian": (("granian",), "'corereg[granian]'"),
}
"""The modules each server is made of, and what pip installs them with."""


class Serve(Protocol):
    """How each of the three servers is asked to serve."""

    async def __call__(
        self, app: Application, listener: socket.socket, certificate: Certificate | None, stop: Stop
    ) -> None: ...


def server(kind: str) -> Serve:
    """The adapter of an HTTP server. Raises ServerError when it is not installed."""
    modules, install = NEEDS[kind]
    if any(find_spec(module) is None for module in modules):
        raise ServerError(f"the server {kind} is not installed: run `{sys.executable} -m pip install {install}`")
    return import_module(f"corereg.server.{kind}").serve  # type: ignore[no-any-return]  # by the table above


Announce = Callable[[Registry], Awaitable[None]]


class Work:
    """What one process is to do. `announce` is called once, when the registry is open and requests will be answered."""

    def __init__(
        self,
        registry: Registry,
        listener: socket.socket,
        certificate: Certificate | None,
        announce: Announce,
        parent: int | None = None,
        scrape: socket.socket | None = None,
    ) -> None:
        self.registry = registry
        self.listener = listener
        self.certificate = certificate
        self.announce = announce
        self.parent = parent
        """A descriptor that reports its end when the parent is gone; None when there is no parent."""
        self.scrape = scrape
        """A listener that answers ``/metrics`` alone."""

    @property
    def config(self) -> Config:
        return self.registry.config

    def run(self) -> None:
        """Serve until a signal ends it. Raises what keeps it from starting."""
        keep_freed_pages()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.get_loop().set_exception_handler(on_loop_error)
            runner.run(self._main())
            end_in(LEAVING, 0)

    async def _main(self) -> None:
        serve = server(self.config.server.kind)
        stop = Stop(alone=self.parent is None)
        stop.listen()
        if self.parent is not None:
            asyncio.get_running_loop().add_reader(self.parent, stop.request)
        if not await _unless_stopped(self.registry.open(), stop):
            return
        gc.collect()
        gc.freeze()  # what is there now stays; looking through it again and again costs a push a percent
        try:
            await self._serve(serve, stop)
        finally:
            await self._close()

    async def _serve(self, serve: Serve, stop: Stop) -> None:
        transfers = Transfers(asgi(self.registry))
        serving = serve(transfers, self.listener, self.certificate, stop)
        await self.announce(self.registry)
        patience = self.config.server.shutdown_timeout
        draining = asyncio.create_task(self._drain(stop), name="corereg drain")
        try:
            async with telling(self.registry, self.scrape):
                await until_stopped(serving, stop, transfers, patience=patience, tls=self.certificate is not None)
        finally:
            draining.cancel()
            await asyncio.wait({draining})

    async def _drain(self, stop: Stop) -> None:
        """Transfers have their time after a signal; jobs do not wait for them."""
        await stop.requested.wait()
        try:
            await self.registry.drain()
        except Exception:
            log.exception("jobs could not be given back, others begin them again when their leases end")

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self.registry.close(), CLOSING)
        except TimeoutError:
            log.warning("the registry took longer than %d s to close and was left", CLOSING)


async def _unless_stopped(opening: Any, stop: Stop) -> bool:
    """Wait for `opening` or for a signal, whichever is first; whether it was opened."""
    task = asyncio.ensure_future(opening)
    asked = asyncio.create_task(stop.requested.wait())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        return False
    task.result()
    return True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows, PyPy
        return None
    return uvloop.new_event_loop
