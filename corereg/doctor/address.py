"""How clients reach the registry: name, certificate, proxies, and whether it answers."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncGenerator, Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import anyio.to_thread
import httpx2
from cryptography import x509

from corereg.findings import Check, Finding, fail, ok, warn
from corereg.registry import Registry
from corereg.server.tls import certificate

PATIENCE = 5.0
"""Seconds another machine may take to answer."""
SOON_DAYS = 14
CLOCKS = 5.0
"""Seconds clocks may differ before somebody should look."""
WIDE = 16
"""A trusted network with a shorter prefix than this holds more than proxies."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def checks(registry: Registry) -> list[Check]:
    """What is looked at from outside."""

    async def tls() -> Iterable[Finding]:
        return await anyio.to_thread.run_sync(lambda: list(_certificate(registry)))

    async def proxies() -> Iterable[Finding]:
        return list(_proxies(registry))

    async def external() -> Iterable[Finding]:
        return [finding async for finding in _external(registry)]

    async def server() -> Iterable[Finding]:
        return [await _server(registry)]

    return [
        Check("certificate", tls),
        Check("trusted proxies", proxies),
        Check("external_url", external),
        Check("server", server),
    ]


def _certificate(registry: Registry) -> Iterable[Finding]:
    config = registry.config
    if config.server.tls.self_signed:
        place = config.data / "tls" / "ca.crt"
        yield ok(f"signed by its own authority, {place}" if place.exists() else "is made by the first start")
        return
    made = certificate(config)  # reads it, and says what is wrong with it
    if made is None:
        return
    days = made.days_left()
    if days < 0:
        yield fail(f"{made.cert} has expired", "renew it and restart: clients refuse it")
    elif days < SOON_DAYS:
        yield warn(f"{made.cert} expires in {days} days", "renew it and restart")
    else:
        yield ok(f"{made.cert} is good for {days} days")
    host = urlsplit(config.server.external_url or "").hostname
    if host and not names(host, Path(made.cert)):
        yield fail(f"{made.cert} is not for {host}", "get one with that name, or set server.external_url to its name")


def names(host: str, cert: Path) -> bool:
    """Whether a certificate is for that host: a name, a wildcard of one label, or an address."""
    loaded = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    try:
        sans = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(host) in sans.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = {host.lower(), f"*.{host.lower().partition('.')[2]}"}
        return bool(wanted & {name.lower() for name in sans.get_values_for_type(x509.DNSName)})


def _proxies(registry: Registry) -> Iterable[Finding]:
    server = registry.config.server
    for text in server.trusted_proxies:
        network = ipaddress.ip_network(text)
        if network.prefixlen < (WIDE if network.version == 4 else 2 * WIDE):
            yield warn(f"all of {text} is trusted", "name the proxies alone: whoever is in there can forge any address")
    if server.external_url and not server.trusted_proxies and server.host in LOOPBACK:
        yield warn(
            "there seems to be a proxy in front, and none is trusted",
            'set server.trusted_proxies = ["127.0.0.1", "::1"]: without it all clients have one address',
        )
    elif server.trusted_proxies:
        yield ok(", ".join(server.trusted_proxies))


async def _external(registry: Registry) -> AsyncGenerator[Finding]:
    url = registry.config.server.external_url
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        yield warn(f"{url} is not encrypted", "put TLS in front: passwords cross the network in the clear")
    try:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"{url}/v2/")
    except httpx2.HTTPError as error:
        text = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY" in text or "certificate" in text.lower():
            yield fail(
                f"{url}: {text}", "renew the certificate, or set external_url to its name; clients will refuse it"
            )
        else:
            yield warn(
                f"{url} does not answer: {text}", "nothing, if the registry is stopped; else look at DNS and proxy"
            )
        return
    if "docker-distribution-api-version" not in answer.headers:
        yield fail(
            f"{url}/v2/ is answered by something else ({answer.status_code})", "point the name, or the proxy, here"
        )
        return
    yield ok(f"{url} is answered by a registry")
    if "date" in answer.headers:
        differs = parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()
        if abs(differs) > CLOCKS:
            yield warn(
                f"the clock of {url} differs by {differs:.0f} s", "let both keep time (chrony, systemd-timesyncd)"
            )


async def _server(registry: Registry) -> Finding:
    """Whether a server that runs with this configuration is well."""
    server = registry.config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104 - compared, not listened on
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    url = f"{'https' if server.tls.enabled else 'http'}://{host}:{server.port}/healthz"
    try:
        # The name on the certificate is another one; what is asked, and answered, is no secret.
        async with httpx2.AsyncClient(timeout=PATIENCE, verify=False) as client:
            answer = await client.get(url)
    except httpx2.ConnectError:
        return ok(f"none is running at {url.removesuffix('/healthz')}")
    except httpx2.HTTPError as error:
        return fail(f"{url}: {str(error) or type(error).__name__}", "look into its log; restart it if it hangs")
    if answer.status_code == 200:
        return ok(f"{url} answers: ready")
    return fail(f"{url} answers {answer.status_code}", "look into its log, and at the lines below")
