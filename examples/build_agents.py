"""Build agents push without a password: a header says which one it is, and is believed from the agents' network alone.

Start a registry with it (here the agents' network is this machine), and be an agent:

    COREREG__PLUGINS=storage_fs,accounts,examples/build_agents.py AGENT_NETWORKS=127.0.0.0/8 corereg serve
    curl -H 'X-Build-Agent: agent-7' http://127.0.0.1:8080/v2/_catalog

Whoever can send from that network can be any agent, so an agent may do no more than its work: push below ``builds/``
and pull from there. Behind a reverse proxy every client seems to come from the proxy, until ``[server]
trusted_proxies`` names it: the address is the client's own then. So what was forwarded by a proxy nobody named is not
believed.
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
    """Who sends ``X-Build-Agent``, if the address may. Whoever signs in with a password or a token is not asked."""
    name = request.headers.get("x-build-agent")
    if name is None or not AGENT.fullmatch(name) or not is_agents(request):
        return None
    return Identity(name=name, subject=f"robot:{name}", kind="robot", source="build_agents")


@hookimpl
async def grants(identity: Identity) -> Iterable[Grant] | None:
    """What an agent may do, whatever its number."""
    if identity.source != "build_agents":
        return None
    return [Grant("builds/*", "repository", frozenset({"pull", "push"}))]


def is_agents(request: Request) -> bool:
    """Whether the request comes from the agents' network, as far as that can be known."""
    peer = (request.scope.get("client") or [None])[0]
    own = peer in {request.address, f"::ffff:{request.address}"}  # a listener on :: sees IPv4 so; the address does not
    if own and any(name in request.headers for name in FORWARDED):
        return False
    try:
        address = ip_address(request.address or "")
    except ValueError:
        return False
    return any(address in network for network in NETWORKS)
