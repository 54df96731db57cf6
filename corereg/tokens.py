"""Bearer tokens that carry grants: minted at sign-in, verified without asking anybody.

A JWT signed with ES256, as the Docker token specification wants it: ``iss``, ``sub``, ``aud``, ``exp``, ``nbf``,
``iat``, ``jti`` and ``access``, a list of ``{type, name, actions}``. One private claim, ``corereg``, holds who the
token was minted for and the serial of the newest change of rights known then. Only our own keys are believed: a
``jwk``, ``jku``, ``x5u`` or ``x5c`` header is never looked at.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from corereg.access import Action, Grant, Identity, allowed, may_list
from corereg.oci.errors import NameInvalid
from corereg.oci.names import check_repository

ALGORITHM = "ES256"
LONGEST = 16 * 1024
"""Characters of a token we are ready to look at."""
MOST_SCOPES = 64
SECOND = 1_000_000
"""Microseconds."""
WORDS = {"pull", "push", "delete"}


class Access(msgspec.Struct, frozen=True):
    """One scope: ``repository:demo/app:pull,push``. The same words stand in a token's ``access`` claim."""

    type: str
    name: str
    actions: tuple[str, ...]

    def grant(self) -> Grant | None:
        """The right this scope stands for in a token; None for types we do not know."""
        actions = frozenset(self.actions)
        if self.type == "repository":
            return Grant(self.name, "repository", actions)
        if self.type == "registry" and self.name == "catalog":
            return Grant("system", "catalog", frozenset({"read"}))
        return None

    def cut(self, grants: Sequence[Grant]) -> Access | None:
        """What `grants` leave of this scope; None when nothing is left."""
        if self.type == "repository":
            wanted = sorted(WORDS) if "*" in self.actions else [word for word in self.actions if word in WORDS]
            kept = tuple(word for word in wanted if allowed(grants, Action("repository", word, self.name)))
        elif self.type == "registry" and self.name == "catalog":
            kept = ("*",) if may_list(grants) else ()
        else:
            kept = ()
        return Access(self.type, self.name, kept) if kept else None


_type = re.compile(r"([a-z0-9]+)(?:\([a-z0-9]+\))?\Z")


def parse_scopes(texts: Iterable[str]) -> list[Access]:
    """Scopes as clients send them, several to a parameter and several parameters; what cannot be a scope is left out,
    as the token specification asks: the answer then simply grants less.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for text in texts:
        for scope in text.split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            match = _type.match(kind)
            if match is None or not name or len(found) >= MOST_SCOPES:
                continue
            if match[1] == "repository":
                try:
                    check_repository(name)
                except NameInvalid:
                    continue
            words = tuple(word for word in actions.split(",") if word)
            found[match[1], name] = tuple(dict.fromkeys((*found.get((match[1], name), ()), *words)))
    return [Access(kind, name, actions) for (kind, name), actions in found.items()]


class SigningKey(msgspec.Struct, frozen=True):
    """A private key by its id. `retired_at` (seconds since 1970): signs nothing new from then on."""

    id: str
    private: ECKey
    retired_at: float | None = None

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(secrets.token_hex(8), ECKey.generate_key("P-256"))

    @classmethod
    def load(cls, key_id: str, pem: str, retired_at: float | None = None) -> SigningKey:
        return cls(key_id, ECKey.import_key(pem), retired_at)

    def pem(self) -> str:
        return self.private.as_pem(private=True).decode()


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says: who, what it carries, until when, and how old its knowledge of rights is."""

    identity: Identity
    access: tuple[Access, ...]
    expires: float
    serial: int


class Minted(msgspec.Struct, frozen=True):
    """A new token, when it was issued (seconds since 1970) and how many seconds it lasts."""

    token: str
    issued: int
    lifetime: int


class TokenInvalid(Exception):
    """The token cannot be believed; `str()` says why."""


class Tokens:
    """Mints and verifies, with the keys it was given."""

    def __init__(self, *, issuer: str, service: str, lifetime: int, leeway: int = 60) -> None:
        self.issuer = issuer
        self.service = service
        self.lifetime = lifetime
        self.leeway = leeway
        self.believed_for = lifetime + 2 * leeway
        """Seconds after which no token of a key that was retired can be living."""
        self._keys: dict[str, SigningKey] = {}
        self._current: SigningKey | None = None

    def use(self, keys: Sequence[SigningKey]) -> None:
        """Verify with all of `keys`, sign with the newest (the last) that is not retired."""
        self._keys = {key.id: key for key in keys}
        living = [key for key in keys if key.retired_at is None]
        self._current = living[-1] if living else None

    def knows(self, token: str) -> bool:
        """Whether the token names a key that is here (it may have been made by another node a moment ago)."""
        try:
            return _key_id(token) in self._keys
        except TokenInvalid:
            return True  # no key will help

    def mint(self, identity: Identity, access: Sequence[Access], serial: int) -> Minted:
        """A token for `identity` that carries `access`, and ends with the credentials that proved who that is."""
        if self._current is None:
            message = "there is no signing key"
            raise RuntimeError(message)
        issued = int(time.time())
        lifetime, expires = self.lifetime, issued + self.lifetime
        if identity.expires_at is not None:
            end = identity.expires_at // SECOND
            lifetime = max(0, min(lifetime, end - issued))
            expires = min(expires, end - self.leeway)  # which `verify` adds again
        claims = {
            "iss": self.issuer,
            "sub": "" if identity.anonymous else identity.name,
            "aud": self.service,
            "exp": expires,
            "nbf": issued - 1,
            "iat": issued,
            "jti": secrets.token_hex(16),
            "access": msgspec.to_builtins(access),
            "corereg": {
                "subject": identity.subject,
                "kind": identity.kind,
                "groups": identity.groups,
                "administrator": identity.administrator,
                "source": identity.source,
                "serial": serial,
                **({} if identity.limits is None else {"limits": msgspec.to_builtins(identity.limits)}),
            },
        }
        header = {"typ": "JWT", "alg": ALGORITHM, "kid": self._current.id}
        token = jwt.encode(header, claims, self._current.private, algorithms=[ALGORITHM])
        return Minted(token, issued, lifetime)

    def verify(self, token: str) -> Claims:
        """The token's claims; TokenInvalid when it is not ours, not for us, or not of this time."""
        key = self._keys.get(_key_id(token))
        if key is None or (key.retired_at is not None and time.time() > key.retired_at + self.believed_for):
            message = "it was not signed by this registry"
            raise TokenInvalid(message)
        try:
            claims = jwt.decode(token, key.private, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, KeyError) as error:
            message = "its signature does not hold"
            raise TokenInvalid(message) from error
        self._check(claims)
        if key.retired_at is not None and claims["iat"] > key.retired_at + self.leeway:
            message = "its key had been retired when it was signed"
            raise TokenInvalid(message)
        try:
            return _claims(claims)
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            message = "its claims have the wrong shape"
            raise TokenInvalid(message) from error

    def _check(self, claims: Mapping[str, Any]) -> None:
        clock = time.time()
        audience = claims.get("aud")
        if claims.get("iss") != self.issuer:
            message = "it was issued by somebody else"
            raise TokenInvalid(message)
        if audience != self.service and not (isinstance(audience, list) and self.service in audience):
            message = "it was issued for another service"
            raise TokenInvalid(message)
        try:
            times = msgspec.convert(claims, _Times)
        except msgspec.ValidationError as error:
            message = "its times are no numbers"
            raise TokenInvalid(message) from error
        if clock > times.exp + self.leeway:
            message = "it has expired"
            raise TokenInvalid(message)
        if clock < times.nbf - self.leeway:
            message = "it is not valid yet; compare the clocks"
            raise TokenInvalid(message)


class _Times(msgspec.Struct, frozen=True):
    exp: float
    iat: float
    nbf: float = 0


class _Private(msgspec.Struct, frozen=True):
    subject: str
    kind: str
    groups: tuple[str, ...]
    administrator: bool
    source: str
    serial: int
    limits: tuple[Grant, ...] | None = None


def _claims(claims: Mapping[str, Any]) -> Claims:
    private = msgspec.convert(claims["corereg"], _Private)
    identity = msgspec.convert(
        {
            "name": claims["sub"] or "anonymous",
            "subject": private.subject,
            "kind": private.kind,
            "groups": private.groups,
            "administrator": private.administrator,
            "source": private.source,
        },
        Identity,
    )
    identity = msgspec.structs.replace(identity, limits=private.limits)
    return Claims(identity, msgspec.convert(claims["access"], tuple[Access, ...]), float(claims["exp"]), private.serial)


class _Header(msgspec.Struct):
    alg: str
    kid: str


def _key_id(token: str) -> str:
    """The key id of the first segment, read strictly: three segments, our algorithm, nothing we have to guess at."""
    if len(token) > LONGEST or token.count(".") != 2:
        message = "it is no signed token"
        raise TokenInvalid(message)
    head = token.partition(".")[0]
    try:
        header = msgspec.json.decode(_unbase64(head), type=_Header)
    except (ValueError, msgspec.DecodeError) as error:
        message = "its header cannot be read"
        raise TokenInvalid(message) from error
    if header.alg != ALGORITHM:
        message = f"it is signed with {header.alg[:10]!r}, not {ALGORITHM}"
        raise TokenInvalid(message)
    return header.kid


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
