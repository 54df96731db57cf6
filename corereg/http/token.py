"""``docker login``: credentials in, bearer token out (the Docker token specification, GET and POST)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from corereg.access import ANONYMOUS
from corereg.http.gate import basic_credentials
from corereg.messages import Request, Response
from corereg.oci.errors import NameInvalid, OCIError, Unauthorized
from corereg.registry import Registry
from corereg.signin import SignedIn
from corereg.tokens import Access, Minted, parse_scopes

FORM_LIMIT = 64 * 1024


class GrantUnsupported(OCIError, code="UNSUPPORTED", status=400, message="use grant_type=password, or GET with Basic"):
    """An OAuth2 grant type we do not serve."""


async def get_token(registry: Registry, request: Request) -> Response:
    """GET with Basic credentials, or without any for what everybody may do."""
    service = request.parameter("service")
    _check_service(registry, service)
    header = request.header(b"authorization")
    if header is None:
        serial = registry.rights.serial
        known = await registry.plugins.identify(request)
        identity = ANONYMOUS if known is None else await registry.plugins.complete_identity(known)
        request.caller = identity.name
        return await _answer(registry, SignedIn(identity, serial), request.query.get("scope", ()))
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        message = "sign in with a name and a password (Basic)"
        raise Unauthorized(message)
    name, password = basic_credentials(value)
    account = request.parameter("account")
    if account is not None and account != name:
        message = f"the account asked for is not {name}, who signed in"
        raise Unauthorized(message)
    signed_in = await registry.signin.password(name, password, request.address)
    request.caller = signed_in.identity.name
    return await _answer(registry, signed_in, request.query.get("scope", ()))


async def post_token(registry: Registry, request: Request) -> Response:
    """POST with an OAuth2 form, ``grant_type=password``."""
    form = await _form(request)
    _check_service(registry, form.get("service"))
    if form.get("grant_type") != "password":
        raise GrantUnsupported
    signed_in = await registry.signin.password(form.get("username", ""), form.get("password", ""), request.address)
    request.caller = signed_in.identity.name
    return await _answer(registry, signed_in, [form.get("scope", "")], oauth=True)


async def _form(request: Request) -> Mapping[str, str]:
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        message = "send the form as application/x-www-form-urlencoded"
        raise NameInvalid(message)
    body = await request.body(FORM_LIMIT)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        message = "the form cannot be read; percent-encode it as UTF-8"
        raise NameInvalid(message) from None
    form: dict[str, str] = {}
    for name, value in pairs:
        form[name] = f"{form[name]} {value}" if name == "scope" and name in form else value
    return form


def _check_service(registry: Registry, service: str | None) -> None:
    ours = registry.config.tokens.service
    if service not in {None, "", ours}:
        message = f"this registry mints tokens for the service {ours} only"
        raise NameInvalid(message)


async def _answer(
    registry: Registry, signed_in: SignedIn, scopes: tuple[str, ...] | list[str], *, oauth: bool = False
) -> Response:
    """A token for what is left of the scopes; nothing left is no error, as the specification wants it."""
    grants = await registry.plugins.grants(signed_in.identity)
    access = [kept for asked in parse_scopes(scopes) if (kept := asked.cut(grants))]
    minted = registry.tokens.mint(signed_in.identity, access, signed_in.serial)
    return Response.json(_document(minted, access, oauth=oauth), headers=[("cache-control", "no-store")])


def _document(minted: Minted, access: list[Access], *, oauth: bool) -> dict[str, Any]:
    document = {
        "access_token": minted.token,
        "expires_in": minted.lifetime,
        "issued_at": datetime.fromtimestamp(minted.issued, UTC).isoformat().replace("+00:00", "Z"),
    }
    if oauth:
        document["scope"] = " ".join(f"{each.type}:{each.name}:{','.join(each.actions)}" for each in access)
    else:
        document["token"] = minted.token
    return document
