"""The ASGI callable: path -> handler -> response. Errors become JSON here and only here."""

from __future__ import annotations

import logging
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from corereg.errors import BadRequest
from corereg.http import blobs, listings, manifests, uploads
from corereg.http.delivery import begin, deliver, unsendable
from corereg.http.gate import Gate, wanted_scope
from corereg.http.paths import BASE, CATALOG, PREFIX, Target, parse
from corereg.http.routes import Table
from corereg.http.token import get_token, post_token
from corereg.messages import ClientGone, Receive, Request, Response, Scope, Send
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    InsufficientStorage,
    Internal,
    MethodNotAllowed,
    NameInvalid,
    NotFound,
    NotImplementedYet,
    OCIError,
    SizeInvalid,
    Unauthorized,
    Unavailable,
)
from corereg.oci.names import check_repository, parse_reference
from corereg.registry import Registry
from corereg.session import Session, SignInNeeded
from corereg.store.database import DatabaseError, DatabaseFull, ValueRefused
from corereg.store.storage import KeyMissing, StorageError, StorageFull

log = logging.getLogger(__name__)

_plain_id = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")

Handler = Callable[[Session, Request, Target], Awaitable[Response]]


async def _base(session: Session, request: Request, target: Target) -> Response:  # noqa: ARG001 - a handler's signature
    """``/v2/``: the protocol is spoken here, and whoever asks is let in."""
    if session.identity.anonymous and not session.narrow:
        message = "sign in to use this registry; run docker login"
        raise Unauthorized(message)
    return Response.json({})


HANDLERS: Mapping[str, Mapping[str, Handler]] = {
    "base": {"GET": _base, "HEAD": _base},
    "catalog": {"GET": listings.list_repositories, "HEAD": listings.list_repositories},
    "tags": {"GET": listings.list_tags, "HEAD": listings.list_tags},
    "referrers": {"GET": listings.list_referrers, "HEAD": listings.list_referrers},
    "manifest": {
        "GET": manifests.get_manifest,
        "HEAD": manifests.get_manifest,
        "PUT": manifests.put_manifest,
        "DELETE": manifests.delete_manifest,
    },
    "blob": {"GET": blobs.get_blob, "HEAD": blobs.get_blob, "DELETE": blobs.delete_blob},
    "uploads": {"POST": uploads.start_upload},
    "upload": {
        "GET": uploads.upload_status,
        "HEAD": uploads.upload_status,
        "PATCH": uploads.append,
        "PUT": uploads.finish,
        "DELETE": uploads.cancel,
    },
}


class App:
    """One registry as an ASGI application.

    With `manage` it opens and closes the registry itself, on the server's lifespan; without, the host does (an
    application that is mounted gets no lifespan of its own).
    """

    def __init__(self, registry: Registry, *, manage: bool = False) -> None:
        self.registry = registry
        self.gate = Gate(registry)
        self.table = Table(registry.routes)
        self._manage = manage
        self._name_limit = registry.config.protocol.name_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        if self._manage:
            try:
                await self.registry.open()
            except Exception as error:
                log.exception("the registry does not start")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._manage:
            await self.registry.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await begin(request, await self._answer(request))
        except ClientGone:  # or its body was broken, and the server can say it no better; most answers find nobody
            request.consumed = True
            response = self._refusal(request, SizeInvalid("the body broke off; send it again, whole"))
        except OCIError as error:
            response = self._refusal(request, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer, the operator a line
            response = self._failure(request, error)
        if not request.path.startswith(PREFIX):
            response.headers.append((b"x-request-id", _request_id(request)))
        header = unsendable(response)
        if header is not None:
            pieces: Any = response.body
            if not isinstance(pieces, bytes):
                await pieces.aclose()
            response = self._failure(
                request, ValueError(f"the header {header} of the response holds the end of a line")
            )
        await deliver(request, response, send)

    # ---- which handler ----

    async def _answer(self, request: Request) -> Response:
        path = request.path
        _check_framing(request)
        if path.startswith(PREFIX):
            return await self._protocol(request, parse(path))
        if path == "/service/token":
            return await self._token(request)
        if path == "/healthz":
            return await self._health(request)
        if path == "/v2":
            raise NotFound("the protocol begins at /v2/, with a slash at the end")
        return await self.table.answer(self.gate, request)

    async def _protocol(self, request: Request, target: Target) -> Response:
        """Grammar, then who, then the handler: what it may, what is there, what is sent."""
        handler = HANDLERS[target.kind].get(request.method)
        if handler is None:
            raise MethodNotAllowed(HANDLERS[target.kind])
        request.scope["corereg.target"] = target
        if target is not BASE and target is not CATALOG:
            check_repository(target.repository, min(self._name_limit, 254 - len(self.gate.host(request))))
            if target.kind == "manifest":
                parse_reference(target.reference)
            elif target.kind in {"blob", "referrers"}:
                Digest.parse(target.reference)
        session = await self.gate.session(request)
        response = await handler(session, request, target)
        response.headers.append((b"docker-distribution-api-version", b"registry/2.0"))
        return response

    async def _token(self, request: Request) -> Response:
        if request.method not in {"GET", "POST"}:
            raise MethodNotAllowed(["GET", "POST"])
        await self.registry.rights.refresh(now=True)  # a token holds what was given a moment ago on another node
        request.address = self.gate.address(request)
        return await (get_token if request.method == "GET" else post_token)(self.registry, request)

    async def _health(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(["GET", "HEAD"])
        if await self.registry.ready():
            return Response.json({"status": "ready"})
        raise Unavailable("the database does not answer")

    # ---- errors ----

    def _failure(self, request: Request, error: Exception) -> Response:
        """What no handler expected: storage or database in trouble, or a bug."""
        if isinstance(error, ValueRefused):
            return self._refusal(request, BadRequest(f"this cannot be kept, or looked for: {error}"))
        if isinstance(error, StorageFull | DatabaseFull):
            log.error("%s %s: %s", request.method, request.path, error)
            return self._refusal(request, InsufficientStorage(f"the registry has no room left: {error}"))
        if isinstance(error, KeyMissing):
            log.error("%s %s: bytes are missing: %s", request.method, request.path, error)
            return self._refusal(request, Unavailable(f"the content is known but its bytes are missing: {error}"))
        if isinstance(error, StorageError | DatabaseError):
            log.error("%s %s: %s", request.method, request.path, error)
            unavailable = Unavailable(f"the registry cannot do this now: {error}", headers={"Retry-After": "5"})
            return self._refusal(request, unavailable)
        number = secrets.token_hex(6)
        log.error("%s %s failed, number %s", request.method, request.path, number, exc_info=error)
        message = f"the registry failed; tell its operator the number {number}"
        return self._refusal(request, Internal(message))

    def _refusal(self, request: Request, error: OCIError) -> Response:
        body = error.as_json()
        headers = {name.lower(): value for name, value in error.headers.items()}
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
        headers["x-content-type-options"] = "nosniff"
        headers["docker-distribution-api-version"] = "registry/2.0"
        if isinstance(error, Unauthorized) and request.path != "/service/token":
            headers["www-authenticate"] = self.gate.challenge(request, _scope(request, error), error)
        return Response(error.status, headers.items(), body)


def _request_id(request: Request) -> bytes:
    """The client's own, where it can be shown as it is; else a new one (Harbor's management API)."""
    given = request.header(b"x-request-id") or ""
    return (given if _plain_id.match(given) else str(uuid.uuid4())).encode()


def _check_framing(request: Request) -> None:
    """What a lenient server in front may have let through: two ways to say how long a body is."""
    coding = request.raw_header(b"transfer-encoding")
    if coding is None:
        return
    if request.raw_header(b"content-length") is not None:
        message = "Content-Length and Transfer-Encoding together are ambiguous; send one"
        raise NameInvalid(message, headers={"Connection": "close"})
    if coding.strip().lower() != b"chunked":
        message = "only chunked is understood as a Transfer-Encoding"
        raise NotImplementedYet(message, headers={"Connection": "close"})


def _scope(request: Request, error: OCIError) -> str:
    target: Any = request.scope.get("corereg.target")
    if isinstance(target, Target):
        wanted = wanted_scope(request, target.kind, target.repository)
        if wanted:
            return wanted
    return error.scope if isinstance(error, SignInNeeded) else ""


def asgi(registry: Registry, *, manage: bool = False) -> App:
    """The registry as an ASGI application (see `App`)."""
    return App(registry, manage=manage)
