"""The ASGI callable: path -> handler -> response. Errors become JSON here and only here."""

from __future__ import annotations

import logging
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from corereg.errors import BadRequest, Exists
from corereg.http import blobs, listings, manifests, uploads
from corereg.http.delivery import begin, deliver, unsendable
from corereg.http.gate import Gate, wanted_scope
from corereg.http.metrics import get_metrics
from corereg.http.paths import BASE, CATALOG, PREFIX, Target, parse
from corereg.http.routes import Table
from corereg.http.token import get_token, post_token
from corereg.messages import CURRENT, ClientGone, Receive, Request, Response, Scope, Send
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
from corereg.store.database import Conflict, DatabaseError, DatabaseFull, ValueRefused
from corereg.store.storage import KeyMissing, StorageError, StorageFull

log = logging.getLogger(__name__)
access = logging.getLogger("corereg.access")

GONE = 499
"""What is counted for a request whose client left, or was cut off, before there was an answer (nginx's number)."""

FAILURES = 400
"""Statuses from here on are told with the request's id, whatever was asked."""

_plain_id = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}\Z")
"""Ids of clients that can be shown as they are."""

Handler = Callable[[Session, Request, Target], Awaitable[Response]]


async def check(session: Session, request: Request, target: Target) -> Response:  # noqa: ARG001 - a handler's signature
    """``/v2/``: the protocol is spoken here, and whoever asks is let in."""
    if session.identity.anonymous and not session.narrow:
        message = "sign in to use this registry; run docker login"
        raise Unauthorized(message)
    return Response.json({})


HANDLERS: Mapping[str, Mapping[str, Handler]] = {
    "base": {"GET": check, "HEAD": check},
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
        self._tracer = registry.tracer
        self._log_access = registry.config.log.access
        self._requests = registry.metrics.requests
        # A pull that went well is asked about by nobody, where nothing was written down of it: a header less.
        self._tells = self._log_access or self._tracer.on
        prefix = str(uuid.uuid4())[:24].encode()
        self._made = (b"%s%012x" % (prefix, number) for number in count(1))
        """New ids of requests, which look like UUIDs: to make a random one each time would slow a pull."""

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
        begun = time.perf_counter()
        request = Request(scope, receive)
        given = request.raw_header(b"x-request-id")
        request.number = given if given is not None and _plain_id.match(given) else next(self._made)
        CURRENT.set(request)
        requests = self._requests
        requests.running += 1
        status = GONE
        try:
            try:
                answer = self._traced(request) if self._tracer.on else self._answer(request)
                response = await begin(request, await answer)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer, the operator a line
                response = self._excused(request, error)
            if given is not None or response.status >= FAILURES or self._tells or not request.path.startswith(PREFIX):
                response.headers.append((b"x-request-id", request.number))
            header = unsendable(response)
            if header is not None:
                response = await self._unsent(request, response, header)
            status = response.status
            await deliver(request, response, send)
        finally:
            requests.running -= 1
            seconds = time.perf_counter() - begun
            requests.observe(request.method, request.operation, status, seconds, request.received, request.sent)
            if self._log_access:
                _tell(request, status, seconds)

    def _excused(self, request: Request, error: Exception) -> Response:
        """What is answered in the place of what failed."""
        if isinstance(error, ClientGone):  # or its body was broken, and the server can say it no better
            request.consumed = True  # most such answers find nobody
            return self._refusal(request, SizeInvalid("the body broke off; send it again, whole"))
        if isinstance(error, OCIError):
            return self._refusal(request, error)
        return self._failure(request, error)

    async def _unsent(self, request: Request, response: Response, header: str) -> Response:
        """What is answered in the place of an answer that would break the protocol."""
        pieces: Any = response.body
        if not isinstance(pieces, bytes):
            await pieces.aclose()
        answer = self._failure(request, ValueError(f"the header {header} of the response holds the end of a line"))
        answer.headers.append((b"x-request-id", request.number))
        return answer

    async def _traced(self, request: Request) -> Response:
        """The span ends when the answer is known; how long its bytes take is the client's affair."""
        with self._tracer.root(
            request.method,
            request.headers,
            http__request__method=request.method,
            url__path=request.path,
            corereg__request__id=request.id,
        ) as span:
            try:
                response = await self._answer(request)
                refused = None
                status = response.status
            except OCIError as error:  # an answer like another, no failure
                refused, status = error, error.status
            if span is not None:
                span.update_name(f"{request.method} {request.operation}")
                span.set_attribute("http.route", request.operation)
                span.set_attribute("http.response.status_code", status)
            if refused is None:
                return response
        raise refused

    # ---- which handler ----

    async def _answer(self, request: Request) -> Response:
        path = request.path
        _check_framing(request)
        if path.startswith(PREFIX):
            return await self._protocol(request, parse(path))
        if path == "/service/token":
            request.operation = "get_token" if request.method == "GET" else "post_token"
            return await self._token(request)
        if path == "/healthz":
            request.operation = "get_healthz"
            return await self._health(request)
        if path == "/metrics":
            request.operation = "get_metrics"
            return await get_metrics(self.gate, request)
        if path == "/v2":
            raise NotFound("the protocol begins at /v2/, with a slash at the end")
        return await self.table.answer(self.gate, request)

    async def _protocol(self, request: Request, target: Target) -> Response:
        """Grammar, then who, then the handler: what it may, what is there, what is sent."""
        handler = HANDLERS[target.kind].get(request.method)
        if handler is None:
            raise MethodNotAllowed(HANDLERS[target.kind])
        request.operation = handler.__name__
        request.scope["corereg.target"] = target
        if target is not BASE and target is not CATALOG:
            check_repository(target.repository, min(self._name_limit, 254 - len(self.gate.host(request))))
            if target.kind == "manifest":
                parse_reference(target.reference)
            elif target.kind in {"blob", "referrers"}:
                Digest.parse(target.reference)
        session = await self.gate.session(request)
        request.caller = session.identity.name
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
        if isinstance(error, Conflict):
            log.warning("%s %s: %s", request.method, request.path, error)
            message = (
                "this does not go together with another change that was made at the same moment; look, and try again"
            )
            return self._refusal(request, Exists(message))
        if isinstance(error, StorageFull | DatabaseFull):
            log.error("%s %s: %s", request.method, request.path, error)
            return self._refusal(request, InsufficientStorage("the registry has no room left; tell its operator"))
        if isinstance(error, KeyMissing):
            log.error("%s %s: bytes are missing: %s", request.method, request.path, error)
            missing = Unavailable("the content is known but its bytes are missing; tell the operator of this registry")
            return self._refusal(request, missing)
        if isinstance(error, StorageError | DatabaseError):
            # What it says is for the operator: it may name paths, hosts and rows, which are nobody else's business.
            log.error("%s %s: %s", request.method, request.path, error)
            unavailable = Unavailable(f"the registry cannot do this now: {error.outside}", headers={"Retry-After": "5"})
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


def _tell(request: Request, status: int, seconds: float) -> None:
    """The line of a request. Its query is left out: it may hold what is nobody's business."""
    fields = {
        "method": request.method,
        "path": request.path,
        "operation": request.operation,
        "status": status,
        "received": request.received,
        "sent": request.sent,
        "duration": round(seconds, 6),
        "identity": request.caller,
        "address": request.address or "",
    }
    access.info("%s", " ".join(f"{name}={value}" for name, value in fields.items()), extra={"fields": fields})


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
