"""`corereg serve`: from a Config to a registry that answers, and its exit status."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.util import find_spec

from corereg.config import Config
from corereg.registry import Registry
from corereg.server import banner
from corereg.server.failure import ServerError, sentence
from corereg.server.logs import start_logging
from corereg.server.sockets import listen, raise_file_limit
from corereg.server.tls import Certificate, certificate
from corereg.server.worker import Work, server
from corereg.server.workers import Workers, check_platform
from corereg.store.schema import versions


def run(config: Config, version: str) -> int:
    """Serve until a signal ends it; the exit status. Raises what keeps it from starting (`sentence` tells it)."""
    started = time.monotonic()
    start_logging(config.log)
    count = config.server.workers
    check_platform(count)
    server(config.server.kind)
    raise_file_limit()
    listener = listen(config.server.host, config.server.port)
    made = certificate(config)
    url = banner.address(config, listener)
    trust = banner.trust(config, listener, made.authority) if made and made.authority else []

    async def introduce(registry: Registry) -> None:
        for line in await banner.places(registry, url):
            banner.say(line)
        for line in trust:
            banner.say(line)
        for line in banner.warnings(config, made):
            banner.say(f"! {line}")

    def ready() -> None:
        with_workers = f" with {count} workers" if count > 1 else ""
        banner.say(f"Ready in {time.monotonic() - started:.1f} s{with_workers}. Ctrl+C stops.")

    if count == 1:
        registry = Registry(config)
        banner.say(banner.headline(config, version, len(registry.plugins.enabled)))

        async def announce(registry: Registry) -> None:
            await introduce(registry)
            ready()

        Work(registry, listener, made, announce).run()
        return 0

    introduced = [False]

    def job(number: int, parent: int, tell: int) -> None:
        try:
            registry = Registry(config)
            if number == 1 and not introduced[0]:
                banner.say(banner.headline(config, version, len(registry.plugins.enabled)))

            async def announce(registry: Registry) -> None:
                if number == 1 and not introduced[0]:
                    await introduce(registry)
                os.write(tell, b"+")

            Work(registry, listener, made, announce, parent).run()
        except Exception as error:
            told = sentence(error)
            if told is None:
                raise
            banner.say(f"Error: {told}")
            raise SystemExit(1) from error

    def all_ready() -> None:
        introduced[0] = True
        ready()

    return Workers(count, job, listener, timeout=config.server.shutdown_timeout).run(all_ready)


async def check(config: Config, version: str) -> list[str]:
    """Whether it would start: lines that say what was looked at. Changes nothing; raises what would keep it."""
    server(config.server.kind)
    registry = Registry(config)
    made: Certificate | None = None
    if not config.server.tls.self_signed:
        made = certificate(config)
    listen(config.server.host, config.server.port).close()
    stand = await registry.schema_versions()
    lines = [banner.headline(config, version, len(registry.plugins.enabled))]
    lines += [f"{each.name}: schema {each.current or 'none'}, newest is {each.head}" for each in stand]
    lines += [f"! {line}" for line in banner.warnings(config, made)]
    return [*lines, "It would start."]
