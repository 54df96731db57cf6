"""Headers in; a Session, or the 401 challenge, out.

A verified token costs one dictionary look-up on the next request: no signature, no database, no plugin. Once a second
the changes of rights are read; what they touch is asked anew or rejected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from corereg.access import ANONYMOUS, Grant, Identity
from corereg.messages import Request
from corereg.oci.errors import NameInvalid, OCIError, Unauthorized
from corereg.registry import Registry
from corereg.session import Session, SignInNeeded
from corereg.store.rights import KEYS, Rights
from corereg.tokens import Access, TokenInvalid

MOST_TOKENS = 20_000
ANONYMOUS_FOR = 1.0
"""Seconds the grants of nobody are kept."""

_host = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")


class Known(msgspec.Struct):
    """Somebody whose credentials were checked: until when, and with which knowledge of rights."""

    identity: Identity
    grants: Sequence[Grant]
    access: tuple[Access, ...]
    expires: float
    serial: int

    def outdated(self, rights: Rights) -> bool:
        return rights.stale(self.identity.subject, self.identity.groups, self.serial)


class Gate:
    """Lets requests of one registry in."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._external = registry.config.server.external_url
        self._external_host = self._external.partition("://")[2] if self._external else ""
        self._trusted = tuple(map(ipaddress.ip_network, registry.config.server.trusted_proxies))
        self._hits = registry.metrics.caches.values.setdefault(("token", "hit"), [0.0])
        self._tokens: OrderedDict[bytes, Known] = OrderedDict()
        self._nobody: tuple[Sequence[Grant], float, int] = ((), 0.0, -1)
        self._asks_identify = bool(registry.plugins.implementers("identify"))

    # ---- where a request comes from, and where it thinks it goes ----

    def address(self, request: Request) -> str | None:
        """The client's address, as far as it can be believed.

        It is the last one in ``X-Forwarded-For`` that is not a trusted proxy's, if a trusted proxy sent the header.
        """
        address = _unmapped(request.address) if request.address else None
        if not self._trusted or not self._is_trusted(address):
            return address
        for hop in reversed(request.headers.get("x-forwarded-for", "").split(",")):
            text = _without_port(hop.strip())
            if _parsed(text) is None:  # whoever made it up, the next proxy counts on nothing behind it
                break
            address = _unmapped(text)
            if not self._is_trusted(text):
                break
        return address

    def _is_trusted(self, address: str | None) -> bool:
        parsed = _parsed(address or "")
        return parsed is not None and any(parsed in network for network in self._trusted)

    def base(self, request: Request) -> str:
        """``scheme://host[:port]`` as clients reach us."""
        if self._external:
            return self._external
        scheme: str = request.scope.get("scheme", "http")
        host = request.header(b"host") or ""
        if self._trusted and self._is_trusted((request.scope.get("client") or ("",))[0]):
            scheme = request.headers.get("x-forwarded-proto", scheme).split(",")[0].strip().lower()
            host = request.headers.get("x-forwarded-host", host).split(",")[0].strip()
        if not _host.match(host) or scheme not in {"http", "https"}:
            server = request.scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
            scheme = scheme if scheme in {"http", "https"} else "http"
        return f"{scheme}://{host}"

    def host(self, request: Request) -> str:
        """``host[:port]`` as clients write it before a repository's name."""
        return self._external_host or request.header(b"host") or ""

    def challenge(self, request: Request, scope: str = "", error: OCIError | None = None) -> str:
        """The value of ``WWW-Authenticate``: where a token can be had, and for what."""
        parts = [
            f'realm="{self.base(request)}{request.prefix}/service/token"',
            f'service="{_quoted(self.registry.config.tokens.service)}"',
        ]
        if scope:
            parts.append(f'scope="{_quoted(scope)}"')
        if isinstance(error, SignInNeeded) and error.insufficient:
            parts += ['error="insufficient_scope"', f'error_description="{_quoted(error.message)}"']
        elif isinstance(error, TokenRejected):
            parts += ['error="invalid_token"', f'error_description="{_quoted(error.message)}"']
        return f"Bearer {','.join(parts)}"

    # ---- who is asking ----

    async def session(self, request: Request) -> Session:
        """A session for the request. Raises Unauthorized for credentials that do not hold."""
        registry = self.registry
        if registry.rights.due():
            await registry.rights.refresh()
        if self._trusted or (request.address and ":" in request.address):
            request.address = self.address(request)
        header = request.raw_header(b"authorization")
        if header is None:
            return await self._without_credentials(request)
        scheme, _, value = header.partition(b" ")
        kind = scheme.lower()
        if kind == b"bearer":
            value = value.strip()
            key = hashlib.sha256(value).digest()
            known = self._tokens.get(key)
            if known is not None:
                self._hits[0] += 1
            if known is None or known.serial < registry.rights.serial or known.expires < time.time():
                known = await self._bearer(key, value.decode("latin-1"), known)
            return Session(
                registry.house,
                known.identity,
                known.grants,
                address=request.address,
                narrow=True,
                serial=known.serial,
            )
        if kind == b"basic":
            name, password = basic_credentials(value.decode("latin-1"))
            signed_in = await registry.signin.password(name, password, request.address)
            return Session(
                registry.house,
                signed_in.identity,
                await registry.plugins.grants(signed_in.identity),
                address=request.address,
                whole=True,
                serial=signed_in.serial,
            )
        return await self._without_credentials(request, unknown=True)

    async def _without_credentials(self, request: Request, *, unknown: bool = False) -> Session:
        registry = self.registry
        if self._asks_identify:
            serial = registry.rights.serial
            identity = await registry.plugins.identify(request)
            if identity is not None:
                return await registry.session_for(identity, address=request.address, serial=serial)
        if unknown:
            message = "this kind of Authorization is not known here; use Bearer or Basic"
            raise Unauthorized(message)
        grants, until, serial = self._nobody
        if time.monotonic() > until or serial != registry.rights.serial:
            serial = registry.rights.serial
            grants = await registry.plugins.grants(ANONYMOUS)
            self._nobody = (grants, time.monotonic() + ANONYMOUS_FOR, serial)
        return Session(registry.house, ANONYMOUS, grants, address=request.address, whole=True)

    async def _bearer(self, key: bytes, token: str, known: Known | None) -> Known:
        """Who holds the token; `known` is what was remembered of it under `key`, its hash."""
        rights = self.registry.rights
        if known is None:
            self.registry.metrics.caches.add("token", "miss")
            known = await self._verified(token)
            self._tokens[key] = known
            while len(self._tokens) > MOST_TOKENS:
                self._tokens.popitem(last=False)
        if time.time() > known.expires:
            self._tokens.pop(key, None)
            raise TokenRejected("it has expired")
        if rights.serial > known.serial:
            await self._ask_anew(key, token, known)
        return known

    async def _ask_anew(self, key: bytes, token: str, known: Known) -> None:
        """Rights have changed somewhere since the token's were read."""
        registry = self.registry
        serial = registry.rights.serial
        if registry.rights.revoked(KEYS, known.serial):
            if KEYS in registry.rights.unapplied:  # it could not be done before, and this is asked only once
                await registry.keys.reload()
            try:
                registry.tokens.verify(token)
            except TokenInvalid as error:
                self._tokens.pop(key, None)
                raise TokenRejected(str(error)) from error
        if registry.rights.revoked(known.identity.subject, known.serial):
            self._tokens.pop(key, None)
            raise TokenRejected("what it was given for was changed or withdrawn; sign in again")
        outdated = known.outdated(registry.rights)
        registry.metrics.caches.add("rights", "miss" if outdated else "hit")
        if outdated:
            try:
                known.identity = await registry.plugins.complete_identity(known.identity)
            except OCIError as error:
                self._tokens.pop(key, None)
                raise TokenRejected(error.message) from error
            known.grants = _cut(known.access, await registry.plugins.grants(known.identity))
        known.serial = serial

    async def _verified(self, token: str) -> Known:
        registry = self.registry
        try:
            if not registry.tokens.knows(token):
                await registry.keys.reload()  # another node may have rotated the keys a moment ago
            claims = registry.tokens.verify(token)
        except TokenInvalid as error:
            raise TokenRejected(str(error)) from error
        serial = claims.serial
        if serial > registry.rights.serial:
            await registry.rights.refresh(now=True)
            if serial > registry.rights.serial:  # minted before a backup was restored: what it knew has not happened
                serial = 0
        return Known(
            claims.identity,
            [grant for access in claims.access if (grant := access.grant())],
            claims.access,
            claims.expires + registry.tokens.leeway,
            serial,
        )


class TokenRejected(Unauthorized):
    """A bearer token that is not believed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the token is not accepted: {why}")


def basic_credentials(value: str) -> tuple[str, str]:
    """Name and password of a Basic header's value (RFC 7617, UTF-8)."""
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        message = "the Basic credentials cannot be read; send base64 of name:password in UTF-8"
        raise Unauthorized(message) from None
    name, colon, password = text.partition(":")
    if not colon:
        message = "the Basic credentials hold no colon; send base64 of name:password"
        raise Unauthorized(message)
    return name, password


def wanted_scope(request: Request, kind: str, repository: str) -> str:
    """What a token must be asked for to do this (distribution's action map)."""
    if kind == "catalog":
        return "registry:catalog:*"
    if not repository:
        return ""
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
    if kind == "upload" or (kind == "blob" and request.method == "HEAD"):
        # Status and cancelling belong to the push. Who asks for a blob's head is about to push as well, and some
        # clients (oras-py) keep the first token they were given; whoever may only pull gets a token for that alone.
        actions = "pull,push"
    scope = f"repository:{repository}:{actions}"
    try:
        source = request.parameter("from") if kind == "uploads" else None
    except NameInvalid:
        source = None
    if source and source.isascii() and source.isprintable() and '"' not in source:
        scope += f" repository:{source}:pull"
    return scope


def _cut(access: Sequence[Access], grants: Sequence[Grant]) -> list[Grant]:
    kept = (each.cut(grants) for each in access)
    return [grant for each in kept if each is not None and (grant := each.grant())]


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_unmapped(address))
    except ValueError:
        return None


def _without_port(hop: str) -> str:
    """``192.0.2.1:4711`` and ``[2001:db8::1]:4711``, as some proxies write them, without what changes each time."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _unmapped(address: str) -> str:
    """An IPv4 address as such, where a socket of IPv6 shows it as ``::ffff:192.0.2.1``."""
    return address[7:] if address.lower().startswith("::ffff:") and "." in address else address


def _quoted(text: str) -> str:
    """Text for a quoted-string in a header: latin-1 at most, no quotes, no line ends."""
    clean = text.replace("\\", "").replace('"', "'")
    return "".join(char if char.isprintable() else " " for char in clean).encode("ascii", "replace").decode()
