"""A small black-box client for tests: one registry, reached by URL or as an ASGI application in this process.

`RegistryClient` says exactly what a test tells it to say (targets and headers go out as written, redirects are
followed only when asked) and brings along only what every docker client has: the sign-in. It follows the token flow of
the Docker token specification by itself, or sends Basic credentials, or stays anonymous, and never shows its
Authorization header to another host than the registry's.

`Content`, `blob`, `image` and `index` make what tests push; `expect` judges an answer and, when it is another one,
shows the whole exchange.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import anyio
import httpx2
import msgspec

Message = MutableMapping[str, Any]
Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
# A body can be bytes (sent with Content-Length) or pieces (sent chunked). Only a function that makes the pieces anew
# can be sent again when the first try is answered 401.
Body = bytes | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]]

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPES = (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_SOON = 5.0  # seconds a token must still live to be used, and an application may take to notice that its client left

# What tests push ------------------------------------------------------------------------------------------------------


def digest(data: bytes, algorithm: str = "sha256") -> str:
    """``sha256:<hex>`` of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Content(msgspec.Struct, frozen=True):
    """Bytes with a media type: a blob, a config or a manifest."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        return digest(self.body)

    def descriptor(self, algorithm: str = "sha256", **fields: Any) -> dict[str, Any]:
        """The content's descriptor (image-spec ``descriptor.md``); `fields` are added as they stand."""
        return {
            "mediaType": self.media_type,
            "digest": digest(self.body, algorithm),
            "size": len(self.body),
            **fields,
        }


def blob(data: bytes, media_type: str = OCI_LAYER) -> Content:
    """A blob as a layer would be described."""
    return Content(media_type, data)


EMPTY = Content(OCI_EMPTY, b"{}")


def encode(document: Any) -> bytes:
    """JSON as docker writes it: indented, so that a registry which re-encodes manifests is found out."""
    return json.dumps(document, indent=3, ensure_ascii=False).encode()


Described = Content | Mapping[str, Any]  # content, or its descriptor as it shall stand in a manifest


def _descriptor(described: Described) -> Mapping[str, Any]:
    return described.descriptor() if isinstance(described, Content) else described


def image(
    config: Described = EMPTY, layers: Iterable[Described] = (), media_type: str = OCI_IMAGE, **fields: Any
) -> Content:
    """An image manifest. `fields` (``subject``, ``artifactType``, ``annotations``) are added, or replace a field."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
        **fields,
    }
    return Content(media_type, encode(document))


def index(manifests: Iterable[Described] = (), media_type: str = OCI_INDEX, **fields: Any) -> Content:
    """An image index or manifest list over `manifests`."""
    members = [_descriptor(manifest) for manifest in manifests]
    return Content(media_type, encode({"schemaVersion": 2, "mediaType": media_type, "manifests": members, **fields}))


# What comes back ------------------------------------------------------------------------------------------------------


def error_codes(answer: httpx2.Response) -> list[str]:
    """The codes in an answer's error envelope; empty when the body is no such envelope."""
    try:
        errors = json.loads(answer.content)["errors"]
        return [str(error["code"]) for error in errors]
    except (ValueError, KeyError, TypeError):
        return []


def exchange(answer: httpx2.Response) -> str:
    """Request and answer as text, for a person who reads a failing test."""
    request = answer.request
    target = bytes(request.extensions.get("target", request.url.raw_path)).decode("latin-1")
    lines = [f"{request.method} {target}"]
    lines += [f"  {name}: {_shown(name, value)}" for name, value in request.headers.multi_items()]
    lines += [f"answer: {answer.status_code}"]
    lines += [f"  {name}: {value}" for name, value in answer.headers.multi_items()]
    with suppress(httpx2.ResponseNotRead):
        lines.append(f"  {answer.content[:500]!r}")
    return "\n".join(lines)


def _shown(name: str, value: str) -> str:
    return value.split(" ", maxsplit=1)[0] + " ..." if name.lower() == "authorization" else value


def expect(answer: httpx2.Response, *statuses: int, code: str | None = None) -> httpx2.Response:
    """Hand `answer` back when its status is one of `statuses` (and its first error code is `code`), else fail.

    Answers to HEAD carry no body, so `code` is not looked for there.
    """
    if answer.status_code not in statuses:
        wanted = " or ".join(str(status) for status in statuses)
        raise AssertionError(f"expected {wanted}, got {answer.status_code}\n{exchange(answer)}")
    if code is not None and answer.request.method != "HEAD" and code not in error_codes(answer):
        raise AssertionError(f"expected the error code {code}, got {error_codes(answer)}\n{exchange(answer)}")
    return answer


def with_query(location: str, **parameters: str) -> str:
    """`location` with more query parameters; those it has are kept (a session's state may ride on them)."""
    return location + ("&" if "?" in location else "?") + urlencode(parameters)


# Challenges and tokens ------------------------------------------------------------------------------------------------


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


# The application in this process --------------------------------------------------------------------------------------


class AppTransport(httpx2.AsyncBaseTransport):
    """Sends requests to an ASGI application in the running event loop.

    Unlike `httpx2.ASGITransport` it hands on the exact target, streams both bodies (the request's is read only as the
    application asks, the answer's waits for its reader), tells the application when its client leaves, and holds the
    application to ASGI: lower-case header names, as many bytes as Content-Length says, none after 204 or 304.
    """

    def __init__(self, app: Application, client: tuple[str, int] = ("127.0.0.1", 49152)) -> None:
        self._app = app
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        visit = _Visit(request)
        visit.begin(self._app, self._scope(request))
        try:
            status, headers = await visit.head()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await visit.leave()
            raise
        return httpx2.Response(status, headers=headers, stream=visit)

    def _scope(self, request: httpx2.Request) -> dict[str, Any]:
        target = bytes(request.extensions.get("target", request.url.raw_path))
        raw_path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": self._client,
            "server": (request.url.host, request.url.port or 80),
        }


class _Visit(httpx2.AsyncByteStream):
    """One request on its way through an application; as a stream, the body of the answer."""

    def __init__(self, request: httpx2.Request) -> None:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        self._method = request.method
        self._pieces = aiter(request.stream)
        self._piece: asyncio.Future[bytes | None] | None = None
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self._over = asyncio.Event()
        self._head: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._promised: int | None = None
        self._sent = 0

    def begin(self, app: Application, scope: dict[str, Any]) -> None:
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
            if not self._over.is_set():
                raise AssertionError(
                    f"{self._method} {scope['raw_path']!r}: the application returned, but did not answer"
                )
        except BaseException as error:
            self._break(error)
            raise

    def _break(self, error: BaseException) -> None:
        """Whoever waits for the answer gets `error`; the application, if it still runs, sees its client leave."""
        self._broken = self._broken or error
        self._over.set()
        if not self._head.done():
            self._head.set_exception(self._broken)
            self._head.exception()  # seen: a visitor who left already shall not be warned
        if self._body.full():
            self._body.get_nowait()
        self._body.put_nowait(None)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        return await asyncio.shield(self._head)

    async def _receive(self) -> Message:
        if self._over.is_set():
            return {"type": "http.disconnect"}
        if self._piece is None:
            # A future of its own, so that an application which times out in receive() loses no bytes.
            self._piece = asyncio.ensure_future(_next(self._pieces))
        await self._unless_over(self._piece)
        if not self._piece.done():
            return {"type": "http.disconnect"}
        if (error := self._piece.exception()) is not None:
            self._break(error)
            return {"type": "http.disconnect"}
        piece = self._piece.result()
        if piece is None:
            self._piece = asyncio.get_running_loop().create_future()  # nothing more comes: the next receive() waits
            return {"type": "http.request", "body": b"", "more_body": False}
        self._piece = None
        return {"type": "http.request", "body": piece, "more_body": True}

    async def _send(self, message: Message) -> None:
        if self._over.is_set():
            return  # as servers do when the client has left
        if message["type"] == "http.response.start":
            self._start(message["status"], [(bytes(name), bytes(value)) for name, value in message.get("headers", ())])
        elif message["type"] == "http.response.body":
            await self._add(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise AssertionError(f"the application sent {message['type']}, which this server does not offer")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self._head.done(), "the application started two answers"
        for name, value in headers:
            assert name == name.lower(), f"ASGI wants lower-case header names, not {name!r}"
            assert b"\n" not in value and b"\r" not in value, f"header {name!r} holds a line break: {value!r}"
            if name == b"content-length" and self._method != "HEAD" and status != 304:
                self._promised = int(value)
        if status in (204, 304):
            self._promised = 0
        self._head.set_result((status, headers))

    async def _add(self, body: bytes, *, more: bool) -> None:
        assert self._head.done(), "the application sent a body before its answer's head"
        if self._method != "HEAD":
            self._sent += len(body)
            if self._promised is not None:
                fits = self._sent <= self._promised if more else self._sent == self._promised
                assert fits, f"Content-Length promises {self._promised} bytes, the application sent {self._sent}"
            if body:
                await self._queue(body)
        if not more:
            await self._queue(None)
            self._over.set()

    async def _queue(self, item: bytes | None) -> None:
        """Wait until the reader has room, or has left."""
        room = asyncio.ensure_future(self._body.put(item))
        try:
            await self._unless_over(room)
        finally:
            room.cancel()

    async def _unless_over(self, event: asyncio.Future[Any]) -> None:
        """Wait for `event`, but no longer than the client is there."""
        over: asyncio.Future[Any] = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({event, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._body.get()) is not None:
            yield piece
        if self._broken is not None:
            raise self._broken

    async def aclose(self) -> None:
        await self.leave()
        if self._broken is not None:
            raise self._broken

    async def leave(self) -> None:
        """The client is gone: tell the application and wait until it is done."""
        self._over.set()
        if self._piece is not None:
            self._piece.cancel()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_SOON)
            self._task.cancel()


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[Application]:
    """Run `app`'s lifespan around a block, as a server does: a registry made with ``manage=True`` opens and closes."""
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    outgoing: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, incoming.get, outgoing.put))

    async def step(word: str) -> None:
        await incoming.put({"type": f"lifespan.{word}"})
        said = asyncio.ensure_future(outgoing.get())
        await asyncio.wait({task, said}, return_when=asyncio.FIRST_COMPLETED)
        if not said.done():
            said.cancel()
            await task
            raise AssertionError(f"the application's lifespan ended at {word}")
        if said.result()["type"] != f"lifespan.{word}.complete":
            raise AssertionError(f"{word} failed: {said.result().get('message', '')}")

    await step("startup")
    try:
        yield app
    finally:
        await step("shutdown")
        await task


# The client -----------------------------------------------------------------------------------------------------------


class RegistryClient:
    """Speaks to one registry, at `base_url` or as `app` in this process (then `base_url` is only its name).

    `sign_in` says what it does about a 401: ``auto`` follows the challenge (token or Basic), ``basic`` sends
    `credentials` from the first request on, ``never`` shows the 401 to the test. A request that carries its own
    Authorization header is sent as it stands. `realms` names further hosts that may see the credentials, where the
    token service lives elsewhere. `tokens` may be shared with other clients.

    Targets are paths with their query as they shall stand on the request line (nothing is quoted, cleaned or decoded)
    or absolute URLs (a ``Location``); to another host they go without Authorization.
    """

    def __init__(
        self,
        base_url: str = "http://registry.test",
        *,
        app: Application | None = None,
        credentials: Credentials | None = None,
        sign_in: Literal["auto", "basic", "never"] = "auto",
        realms: Iterable[str] = (),
        tokens: Tokens | None = None,
        timeout: float = 60.0,
        verify: bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ValueError(f"{base_url!r} is not the address of a registry: give scheme, host and port, no path")
        self.base_url = f"{parts.scheme}://{parts.netloc}"
        self.in_process = app is not None
        self.credentials = credentials
        self._app = app
        self._sign_in = sign_in
        self._realms = frozenset(realms)
        self._tokens: Tokens = {} if tokens is None else tokens
        self._asked: dict[tuple[str, ...], Challenge] = {}
        self._timeout = timeout
        self._verify = verify
        self._clients: dict[str, httpx2.AsyncClient] = {}
        self._open = AsyncExitStack()

    @property
    def host(self) -> str:
        """``host[:port]`` as clients write it before a repository's name."""
        return urlsplit(self.base_url).netloc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._open.aclose()
        self._clients.clear()

    # Saying something

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        content: Body = b"",
        follow: bool = False,
    ) -> httpx2.Response:
        """Send one request and read the whole answer. `follow` goes after redirects, for GET and HEAD."""
        async with self.stream(method, target, headers=headers, content=content, follow=follow) as answer:
            await answer.aread()
        return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        content: Body = b"",
        follow: bool = False,
    ) -> AsyncIterator[httpx2.Response]:
        """Like `request`, with the answer's body still unread."""
        answer = await self._signed(method, target, headers, content)
        try:
            for _ in range(_MOST_REDIRECTS if follow and method in ("GET", "HEAD") else 0):
                if answer.status_code not in _REDIRECTS:
                    break
                await answer.aread()
                target = str(httpx2.URL(self._absolute(target)).join(answer.headers["location"]))
                answer = await self._signed(method, target, headers, b"")
            yield answer
        finally:
            await answer.aclose()

    async def _signed(self, method: str, target: str, headers: Headers, content: Body) -> httpx2.Response:
        url = self._absolute(target)
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        own = any(name.lower() == "authorization" for name, _ in pairs)
        if _origin(url) != self.base_url:
            foreign = [(name, value) for name, value in pairs if name.lower() != "authorization"]
            return await self._send(method, url, foreign, content)
        if own or self._sign_in == "never":
            return await self._send(method, url, pairs, content)
        lane = _lane(method, url)
        known = await self._known(lane)
        answer = await self._send(method, url, [*pairs, *_authorization(known)], content)
        if answer.status_code != 401 or not (isinstance(content, bytes) or callable(content)):
            return answer
        await answer.aread()
        value = await self._answer_to(answer, lane, refused=known)
        if value is None:
            return answer
        await answer.aclose()
        return await self._send(method, url, [*pairs, *_authorization(value)], content)

    async def _send(self, method: str, url: str, headers: list[tuple[str, str]], content: Body) -> httpx2.Response:
        body = content() if callable(content) else content
        # Identity, because digests are of the bytes that travel; a test may still ask for another coding.
        given = {name.lower() for name, _ in headers}
        extra = [] if "accept-encoding" in given else [("Accept-Encoding", "identity")]
        origin = _origin(url)
        request = httpx2.Request(
            method,
            origin + "/",
            # As bytes: a test may want to send what no client would.
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*headers, *extra]],
            content=body or None,
            extensions={"target": url[len(origin) :].encode("latin-1") or b"/"},
        )
        request.method = method  # httpx2 writes methods in capitals; the wire knows `get` and `GET` as two
        return await self._client(origin).send(request, stream=True)

    def _client(self, origin: str) -> httpx2.AsyncClient:
        if origin not in self._clients:
            transport: httpx2.AsyncBaseTransport
            if self._app is not None and origin == self.base_url:
                transport = AppTransport(self._app)
            else:
                transport = httpx2.AsyncHTTPTransport(verify=self._verify, trust_env=False)
            client = httpx2.AsyncClient(transport=transport, timeout=self._timeout, trust_env=False)
            self._clients[origin] = client
            self._open.push_async_callback(client.aclose)
        return self._clients[origin]

    def _absolute(self, target: str) -> str:
        return target if re.match(r"https?://", target) else self.base_url + target

    # Signing in

    async def authorization(self, method: str, target: str) -> str | None:
        """The Authorization header this client would send with such a request; None when it needs none.

        For tests that speak to the socket themselves. Asks the registry for its challenge when it is not known yet.
        """
        lane = _lane(method, self._absolute(target))
        known = await self._known(lane)
        if known is None and self._sign_in != "never":
            answer = await self._send(method, self._absolute(target), [], b"")
            await answer.aread()
            await answer.aclose()
            known = await self._answer_to(answer, lane) if answer.status_code == 401 else None
        return known

    async def _known(self, lane: tuple[str, ...]) -> str | None:
        """What can be sent without asking first."""
        if self._sign_in == "basic" and self.credentials is not None:
            return self.credentials.basic
        challenge = self._asked.get(lane)
        return None if challenge is None else await self._respond(challenge)

    async def _answer_to(
        self, answer: httpx2.Response, lane: tuple[str, ...], refused: str | None = None
    ) -> str | None:
        """What to send after this 401; None when there is nothing better than what was `refused`."""
        for challenge in challenges(answer):
            value = await self._respond(challenge, refused)
            if value is not None and value != refused:
                self._asked[lane] = challenge
                return value
        return None

    async def _respond(self, challenge: Challenge, refused: str | None = None) -> str | None:
        if challenge.scheme == "bearer":
            return await self._bearer(challenge, refused)
        if challenge.scheme == "basic" and self.credentials is not None:
            return self.credentials.basic
        return None

    async def _bearer(self, challenge: Challenge, refused: str | None) -> str | None:
        name = "" if self.credentials is None else self.credentials.name
        key = (self.base_url, name, challenge.scopes)
        token = self._tokens.get(key)
        if token is None or token.ends < time.monotonic() + _SOON or f"Bearer {token.value}" == refused:
            token = await self._fetch(challenge)
            if token is None:
                return None
            self._tokens[key] = token
        return f"Bearer {token.value}"

    async def _fetch(self, challenge: Challenge) -> Token | None:
        """Ask the realm for a token (Docker token specification, GET)."""
        parameters = [("service", challenge.parameters["service"])] if "service" in challenge.parameters else []
        parameters += [("scope", scope) for scope in challenge.scopes]
        answer = await self.token(challenge.parameters["realm"], parameters)
        if answer.status_code != 200:
            if self.credentials is None:
                return None  # the registry has nothing for strangers: the test shall see its 401
            raise SignInError(f"no token for {self.credentials.name}\n{exchange(answer)}")
        said = answer.json()
        return Token(said.get("token") or said["access_token"], time.monotonic() + said.get("expires_in", 60))

    async def token(self, realm: str, parameters: Iterable[tuple[str, str]]) -> httpx2.Response:
        """GET the token service at `realm` with this client's credentials, if it has any."""
        url = self._absolute(realm)
        origin = _origin(url)
        if origin != self.base_url and self.credentials is not None and urlsplit(origin).netloc not in self._realms:
            raise SignInError(
                f"{self.base_url} sends its visitors to {realm} to sign in: another host, which sees the credentials "
                f"only when it is named in realms"
            )
        query = urlencode(list(parameters))
        headers = [] if self.credentials is None else [("Authorization", self.credentials.basic)]
        answer = await self._send("GET", url + ("&" if "?" in url else "?") * bool(query) + query, headers, b"")
        await answer.aread()
        await answer.aclose()
        return answer

    # The few things that every test does

    async def start_upload(self, repository: str) -> str:
        """Open an upload session; its Location."""
        answer = expect(await self.request("POST", f"/v2/{repository}/blobs/uploads/"), 202)
        return answer.headers["location"]

    async def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push `data` by POST and PUT; its digest."""
        name = digest(data, algorithm)
        location = await self.start_upload(repository)
        headers = {"Content-Type": "application/octet-stream"}
        expect(await self.request("PUT", with_query(location, digest=name), headers=headers, content=data), 201)
        return name

    async def pull_blob(self, repository: str, name: str) -> bytes:
        """The bytes of a blob, wherever a redirect leads."""
        answer = await self.request("GET", f"/v2/{repository}/blobs/{quote(name, safe=':')}", follow=True)
        return expect(answer, 200).content

    async def put_manifest(
        self, repository: str, reference: str, manifest: Content, *, query: str = "", headers: Headers = ()
    ) -> httpx2.Response:
        """PUT a manifest; `query` includes its question mark."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        return await self.request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}{query}",
            headers=[("Content-Type", manifest.media_type), *pairs],
            content=manifest.body,
        )

    async def get_manifest(self, repository: str, reference: str, *, method: str = "GET") -> httpx2.Response:
        """GET a manifest, as docker asks for it."""
        accept = ", ".join(MANIFEST_TYPES)
        return await self.request(method, f"/v2/{repository}/manifests/{reference}", headers={"Accept": accept})

    async def push(self, repository: str, reference: str | None, manifest: Content, *blobs: Content) -> Content:
        """Push `blobs`, then `manifest` (by digest when `reference` is None); hand the manifest back."""
        for each in blobs:
            await self.push_blob(repository, each.body)
        expect(await self.put_manifest(repository, reference or manifest.digest, manifest), 201)
        return manifest

    async def push_image(self, repository: str, reference: str | None, **fields: Any) -> Content:
        """Push an image of one small layer of its own; `fields` go into the manifest."""
        layer = blob(f"layer of {repository} {reference} {time.time_ns()}".encode())
        return await self.push(repository, reference, image(EMPTY, [layer], **fields), EMPTY, layer)


def _authorization(value: str | None) -> list[tuple[str, str]]:
    return [] if value is None else [("Authorization", value)]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_NOUN = re.compile(r"/(?:manifests/[^/]*|blobs/.*|tags/list|referrers/[^/]*)$")


def _lane(method: str, url: str) -> tuple[str, ...]:
    """Requests of one lane need the same rights, so one challenge serves them all.

    A client could work out the scope by itself, but then nobody would notice a registry that asks for a wrong one.
    """
    parts = urlsplit(url)
    kind = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(method, "push")
    if kind == "delete" and "/blobs/uploads/" in parts.path:
        kind = "cancel"
    source = dict(parse_qsl(parts.query)).get("from", "") if kind == "push" else ""
    return (kind, _NOUN.sub("", parts.path), source)
