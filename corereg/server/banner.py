"""What start-up tells a person, on standard error."""

from __future__ import annotations

import platform
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from corereg.config import Config, redact
from corereg.registry import Registry
from corereg.server.tls import Certificate
from corereg.store.schema import versions

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
SOON_DAYS = 14


def say(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is for a person, not for the log


class Banner:
    """The lines of one start; time counts from here."""

    def __init__(self, config: Config, version: str, port: int, certificate: Certificate | None) -> None:
        self.config = config
        self.version = version
        self.port = port
        self.certificate = certificate
        self.url = address(config, port)
        self._started = time.monotonic()

    def headline(self, registry: Registry) -> None:
        say(headline(self.config, self.version, registry))

    async def places(self, registry: Registry) -> None:
        """Where the registry is reached and keeps things, and what is odd about that; the registry is open."""
        for line in await places(registry, self.url):
            say(line)
        if self.certificate is not None and self.certificate.authority is not None:
            for line in trust(self.config, self.port, self.certificate.authority):
                say(line)
        for line in warnings(self.config, self.certificate):
            say(f"! {line}")

    def ready(self) -> None:
        count = self.config.server.workers
        workers = f" with {count} workers" if count > 1 else ""
        say(f"Ready in {time.monotonic() - self._started:.1f} s{workers}. Ctrl+C stops.")


def headline(config: Config, version: str, registry: Registry) -> str:
    """``corereg 1.0.0 · Python 3.11 · 14 plugins · config /etc/corereg.toml``."""
    python = ".".join(platform.python_version_tuple()[:2])
    count = len(registry.plugins.enabled)
    plugins = f"{count} plugin{'' if count == 1 else 's'}"
    file = f"config {config.file.absolute()}" if config.file else "no config file"
    return f"corereg {version} · Python {python} · {plugins} · {file}"


async def places(registry: Registry, url: str) -> list[str]:
    """Where the registry is reached and where it keeps things; the registry is open."""
    config = registry.config
    core = (await versions(registry.database, registry.schemas[:1]))[0]
    state = "current" if core.is_current else f"newest is {core.head}"
    free = await registry.storage.free()
    room = "" if free is None else f"  {readable(free)} free"
    outside = config.server.external_url
    clients = f"          (clients use {outside})" if outside else ""
    database = registry.database.describe()
    return [
        f"  registry   {url}/v2/{clients}",
        f"  storage    {redact(config.storage_url)}{room} · database {database} (schema {core.current}, {state})",
    ]


def readable(size: int) -> str:
    """Bytes in the unit a person would choose, decimal as disks are sold: ``412 GB``."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def address(config: Config, port: int) -> str:
    """The listener's own URL."""
    scheme = "https" if config.server.tls.enabled else "http"
    host = config.server.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def warnings(config: Config, certificate: Certificate | None) -> Iterator[str]:
    """What works, but probably not as it is meant."""
    server = config.server
    if certificate is None and (server.external_url or "").startswith("https:") and not server.trusted_proxies:
        yield "external_url is https but this listener is http: put a TLS proxy in front, or set server.tls.cert"
    elif certificate is None and server.host in EVERYWHERE and not server.trusted_proxies:
        yield (
            f"the listener is plain http on {server.host}, and passwords cross the network in the clear: put a TLS "
            "proxy in front, set server.tls.cert, or use --tls self-signed"
        )
    if certificate is not None and certificate.authority is None:
        days = certificate.days_left()
        if days < 0:
            yield f"the certificate {certificate.cert} has expired: clients refuse it"
        elif days < SOON_DAYS:
            yield f"the certificate {certificate.cert} expires in {days} days"


def trust(config: Config, port: int, authority: Path) -> list[str]:
    """The three lines that make docker and podman believe our authority."""
    name = _client_name(config, port)
    line = f"sudo mkdir -p {{0}}/{name} && sudo cp {authority} {{0}}/{name}/ca.crt"
    return [
        f"To trust this registry as {name}, once on each machine (take {authority} along):",
        "  docker     " + line.format("/etc/docker/certs.d"),
        "  podman     " + line.format("/etc/containers/certs.d"),
    ]


def _client_name(config: Config, port: int) -> str:
    """``host:port`` as it stands in an image's name."""
    server = config.server
    if server.external_url:
        return urlsplit(server.external_url).netloc
    host = server.host
    if host in EVERYWHERE:
        host = socket.gethostname()
    elif host in {"127.0.0.1", "::1"}:
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{host}:{port}"
