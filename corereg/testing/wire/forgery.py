"""Tokens read and forged without the registry's key."""

from __future__ import annotations

import base64
import json

from joserfc import jwk, jws

from corereg.testing.wire.protocol import JSON


def part(token: str, number: int) -> JSON:
    """Header (0) or claims (1) of a JWT, unverified."""
    text = token.split(".")[number]
    decoded: JSON = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return decoded


def _encoded(part: JSON) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def forge(token: str, trick: str) -> str:
    """A token like `token` that nobody who holds the registry's key has signed."""
    header, claims, signature = token.split(".")
    if trick in ("none", "None"):
        return f"{_encoded({'typ': 'JWT', 'alg': trick})}.{claims}."
    if trick == "signature":
        return f"{header}.{claims}.{signature[:-4]}{'AAAA' if signature[-4:] != 'AAAA' else 'BBBB'}"
    if trick == "claims":
        return f"{header}.{_encoded({**part(token, 1), 'sub': 'root', 'jti': 'x'})}.{signature}"
    if trick == "four parts":
        return f"{token}.{signature}"
    return _signed_anew(token, trick)


def _signed_anew(token: str, trick: str) -> str:
    """The same claims under a key of our own, with a header that asks to trust it."""
    header = part(token, 0)
    if trick == "hs256":
        secret = jwk.OctKey.import_key(b"a secret of thirty-two characters")
        return jws.serialize_compact({**header, "alg": "HS256"}, _claims(token), secret, algorithms=["HS256"])
    own = jwk.ECKey.generate_key("P-256")
    public = own.as_dict(private=False)
    changed: dict[str, JSON] = {
        "jwk": {"jwk": public},
        "jku": {"jku": "http://127.0.0.1:9/keys.json"},
        "kid": {"kid": "../../../../dev/null"},
        "typ": {"typ": "at+jwt"},
    }
    kept = {name: value for name, value in header.items() if name in ("typ", "kid")}
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact({**kept, **changed[trick], "alg": "ES256"}, _claims(token), own, registry=registry)


def _claims(token: str) -> bytes:
    text = token.split(".")[1]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
