"""Uploads: POST ``/v2/<name>/blobs/uploads/``; GET, PATCH, PUT, DELETE on what it returned."""

from __future__ import annotations

import re
import uuid
from contextlib import suppress

import anyio

from corereg.http.paths import Target
from corereg.messages import Request, Response
from corereg.oci.digest import ALGORITHMS, Digest
from corereg.oci.errors import BlobUploadUnknown, DigestInvalid, RangeInvalid, SizeInvalid
from corereg.session import Session
from corereg.store.catalog import StoredBlob
from corereg.store.database import DatabaseError
from corereg.store.storage import StorageError
from corereg.store.upload_rows import Upload

_content_range = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?\Z")


async def start_upload(session: Session, request: Request, target: Target) -> Response:
    """Begin an upload; or mount a blob of another repository; or take the whole blob at once with ``?digest=``."""
    repository = target.repository
    mount = request.parameter("mount")
    if mount is not None:
        blob = await _mount(session, request, repository, mount)
        if blob is not None:
            return _created(request, repository, blob)
    text = request.parameter("digest") if mount is None else None
    digest = Digest.parse(text) if text is not None else None
    asked = request.parameter("digest-algorithm")
    algorithm = asked if asked is not None else (digest.algorithm if digest else "sha256")
    if algorithm not in ALGORITHMS:
        message = f"blobs are not hashed with that algorithm here; use one of {', '.join(ALGORITHMS)}"
        raise DigestInvalid(message)
    upload = await session.start_upload(repository, algorithm)
    if digest is not None:
        try:
            blob = await session.finish_upload(upload, digest, request.stream(), length=request.length)
        except BaseException:  # the client has left, for one
            with anyio.CancelScope(shield=True), suppress(DatabaseError, StorageError):  # else it expires
                await session.cancel_upload(upload)  # nobody was told its address
            raise
        return _created(request, repository, blob)
    return Response(202, _headers(request, upload))


async def _mount(session: Session, request: Request, repository: str, text: str) -> StoredBlob | None:
    """A digest nobody can read is no reason to refuse: the client then uploads, and hears of it there."""
    try:
        digest = Digest.parse(text)
    except DigestInvalid:
        return None
    return await session.mount(repository, digest, request.parameter("from"))


async def upload_status(session: Session, request: Request, target: Target) -> Response:
    """How far the upload has come."""
    upload = await _find(session, target)
    return Response(204, _headers(request, upload)[:-1])


async def append(session: Session, request: Request, target: Target) -> Response:
    """A chunk, or a stream of unknown length."""
    upload = await _find(session, target)
    start, length = _announced(request, upload)
    try:
        upload = await session.append(upload, request.stream(), start=start, length=length)
    except RangeInvalid as error:
        raise await _out_of_order(session, request, target, error) from error
    return Response(202, _headers(request, upload))


async def finish(session: Session, request: Request, target: Target) -> Response:
    """The last chunk, or nothing, and the digest of the whole."""
    upload = await _find(session, target)
    text = request.parameter("digest")
    if text is None:
        message = "the parameter digest is missing; close the upload with ?digest=<digest of the whole blob>"
        raise DigestInvalid(message)
    digest = Digest.parse(text)
    # A request that is repeated because its rows could not be written says once more where its bytes belong: there.
    start, length = _announced(request, upload) if upload.stored is None else (None, None)
    try:
        blob = await session.finish_upload(upload, digest, request.stream(), start=start, length=length)
    except RangeInvalid as error:
        raise await _out_of_order(session, request, target, error) from error
    return _created(request, target.repository, blob)


async def cancel(session: Session, request: Request, target: Target) -> Response:  # noqa: ARG001 - a handler's signature
    """Forget the upload."""
    await session.cancel_upload(await _find(session, target))
    return Response(204)


async def _find(session: Session, target: Target) -> Upload:
    try:
        known = str(uuid.UUID(target.reference)) == target.reference
    except ValueError:
        known = False
    if not known:
        await session.may_push(target.repository)
        raise BlobUploadUnknown
    return await session.upload(target.repository, target.reference)


def _announced(request: Request, upload: Upload) -> tuple[int | None, int | None]:
    """Where the client says its bytes begin, and how many it promises.

    ``Content-Range`` is ``<first>-<last>``, inclusive; Docker's documents add ``bytes`` in front and a total behind.
    """
    text = request.header(b"content-range")
    length = request.length
    if text is None:
        return None, length
    match = _content_range.match(text.strip())
    if match is None:
        message = "Content-Range cannot be read; write <first byte>-<last byte>"
        raise RangeInvalid(message, headers=dict(_headers(request, upload)))
    first, last = int(match[1]), int(match[2])
    promised = last - first + 1
    if promised < 1:
        message = f"Content-Range {first}-{last} ends before it begins"
        raise RangeInvalid(message, headers=dict(_headers(request, upload)))
    if first != upload.received:  # told before the length is compared: whoever is lost must learn where to go on
        message = f"the chunk starts at {first}, the upload goes on at {upload.received}"
        raise RangeInvalid(message, headers=dict(_headers(request, upload)))
    if length is not None and length != promised:
        message = f"Content-Range {first}-{last} and the length of the body ({length}) do not agree"
        raise SizeInvalid(message)
    return first, promised


async def _out_of_order(session: Session, request: Request, target: Target, error: RangeInvalid) -> RangeInvalid:
    """416, with what the client needs to go on."""
    upload = await session.upload(target.repository, target.reference)
    return RangeInvalid(error.message, headers=dict(_headers(request, upload)))


def _headers(request: Request, upload: Upload) -> list[tuple[str, str]]:
    return [
        ("location", f"{request.prefix}/v2/{upload.repository}/blobs/uploads/{upload.id}"),
        ("range", f"0-{max(upload.received - 1, 0)}"),
        ("docker-upload-uuid", upload.id),
        ("content-length", "0"),
    ]


def _created(request: Request, repository: str, blob: StoredBlob) -> Response:
    return Response(
        201,
        [
            ("location", f"{request.prefix}/v2/{repository}/blobs/{blob.digest}"),
            ("docker-content-digest", blob.digest),
            ("content-length", "0"),
        ],
    )
