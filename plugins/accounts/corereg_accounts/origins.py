"""Where a browser's request comes from, and how it reached us."""

from __future__ import annotations

from urllib.parse import urlsplit

from corereg import Forbidden, Request


def check_origin(request: Request, external_url: str | None) -> None:
    """Raise Forbidden for what another site's page makes a browser send (Fetch Metadata, else ``Origin``)."""
    site = request.header(b"sec-fetch-site")
    if site is not None:
        foreign = site.strip().lower() not in {"same-origin", "none"}
    else:
        origin = request.header(b"origin")
        foreign = origin is not None and _host_of(origin) not in _hosts(request, external_url)
    if foreign:
        message = "another site's page may not do this; open this registry's own page"
        raise Forbidden(message)


def _host_of(origin: str) -> str | None:
    """``host[:port]`` of an origin; None for what is no origin at all, and so nobody's of ours."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _hosts(request: Request, external_url: str | None) -> set[str]:
    """What we may be called. A page of another site cannot choose these headers without our leave."""
    own = [request.header(b"host"), request.header(b"x-forwarded-host")]
    if external_url is not None:
        own.append(urlsplit(external_url).netloc)
    return {name.strip().lower() for name in own if name and name.strip()}


def is_https(request: Request, external_url: str | None) -> bool:
    """Whether clients reach us by HTTPS."""
    if external_url is not None:
        return external_url.startswith("https:")
    forwarded = (request.header(b"x-forwarded-proto") or "").partition(",")[0].strip().lower()
    return "https" in {forwarded, request.scope.get("scheme", "http")}
