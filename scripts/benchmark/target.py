"""Who is measured: an address, a role, and the right to ask."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode, urlsplit

from benchmark.process import Server, cpu_seconds
from benchmark.wire import Address, Connection

Role = Literal["corereg", "peer", "empty"]

REPOSITORIES = (
    "library/bench-pull",
    "library/bench-push",
    "library/bench-manifests",
    "library/bench-tags500",
    "library/bench-tags",
)
"""Every repository the measurements touch; `Target.authorization` asks for the right to pull and push them."""


@dataclass(frozen=True)
class Target:
    """A server in the comparison.

    `role` is ``corereg``, ``peer``, or ``empty`` for the ASGI app that does nothing on the server corereg runs on.
    `server` is None for one that was running before; its processor time is unknown then. `like` is whose Authorization
    it is sent, where it asks for none itself: a kilobyte of token is work for a server, too.
    """

    name: str
    address: Address
    role: Role
    user: str = ""
    password: str = ""
    server: Server | None = None
    like: Target | None = None

    @property
    def process(self) -> Server:
        """Its server; a ValueError for one that was running before."""
        if self.server is None:
            raise ValueError(f"{self.name} was not started here")
        return self.server

    @property
    def cpu(self) -> float:
        """Processor seconds used so far; 0 when the processes are not ours to see."""
        return cpu_seconds(self.server.pids) if self.server else 0.0

    def authorization(self) -> str:
        """The value of an Authorization header as this server's challenge wants it; empty when it wants none."""
        if self.like is not None:
            return self.like.authorization()
        with Connection(self.address) as connection:
            answer = connection.ask("GET", "/v2/", {})
        if answer.status != 401:
            return ""
        basic = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        challenge = answer.headers.get("www-authenticate", "")
        if not challenge.lower().startswith("bearer"):
            return basic
        return "Bearer " + _token(dict(re.findall(r'(\w+)="([^"]*)"', challenge)), basic)


def _token(challenge: dict[str, str], basic: str) -> str:
    realm = urlsplit(challenge["realm"])
    query: Iterable[tuple[str, str]] = [
        ("service", challenge.get("service", "")),
        *(("scope", f"repository:{name}:pull,push") for name in REPOSITORIES),
    ]
    with Connection(Address.of(f"{realm.scheme}://{realm.netloc}")) as connection:
        answer = connection.ask("GET", f"{realm.path}?{urlencode(list(query))}", {"Authorization": basic})
    return str(json.loads(answer.expect(200).body)["token"])
