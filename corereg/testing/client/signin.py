"""Signing in: credentials, challenges, tokens."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

import httpx2
import msgspec


class Credentials(NamedTuple):
    """What a person types at ``docker login``."""

    name: str
    password: str

    @property
    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.name}:{self.password}".encode()).decode()


class Challenge(msgspec.Struct, frozen=True):
    """One ``WWW-Authenticate`` header: its scheme in lower case, its parameters by lower-case name."""

    scheme: str
    parameters: dict[str, str]

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes asked for; a challenge lists them with spaces between."""
        return tuple(self.parameters.get("scope", "").split())


_PARAMETER = re.compile(r'([a-zA-Z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


def challenges(answer: httpx2.Response) -> list[Challenge]:
    """The challenges of an answer, one per header, Bearer first (RFC 9110 11.6.1)."""
    found = []
    for header in answer.headers.get_list("www-authenticate"):
        scheme, _, rest = header.strip().partition(" ")
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
            for name, quoted, bare in _PARAMETER.findall(rest)
        }
        found.append(Challenge(scheme.lower(), parameters))
    return sorted(found, key=lambda challenge: challenge.scheme != "bearer")


class Token(msgspec.Struct, frozen=True):
    """A bearer token and the moment (`time.monotonic` seconds) at which it ends."""

    value: str
    ends: float


# (origin, user name, scopes) -> token. One such dictionary can be shared by many clients, to sign in once.
Tokens = dict[tuple[str, str, tuple[str, ...]], Token]


class SignInError(AssertionError):
    """The registry's token service did not give the token it had asked for."""
