"""`corereg serve`: from a Config to a registry that answers, and its exit status."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from corereg.config import Config, ConfigError
from corereg.config.problems import problem
from corereg.metrics import Board
from corereg.registry import Registry
from corereg.server.banner import Banner, headline, say, warnings
from corereg.server.failure import sentence
from corereg.server.logs import start_logging
from corereg.server.sockets import listen, listen_each, raise_file_limit
from corereg.server.tls import Certificate, certificate
from corereg.server.worker import Work, server
from corereg.server.workers import Workers, check_platform
from corereg.store.engines import connect, in_memory, is_new
from corereg.store.revisions import Version
from corereg.store.schema import versions


def run(config: Config, version: str) -> int:
    """Serve until a signal ends it; the exit status. Raises what keeps it from starting (`sentence` tells it)."""
    start_logging(config.log)
    look(config)
    raise_file_limit()
    listeners = listen_each(config.server.host, config.server.port, config.server.workers)
    port: int = listeners[0].getsockname()[1]
    made = certificate(config)
    banner = Banner(config, version, port, made)
    scrapes = _scrapes(config)
    if config.server.workers == 1:
        _alone(config, listeners[0], made, banner, scrapes)
        return 0
    return _several(config, listeners, made, banner, scrapes)


def _scrapes(config: Config) -> Sequence[socket.socket | None]:
    """For each worker a listener that answers ``/metrics`` alone, where that was asked for."""
    workers, wanted = config.server.workers, config.metrics
    if not wanted.enabled or wanted.port is None:
        return [None] * workers
    return listen_each(wanted.host, wanted.port, workers)


def _alone(
    config: Config,
    listener: socket.socket,
    made: Certificate | None,
    banner: Banner,
    scrapes: Sequence[socket.socket | None],
) -> None:
    registry = Registry(config)
    banner.headline(registry)

    async def announce(registry: Registry) -> None:
        await banner.places(registry)
        banner.ready()

    Work(registry, listener, made, announce, scrape=scrapes[0]).run()


def _several(
    config: Config,
    listeners: Sequence[socket.socket],
    made: Certificate | None,
    banner: Banner,
    scrapes: Sequence[socket.socket | None],
) -> int:
    """No plugin is loaded in this process, only in the workers: see `corereg.server.workers`."""
    board = Board(len(listeners))

    def job(listener: socket.socket, first: bool, parent: int, tell: int) -> None:  # noqa: FBT001 - Job is the type
        place = next(place for place, each in enumerate(listeners) if each is listener)
        for each in scrapes:
            if each is not None and each is not scrapes[place]:
                each.close()
        try:
            registry = Registry(config)
            registry.metrics.join(board, place + 1)
            if first:
                banner.headline(registry)

            async def announce(registry: Registry) -> None:
                if first:
                    await banner.places(registry)
                os.write(tell, b"+")

            Work(registry, listener, made, announce, parent, scrapes[place]).run()
        except Exception as error:
            told = sentence(error)
            if told is None:
                raise
            say(f"Error: {told}")
            raise SystemExit(1) from error

    timeout = config.server.shutdown_timeout
    return Workers(listeners, job, timeout=timeout).run(banner.ready)


def look(config: Config) -> None:
    """What can be judged before anything is opened. Raises ServerError and ConfigError."""
    check_platform(config.server.workers)
    if config.server.workers > 1 and in_memory(config.database_url):
        message = (
            "database.url: each worker would have a sqlite::memory: of its own, with other users and keys; "
            "set server.workers to 1, or give the path of a file"
        )
        raise ConfigError([problem(("database", "url"), message, config.origins)])
    server(config.server.kind)
    if not config.server.tls.self_signed:
        certificate(config)


async def check(config: Config, version: str) -> list[str]:
    """Whether it would start: lines that say what was looked at. Changes nothing; raises what would keep it."""
    look(config)
    registry = Registry(config)
    listen(config.server.host, config.server.port).close()
    if config.metrics.port is not None:
        listen(config.metrics.host, config.metrics.port).close()
    made = None if config.server.tls.self_signed else certificate(config)
    return [
        headline(config, version, registry),
        *(f"  tables     {each.name}: {_state(each)}" for each in await stand(registry)),
        *(f"! {line}" for line in warnings(config, made)),
        "It would start.",
    ]


def _state(version: Version) -> str:
    if version.is_current:
        return f"schema {version.current}, current"
    if version.newer:
        return f"schema {version.current}, newer than {version.head}, which this release knows"
    return f"schema {version.current or 'none'}, to be upgraded to {version.head}"


async def stand(registry: Registry) -> Sequence[Version]:
    """Where the tables of core and plugins stand. A SQLite file that is not there yet is not made."""
    if not is_new(registry.database):
        return await registry.schema_versions()
    empty = connect("sqlite::memory:")
    await empty.open()
    try:
        return await versions(empty, registry.schemas)
    finally:
        await empty.close()
