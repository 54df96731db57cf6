"""Harbor's API as a client speaks it: JSON, pages, ids out of Locations, errors that say what to do.

Redirects are not followed and cookies are not kept: credentials go to the address they were given for, and nowhere
else.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from corereg.client.errors import ClientError, Misuse, TooLong, Unreachable, refusal
from corereg.client.target import Target

if TYPE_CHECKING:  # for the types alone: `corereg --help` must not wait for an HTTP client
    import ssl

    import httpx2

PREFIX = "/api/v2.0"
PAGE = 100
"""Items asked for at once: the most that Harbor gives."""
TIMEOUT = 60.0
"""Seconds without a byte from the server until a command gives up."""
CONNECT = 10.0
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def path_of(*segments: str | int) -> str:
    """A path of the API; each segment is percent-encoded."""
    return "".join(f"/{quote(str(segment), safe='')}" for segment in segments)


def repository_path(project: str, repository: str, *more: str | int) -> str:
    """The path of a repository; its name, without the project, is encoded twice, as Harbor decodes it twice."""
    return path_of("projects", project, "repositories", quote(repository, safe=""), *more)


class API:
    """Requests to one registry, as one user. Raises the errors of `corereg.client.errors`."""

    def __init__(self, target: Target, *, timeout: float = TIMEOUT) -> None:
        self.target = target
        self.timeout = timeout
        self._opened: httpx2.Client | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # ---- what commands say ----

    def get(self, path: str, **query: Any) -> Any:
        """The JSON document at `path`."""
        return _document(self.request("GET", path, query=query))

    def listed(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, a page at a time.

        The next page is asked for by its number, as ``Link`` says it: the address in there is not followed.
        """
        page: int | None = 1
        while page is not None:
            answer = self.request("GET", path, query={"page_size": PAGE, **query, "page": page})
            items = _document(answer)
            if not isinstance(items, list):
                message = f"{path} answers with no list"
                raise ClientError(message, status=answer.status_code)
            yield from items
            page = _next_page(answer, page)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST; the answer's document, None without one."""
        return _document(self.request("POST", path, body, query=query))

    def created(self, path: str, body: Any, **query: Any) -> str:
        """POST; the id at the end of the answer's Location."""
        answer = self.request("POST", path, body, query=query)
        return urlsplit(answer.headers.get("location", "")).path.rstrip("/").rpartition("/")[2]

    def put(self, path: str, body: Any) -> Any:
        """PUT; the answer's document, None without one."""
        return _document(self.request("PUT", path, body))

    def patch(self, path: str, body: Any) -> Any:
        """PATCH; the answer's document, None without one."""
        return _document(self.request("PATCH", path, body))

    def delete(self, path: str) -> None:
        """DELETE."""
        self.request("DELETE", path)

    # ---- the registry's own protocol, below /v2/ ----

    def manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        """The bytes of a manifest, and its media type."""
        path = f"/{quote(repository)}/manifests/{quote(reference, safe=':')}"
        answer = self.request("GET", path, headers={"accept": ", ".join(MANIFESTS)}, prefix="/v2")
        return answer.content, str(answer.headers.get("content-type", ""))

    def put_manifest(self, repository: str, tag: str, manifest: bytes, media_type: str) -> None:
        """Put a manifest under a tag: in one step the tag points there, wherever it pointed before."""
        path = f"/{quote(repository)}/manifests/{quote(tag, safe='')}"
        self.request("PUT", path, manifest, headers={"content-type": media_type}, prefix="/v2")

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what refers to a manifest: signatures, SBOMs, attestations."""
        path = f"/{quote(repository)}/referrers/{quote(digest, safe=':')}"
        found: list[dict[str, Any]] = _document(self.request("GET", path, prefix="/v2")).get("manifests", [])
        return found

    # ---- one request ----

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        prefix: str = PREFIX,
    ) -> httpx2.Response:
        """One request below `prefix`; parameters that are None are left out. Raises for 300 and more.

        `body` is sent as JSON; bytes as they are, then `headers` say what they are.
        """
        from uuid import uuid4

        import httpx2

        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        request_id = str(uuid4())
        sent = {"x-request-id": request_id, "x-is-resource-name": "true"}
        if content is not None:
            sent["content-type"] = "application/json"
        sent |= headers or {}
        parameters = {name: _text(name, value) for name, value in (query or {}).items() if value is not None}
        try:
            answer = self._client().request(
                method, f"{self.target.url}{prefix}{path}", params=parameters or None, content=content, headers=sent
            )
        except httpx2.HTTPError as error:
            raise _unanswered(error, self.target, request_id) from error
        except (httpx2.InvalidURL, UnicodeError) as error:
            message = f"{self.target.url} is no address of a registry: {error}"
            raise Misuse(message, hint="Sign in with `corereg login URL` again, or mend COREREG_URL.") from error
        if answer.status_code >= 300:
            raise self._refused(answer, answer.headers.get("x-request-id", request_id))
        return answer

    def _refused(self, answer: httpx2.Response, request_id: str) -> ClientError:
        if answer.status_code < 400:
            to = answer.headers.get("location", "another address")
            message = f"{self.target.url} sends its visitors to {to}"
            hint = "Sign in there, if you trust it; a redirect is not followed with credentials."
            return Misuse(message, code="REDIRECT", hint=hint, status=answer.status_code, request_id=request_id)
        signed_in = self.target.credentials is not None
        return refusal(answer.status_code, answer.content, request_id, signed_in=signed_in)

    def _client(self) -> httpx2.Client:
        if self._opened is None:
            from http.cookiejar import CookieJar, DefaultCookiePolicy

            import httpx2

            self._opened = httpx2.Client(
                headers={"accept": "application/json", "user-agent": "corereg", **self._authorization()},
                timeout=httpx2.Timeout(self.timeout, connect=min(self.timeout, CONNECT)),
                verify=_authorities(self.target.ca_file),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
            )
        return self._opened

    def _authorization(self) -> dict[str, str]:
        credentials = self.target.credentials
        if credentials is None:
            return {}
        if credentials.token is not None:
            return {"authorization": f"Bearer {credentials.token}"}
        pair = f"{credentials.user}:{credentials.password}".encode()
        return {"authorization": f"Basic {b64encode(pair).decode('ascii')}"}


def _text(name: str, value: Any) -> str:
    """A parameter as text. Harbor decodes ``q`` once more, so what that would change is encoded once more."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("%", "%25").replace("+", "%2B") if name == "q" else str(value)


def _document(answer: httpx2.Response) -> Any:
    if not answer.content:
        return None
    try:
        return msgspec.json.decode(answer.content)
    except msgspec.MsgspecError:
        message = f"{answer.request.url.host} answers with something that is not JSON; is it a registry's address?"
        raise ClientError(message, status=answer.status_code) from None


def _next_page(answer: httpx2.Response, page: int) -> int | None:
    """The number in the ``next`` link; None on the last page, and where it does not lead on."""
    for link, relation in _links(answer.headers.get("link", "")):
        if relation == "next":
            number = parse_qs(urlsplit(link).query).get("page", [""])[0]
            if number.isascii() and number.isdigit() and int(number) > page:
                return int(number)
    return None


def _links(header: str) -> Iterator[tuple[str, str]]:
    """Address and relation of each link; addresses may hold commas that Harbor did not encode."""
    rest = header
    while "<" in rest:
        link, _, rest = rest.partition("<")[2].partition(">")
        yield link, rest.partition("<")[0].partition('rel="')[2].partition('"')[0]


def _authorities(ca_file: str | None) -> ssl.SSLContext | bool:
    """What certificates are checked against: that file alone, else the system's, or SSL_CERT_FILE's, authorities."""
    if ca_file is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        message = f"the certificates in {ca_file} cannot be read: {error.strerror or error}"
        raise Misuse(message, hint="Give a PEM file (--ca-file, COREREG_CA_FILE).") from error


def _unanswered(error: httpx2.HTTPError, target: Target, request_id: str) -> ClientError:
    import ssl

    import httpx2

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = f"the certificate of {target.registry} is not believed: {cause.verify_message}"
        hint = "Give the authority that signed it: --ca-file FILE at `corereg login`, or COREREG_CA_FILE."
        return Unreachable(message, code="TLS", hint=hint)
    if isinstance(cause, ssl.SSLError):
        message = f"{target.registry} does not speak TLS as it should: {cause.reason or cause}"
        return Unreachable(message, code="TLS", hint="For a registry without TLS write http:// before its address.")
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        message = f"{target.registry} has not answered in time"
        return TooLong(message, hint="Try again, or wait longer with --timeout.", request_id=request_id)
    message = f"{target.registry} cannot be reached: {str(error) or type(error).__name__}"
    return Unreachable(message, hint=f"Is {target.url} right, and does the registry run?")
