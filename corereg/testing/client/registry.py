"""One registry, as every docker client reaches it: by its paths, and with the sign-in."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx2

from corereg.testing.client.answers import exchange, expect, with_query
from corereg.testing.client.application import Application, AppTransport
from corereg.testing.client.content import EMPTY, MANIFEST_TYPES, Content, blob, digest, image
from corereg.testing.client.signin import Challenge, Credentials, SignInError, Token, Tokens, challenges

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
# A body can be bytes (sent with Content-Length) or pieces (sent chunked). Only a function that makes the pieces anew
# can be sent again when the first try is answered 401.
Body = bytes | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_SOON = 5.0  # seconds a token must still live to be used


@cache
def _authorities(verify: bool) -> ssl.SSLContext:  # noqa: FBT001 - httpx2's word
    """Whose certificates are believed. To read them takes longer than most tests do."""
    return httpx2.create_ssl_context(verify=verify, trust_env=False)


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
                transport = httpx2.AsyncHTTPTransport(verify=_authorities(self._verify), trust_env=False)
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
