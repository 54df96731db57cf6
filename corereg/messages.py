"""What comes in and what goes out: Request, Response, Route.

Values without policy: the ASGI plumbing lives in `corereg.http`, rights in the Session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, quote

import msgspec

from corereg.access import Action
from corereg.oci.errors import BodyTooLarge, NameInvalid

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

Item = TypeVar("Item")

PATHSEND = "http.response.pathsend"
"""The extension of ASGI by which a server sends a file."""
LINGERS = "corereg.response.lingers"
"""An extension of our own: the server does not close a connection with the last byte of an answer that came early."""
MOST_PARAMETERS = 1000
_SAFE = "/~!$&'()*+=:@"
LONGEST_LENGTH = 20
"""Digits of a length that are read: Python reads numbers of thousands of digits slowly, or not at all."""


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


class Request:
    """One HTTP request.

    `path` is percent-decoded once and stands below `root_path`, the prefix an application we are mounted in has taken
    off. `headers` has lower-case names. `address` is the client's address, as the gate believes it.
    """

    # Defaults of the class: to set them on each pull would be felt.
    number = b""
    """What the answer's ``X-Request-Id`` says."""
    operation = "unknown"
    """The name of the handler, once it is known; never anything the client wrote."""
    caller = ""
    """The name of the identity, once it is known."""
    received = 0
    """Bytes of the body that came so far."""
    sent = 0
    """Bytes of the answer's body that went so far."""

    def __init__(self, scope: Scope, receive: Receive, *, address: str | None = None) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.root_path: str = scope.get("root_path", "")
        path: str = scope["path"]
        self.path = path[len(self.root_path) :] if self.root_path and path.startswith(self.root_path) else path
        client = scope.get("client")
        self.address: str | None = address or (client[0] if client else None)
        self.consumed = False
        """Whether the body was read to its end."""
        self._receive = receive
        self._first: Mapping[bytes, bytes] = dict(reversed(tuple(scope["headers"])))

    @property
    def prefix(self) -> str:
        """`root_path` as it stands in a URL: what addresses of ours begin with."""
        return quote(self.root_path, safe=_SAFE) if self.root_path else ""

    @property
    def id(self) -> str:
        """The same as text; in every line that is logged meanwhile."""
        return self.number.decode()

    def header(self, name: bytes) -> str | None:
        """The first header of that lower-case name."""
        value = self._first.get(name)
        return None if value is None else str(value, "latin-1")

    def raw_header(self, name: bytes) -> bytes | None:
        """The same as it came."""
        return self._first.get(name)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """All headers; several of one name are joined by a comma."""
        found: dict[str, str] = {}
        for key, value in self.scope["headers"]:
            name, text = str(key, "latin-1").lower(), str(value, "latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
        return found

    def cookie(self, name: str) -> str | None:
        """The cookie of that name, as it was sent; of several, the first."""
        fields = (str(value, "latin-1") for key, value in self.scope["headers"] if key == b"cookie")
        for part in (part for field in fields for part in field.split(";")):  # HTTP/2 may send a field for each cookie
            key, equals, value = part.partition("=")
            if equals and key.strip() == name:
                return value.strip().strip('"')
        return None

    @cached_property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """The query's parameters, percent-decoded, each with all its values in order."""
        raw: bytes = self.scope.get("query_string", b"")
        if not raw:
            return {}
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
            )
        except ValueError:
            message = (
                f"the query string cannot be read; percent-encode it as UTF-8, at most {MOST_PARAMETERS} parameters"
            )
            raise NameInvalid(message) from None
        found: dict[str, tuple[str, ...]] = {}
        for name, value in pairs:
            found[name] = (*found.get(name, ()), value)
        return found

    def parameter(self, name: str) -> str | None:
        """The parameter's only value, None when it is absent; several that differ are refused."""
        values = self.query.get(name)
        if values is None:
            return None
        if len(set(values)) > 1:
            message = f"the parameter {name} is given {len(values)} times with different values; send one"
            raise NameInvalid(message)
        return values[0]

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes, None when it is not announced; what no body has is only large."""
        text = self.header(b"content-length")
        if text is None or not (text.isascii() and text.isdigit()):
            return None
        return int(text.lstrip("0")[:LONGEST_LENGTH] or "0")

    @property
    def sends_body(self) -> bool:
        """Whether a body was announced, with its length or without."""
        return b"transfer-encoding" in self._first or (b"content-length" in self._first and bool(self.length))

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises ClientGone when the connection ends before the body does."""
        while not self.consumed:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.consumed = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            if chunk:
                self.received += len(chunk)
                yield chunk

    async def gone(self) -> None:
        """Returns when the client has closed the connection; what is left of its body is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def drained(self) -> None:
        """Returns when the rest of the body has come, and was dropped, or the connection is closed."""
        with suppress(ClientGone):
            async for _ in self.stream():
                pass

    async def form(self, limit: int) -> Mapping[str, str]:
        """The fields of an ``application/x-www-form-urlencoded`` body, of several the last. Raises NameInvalid."""
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            message = "send the form as application/x-www-form-urlencoded"
            raise NameInvalid(message)
        try:
            text = (await self.body(limit)).decode("ascii")
            return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS))
        except ValueError:
            message = "the form cannot be read; percent-encode it as UTF-8"
            raise NameInvalid(message) from None

    async def body(self, limit: int, too_large: type[BodyTooLarge] | Callable[[], Exception] = BodyTooLarge) -> bytes:
        """The whole body, at most `limit` bytes; counted while it arrives, whatever was announced."""
        if self.length is not None and self.length > limit:
            raise too_large()
        parts: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > limit:
                raise too_large()
            parts.append(chunk)
        return b"".join(parts)


CURRENT: ContextVar[Request | None] = ContextVar("corereg_request", default=None)
"""The request that is being answered in this task, for whoever writes a line of the log."""


class Response:
    """One HTTP response: a status, headers with lower-case names, and a body.

    The body is there, or comes in pieces, or lies in a local file (`path`) for servers that send files by themselves.
    `first` is the piece that was fetched already. `raw` are headers in the place of `headers`, as bytes already.
    """

    __slots__ = ("body", "first", "headers", "path", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        raw: RawHeaders | None = None,
        path: str | None = None,
    ) -> None:
        self.status = status
        self.headers: RawHeaders = (
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers] if raw is None else raw
        )
        self.body = body
        self.first = b""
        self.path = path

    @property
    def length(self) -> int | None:
        """What ``content-length`` says, None without one."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
        """A response of JSON, with its length."""
        body = msgspec.json.encode(value)
        return cls(status, [("content-type", "application/json"), ("content-length", str(len(body))), *headers], body)


class Open(msgspec.Struct, frozen=True):
    """A route anybody may call."""


class SignedIn(msgspec.Struct, frozen=True):
    """A route for everybody who is somebody."""


OPEN: Final = Open()
SIGNED_IN: Final = SignedIn()


class Listed(Generic[Item]):
    """One page of a list, as a handler returns it: `items`, and how many there are on all pages.

    The body is the array of items; ``X-Total-Count`` and ``Link`` are made from the total and the request's `Listing`.
    """

    __slots__ = ("items", "total")

    def __init__(self, items: Sequence[Item], total: int) -> None:
        self.items = items
        self.total = total


class Created(Generic[Item]):
    """A handler has made something: 201, ``Location: <path of the request>/<id>``, and `body`, if any, as JSON.

    `location` replaces the path where the thing is found elsewhere; it begins with a slash, below the application.
    """

    __slots__ = ("body", "id", "location")

    def __init__(self, id: int | str, body: Item | None = None, *, location: str | None = None) -> None:  # noqa: A002 - the API's word
        self.id = id
        self.body = body
        self.location = location


class Told(Generic[Item]):
    """A value that becomes JSON, as any other, and headers that go out with it."""

    __slots__ = ("body", "headers")

    def __init__(self, body: Item, headers: Iterable[tuple[str, str]]) -> None:
        self.body = body
        self.headers = tuple(headers)


class Route(msgspec.Struct, frozen=True):
    """A plugin's answer to one method and path.

    `path` may hold ``{name}`` segments; ``{name:path}`` takes slashes too and is percent-decoded once more, for names
    that clients encode twice (``a%252Fb``). A segment ``{namespace}`` is a namespace's name or number, asked from
    `resolve_namespace`; ``{namespace:name}`` is always its name. Both fill a parameter ``namespace`` (`Namespace`).

    `handler` is an async function whose first parameter is the Session; further parameters are filled by name: segments
    of the path (typed by annotation), ``query``, ``body`` and ``form`` (msgspec Structs, checked before the handler
    runs), ``request``. It returns a `Response`, a `Listed`, a `Created`, a `Told`, None, or a value that becomes JSON;
    its return annotation is what the OpenAPI document says.

    `needs` says what the caller must be allowed: an `Action`, whose scope may name segments (``{namespace}/*``),
    `SIGNED_IN`, or `OPEN`. A route without it does not start.

    `tag` groups operations, `errors` are statuses beyond those every route may answer, `produces` is the media type of
    a body that is no JSON, `extension` marks what Harbor's API does not have.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    needs: Action | Open | SignedIn
    summary: str = ""
    status: int = 200
    tag: str = ""
    errors: tuple[int, ...] = ()
    produces: str = "application/json"
    extension: bool = False
