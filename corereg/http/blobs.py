"""Blobs: GET, HEAD, DELETE ``/v2/<name>/blobs/<digest>``."""

from __future__ import annotations

from functools import lru_cache

from corereg.http.conditions import is_known, parse_range
from corereg.http.paths import Target
from corereg.messages import Request, Response
from corereg.oci.digest import Digest
from corereg.session import Session

_CONTENT = (
    (b"content-type", b"application/octet-stream"),
    # What somebody uploaded must never run in a browser as a page of this host.
    (b"content-disposition", b"attachment"),
    (b"x-content-type-options", b"nosniff"),
)


@lru_cache(maxsize=1024)
def _described(digest: str) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer says of the blob."""
    encoded = digest.encode()
    return (
        (b"docker-content-digest", encoded),
        (b"etag", b'"%s"' % encoded),
        (b"cache-control", b"private, max-age=31536000, immutable"),
        (b"accept-ranges", b"bytes"),
    )


async def get_blob(session: Session, request: Request, target: Target) -> Response:
    """The bytes, or a part of them, or where the storage gives them out by itself."""
    head = request.method == "HEAD"
    blob = await session.blob(target.repository, Digest.parse(target.reference), head=head)
    headers = [*_described(blob.digest)]
    if is_known(request, blob.digest):
        return Response(304, raw=headers)
    if not head:
        location = await session.redirect(blob, method="GET")
        if location is not None:
            headers += [(b"location", location.encode("latin-1")), (b"content-length", b"0")]
            return Response(307, raw=headers)
    headers += _CONTENT
    wanted = None if head else request.header(b"range")
    if wanted is not None and request.header(b"if-range") not in {None, f'"{blob.digest}"'}:
        wanted = None
    span = parse_range(wanted, blob.size)
    if span is None:
        headers.append((b"content-length", b"%d" % blob.size))
        if head or blob.size == 0:
            return Response(200, raw=headers)
        return Response(200, body=session.read(blob), raw=headers, path=session.path(blob))
    start, stop = span
    headers += [
        (b"content-length", b"%d" % (stop - start)),
        (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, blob.size)),
    ]
    return Response(206, body=session.read(blob, start, stop), raw=headers)


async def delete_blob(session: Session, request: Request, target: Target) -> Response:  # noqa: ARG001 - a handler's signature
    """The repository serves the blob no longer."""
    await session.delete_blob(target.repository, Digest.parse(target.reference))
    return Response(202, [("content-length", "0")])
