"""Manifests: GET, HEAD, PUT, DELETE ``/v2/<name>/manifests/<reference>``."""

from __future__ import annotations

from corereg.http.conditions import etags, is_known
from corereg.http.paths import Target
from corereg.messages import Request, Response
from corereg.oci.digest import Digest
from corereg.oci.errors import ManifestTooLarge, TagInvalid
from corereg.oci.names import Tag, parse_reference
from corereg.session import Precondition, Session


async def get_manifest(session: Session, request: Request, target: Target) -> Response:
    """The exact bytes that were pushed, with the type they were pushed with, whatever ``Accept`` says: converting would
    change the digest.
    """
    head = request.method == "HEAD"
    found = await session.manifest(target.repository, parse_reference(target.reference), head=head)
    digest = found.digest.encode()
    headers = [(b"docker-content-digest", digest), (b"etag", b'"%s"' % digest)]
    if is_known(request, found.digest):
        return Response(304, raw=headers)
    headers += [
        (b"content-type", found.media_type.encode("latin-1")),
        (b"content-length", b"%d" % found.size),
        (b"x-content-type-options", b"nosniff"),
    ]
    return Response(200, body=found.body, raw=headers)


async def put_manifest(session: Session, request: Request, target: Target) -> Response:
    """Store a manifest, by tag or by digest, and set further tags with ``?tag=``."""
    reference = parse_reference(target.reference)
    tags = [Tag.parse(text) for text in request.query.get("tag", ())]
    if tags and isinstance(reference, Tag):
        message = "the parameter tag goes with a push by digest; put the manifest to its digest"
        raise TagInvalid(message)
    precondition = _precondition(request)
    await session.may_put(target.repository, reference, precondition)
    body = await request.body(session.manifest_limit, ManifestTooLarge)
    pushed = await session.put_manifest(
        target.repository,
        reference,
        body,
        request.header(b"content-type"),
        tags=tags,
        precondition=precondition,
    )
    headers = [
        ("location", f"{request.prefix}/v2/{target.repository}/manifests/{pushed.digest}"),
        ("docker-content-digest", str(pushed.digest)),
        ("content-length", "0"),
    ]
    if pushed.subject:
        headers.append(("oci-subject", pushed.subject))
    if tags:
        headers.append(("oci-tag", ", ".join(dict.fromkeys(map(str, tags)))))
    return Response(201, headers)


def _precondition(request: Request) -> Precondition | None:
    """Compare-and-set, which the specification invites clients to use for tags that several write."""
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is None and none_match is None:
        return None
    return Precondition(None if match is None else etags(match, weak=False), etags(none_match or ""))


async def delete_manifest(session: Session, request: Request, target: Target) -> Response:
    """A tag goes alone; a manifest goes with its tags."""
    reference: Digest | Tag = parse_reference(target.reference)
    await session.delete_manifest(target.repository, reference, precondition=_precondition(request))
    return Response(202, [("content-length", "0")])
