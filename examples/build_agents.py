"""Build agents push without a password: a header says which one it is, and it is believed from the agents' network only.

Start a registry with it (here the network is this machine):

    COREREG__PLUGINS=storage_fs,accounts,examples/build_agents.py AGENT_NETWORKS=127.0.0.0/8,::1/128 corereg serve
    curl -H 'X-Build-Agent: agent-7' http://localhost:8080/v2/_catalog

Whoever can send from that network can be any agent, so an agent may do no more than its work: push below ``builds/`` and
pull from there. With a reverse proxy in front, name it in ``[server] trusted_proxies``: the address is the client's own
then. Without that every client seems to come from the proxy; so what was forwarded by a proxy nobody named is not
believed here, and neither is a request that signs in by other means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from corereg import Grant, Identity, Request, hookimpl

NETWORKS = [ip_network(text) for text in os.environ.get("AGENT_NETWORKS", "").split(",") if text]
AGENT = re.compile(r"agent-[0-9]{1,4}", re.ASCII)
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@hookimpl
async def identify(request: Request) -> Identity | None:
    """Who sends ``X-Build-Agent``, if the address may."""
    name = request.headers.get("x-build-agent")
    if name is None or not AGENT.fullmatch(name) or not is_agents(request):
        return None
    return Identity(name=name, subject=f"robot:{name}", kind="robot", source="build_agents")


@hookimpl
async def grants(identity: Identity) -> Iterable[Grant] | None:
    """What an agent may do, whatever its number."""
    if identity.source != "build_agents":
        return None
    return [Grant("builds/*", "repository", frozenset({"pull", "push"})), Grant("system", "catalog", frozenset({"read"}))]


def is_agents(request: Request) -> bool:
    """Whether the request comes from the agents' network, as far as anybody can know."""
    peer = (request.scope.get("client") or [None])[0]
    if peer == request.address and any(name in request.headers for name in FORWARDED):
        return False
    try:
        address = ip_address(request.address or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # a listener on :: sees IPv4 clients as ::ffff:10.0.0.7
    return any(address in network for network in NETWORKS)
