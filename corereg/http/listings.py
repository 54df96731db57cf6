"""Lists: tags, catalog, referrers; sorted in byte order, paged with ``n`` and ``last``, continued by ``Link``."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec

from corereg.http.paths import Target
from corereg.messages import Request, Response
from corereg.oci.digest import Digest
from corereg.oci.errors import PageInvalid
from corereg.session import Session

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REFERRERS_AT_ONCE = 64
REFERRERS_BYTES = 4 * 1024 * 1024 - 4096
"""A list of referrers is an index and has to fit into one manifest of 4 MiB; the rest comes on the next page."""
LONGEST_LAST = 1024


async def list_tags(session: Session, request: Request, target: Target) -> Response:
    """``{"name": ..., "tags": [...]}``."""
    limit, last = _page(session, request)
    page = await session.tags(target.repository, last, limit)
    path = f"/v2/{target.repository}/tags/list"
    more = _link(request, path, n=str(limit), last=page.names[-1]) if page.more and page.names else []
    return Response.json({"name": target.repository, "tags": page.names}, headers=more)


async def list_repositories(session: Session, request: Request, target: Target) -> Response:  # noqa: ARG001 - a handler's signature
    """``{"repositories": [...]}``: those the caller may pull."""
    limit, last = _page(session, request)
    page = await session.repositories(last, limit)
    more = _link(request, "/v2/_catalog", n=str(limit), last=page.names[-1]) if page.more and page.names else []
    return Response.json({"repositories": page.names}, headers=more)


async def list_referrers(session: Session, request: Request, target: Target) -> Response:
    """An index of the manifests whose subject is the digest; empty, never 404."""
    subject = Digest.parse(target.reference)
    wanted = request.parameter("artifactType") or None
    if wanted is not None and not wanted.isprintable():
        message = "artifactType is no media type; send one such as application/vnd.example.sbom"
        raise PageInvalid(message)
    last = _last(request)
    descriptors: list[msgspec.Raw] = []
    size, more = 0, True
    while more:
        rows = await session.referrers(
            target.repository, subject, artifact_type=wanted, last=last, limit=REFERRERS_AT_ONCE
        )
        more = len(rows) == REFERRERS_AT_ONCE
        for digest, descriptor in rows:
            size += len(descriptor) + 1
            if descriptors and size > REFERRERS_BYTES:
                return _referrers(request, target, descriptors, wanted, last)
            descriptors.append(msgspec.Raw(descriptor.encode()))
            last = digest
    return _referrers(request, target, descriptors, wanted, None)


def _referrers(
    request: Request, target: Target, descriptors: list[msgspec.Raw], wanted: str | None, last: str | None
) -> Response:
    body = msgspec.json.encode({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors})
    headers = [("content-type", INDEX_TYPE), ("content-length", str(len(body)))]
    if wanted is not None:
        headers.append(("oci-filters-applied", "artifactType"))
    if last is not None:
        more = {"last": last} | ({"artifactType": wanted} if wanted else {})
        headers += _link(request, f"/v2/{target.repository}/referrers/{target.reference}", **more)
    return Response(200, headers, body)


def _page(session: Session, request: Request) -> tuple[int, str]:
    """How many names, at most what the config allows, and after which."""
    text = request.parameter("n")
    if text is None:
        return session.page_size, _last(request)
    if not (text.isascii() and text.isdigit()):
        raise PageInvalid
    return min(int(text.lstrip("0")[:10] or "0"), session.page_size), _last(request)


def _last(request: Request) -> str:
    last = request.parameter("last") or ""
    if len(last) > LONGEST_LAST or "\x00" in last:
        message = "last is no name; send the last name of the page before"
        raise PageInvalid(message)
    return last


def _link(request: Request, path: str, **parameters: str) -> list[tuple[str, str]]:
    target = f"{request.prefix}{quote(path, safe='/:')}?{urlencode(parameters)}"
    return [("link", f'<{target}>; rel="next"')]
