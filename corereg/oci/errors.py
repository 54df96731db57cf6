"""Errors are a table: one class per row, with the code and the status a client sees and a default sentence.

Codes are those of the OCI distribution specification, section "Error Codes"; the second part of the table gives some of
them another HTTP status, and 5xx rows use Docker's ``UNKNOWN`` and ``UNAVAILABLE``, which OCI leaves open.
Handlers raise; one place in `corereg.http` writes the JSON.

A sentence says what is wrong, where, and what to do, in about 200 characters. Client text goes through `quoted`.
"""
# ruff: noqa: D101, E501 - a row is its own documentation, stays on one line, and is named after its code

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

ECHO_LIMIT = 80
"""At most so many characters of a client's text are ever given back."""

ERRORS_LIMIT = 100
"""At most so many errors stand in one answer."""


class OCIError(Exception):
    """What every failure of the protocol is: a code, an HTTP status and a sentence for people.

    `detail` is any JSON value, for machines. `headers` go out with the answer, over those of the row.
    """

    code: str = "UNKNOWN"
    status: int = 500
    message: str = "The registry failed; try again, and tell its operator if it keeps failing."
    headers: Mapping[str, str] = {}
    verbatim: bool = False
    """Whether the code was chosen by a policy, and is told as it stands by every API."""

    def __init_subclass__(
        cls, *, code: str = "", status: int = 0, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init_subclass__()
        cls.code, cls.status, cls.message = code or cls.code, status or cls.status, message or cls.message
        cls.headers = headers or cls.headers

    def __init__(
        self,
        message: str | None = None,
        *,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = self.message if message is None else message
        self.detail = detail
        self.headers = {**self.headers, **(headers or {})}
        super().__init__(self.message)

    def rows(self) -> list[dict[str, Any]]:
        """What stands in ``errors``: one object with ``code``, ``message`` and, unless None, ``detail``."""
        row = {"code": self.code, "message": self.message}
        return [row if self.detail is None else {**row, "detail": self.detail}]

    def as_json(self) -> bytes:
        """The body of the answer, ``{"errors": [...]}``, in UTF-8."""
        rows = self.rows()
        try:
            return msgspec.json.encode({"errors": rows}, enc_hook=_text)
        except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
            # What went wrong must always be told, even when a handler's words or detail are not JSON.
            return json.dumps({"errors": [_plain(row) for row in rows]}).encode()


# fmt: off
# The codes of the specification.
class BlobUnknown(OCIError, code="BLOB_UNKNOWN", status=404, message="This blob is not in the repository; check the digest, or push it."): ...
class BlobUploadInvalid(OCIError, code="BLOB_UPLOAD_INVALID", status=400, message="This upload cannot go on; start a new one."): ...
class BlobUploadUnknown(OCIError, code="BLOB_UPLOAD_UNKNOWN", status=404, message="There is no such upload (finished, cancelled or expired); start a new one."): ...
class DigestInvalid(OCIError, code="DIGEST_INVALID", status=400, message="The digest is malformed or does not match the content; send <algorithm>:<hex> of the exact bytes."): ...
class ManifestBlobUnknown(OCIError, code="MANIFEST_BLOB_UNKNOWN", status=400, message="The manifest names content that is not in the repository; push that first."): ...
class ManifestInvalid(OCIError, code="MANIFEST_INVALID", status=400, message="The manifest is not valid; see the OCI image specification."): ...
class ManifestUnknown(OCIError, code="MANIFEST_UNKNOWN", status=404, message="The repository has no such tag or manifest; list its tags, or push it."): ...
class NameInvalid(OCIError, code="NAME_INVALID", status=400, message="The repository name is not valid; use lower-case words and digits, parted by / . _ or -."): ...
class NameUnknown(OCIError, code="NAME_UNKNOWN", status=404, message="There is no such repository; check the name, or push to it first."): ...
class SizeInvalid(OCIError, code="SIZE_INVALID", status=400, message="The length does not match the content; send as many bytes as announced."): ...
class Unauthorized(OCIError, code="UNAUTHORIZED", status=401, message="Authentication is required; log in first (docker login)."): ...
class Denied(OCIError, code="DENIED", status=403, message="You may not do this; ask the repository's owner for the right."): ...
class Unsupported(OCIError, code="UNSUPPORTED", status=405, message="This registry does not support the operation."): ...
class TooManyRequests(OCIError, code="TOOMANYREQUESTS", status=429, message="Too many requests; wait, then try again.", headers={"Retry-After": "5"}): ...

# The same codes with another status.
class TagInvalid(OCIError, code="MANIFEST_INVALID", status=400, message="The tag is not valid; use 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -."): ...
class PageInvalid(OCIError, code="UNSUPPORTED", status=400, message="The page asked for is not valid; send n as a whole number, 0 or more."): ...
class NotFound(OCIError, code="UNSUPPORTED", status=404, message="There is nothing at this path; check the URL."): ...
class PreconditionFailed(OCIError, code="DENIED", status=412, message="The precondition does not hold: somebody was faster; read again, then retry."): ...
class ManifestTooLarge(OCIError, code="MANIFEST_INVALID", status=413, message="The manifest is larger than this registry accepts; split it."): ...
class BodyTooLarge(OCIError, code="SIZE_INVALID", status=413, message="The body is larger than this registry accepts."): ...
class TooManyTags(OCIError, code="MANIFEST_INVALID", status=414, message="Too many tags in one request; push in several requests."): ...
class RangeInvalid(OCIError, code="BLOB_UPLOAD_INVALID", status=416, message="The chunk does not continue the upload; ask the upload for its offset and go on from there."): ...
class RangeNotSatisfiable(OCIError, code="SIZE_INVALID", status=416, message="The range lies outside the content; ask for bytes that exist."): ...
class HeadersTooLarge(OCIError, code="UNSUPPORTED", status=431, message="The request's headers are too large; send less."): ...

# The registry's own failures.
class Internal(OCIError, code="UNKNOWN", status=500, message="The registry failed; try again, and tell its operator if it keeps failing."): ...
class NotImplementedYet(OCIError, code="UNSUPPORTED", status=501, message="This registry does not implement what the request asks for."): ...
class Unavailable(OCIError, code="UNAVAILABLE", status=503, message="The registry cannot answer now; try again soon.", headers={"Retry-After": "5"}): ...
class InsufficientStorage(OCIError, code="UNAVAILABLE", status=507, message="The registry's storage is full; tell its operator."): ...
# fmt: on


class MethodNotAllowed(OCIError, code="UNSUPPORTED", status=405, message="The path does not take this method."):
    """Takes the methods that the path has; they go out as ``Allow``."""

    def __init__(self, allow: Iterable[str], message: str | None = None, *, detail: Any = None) -> None:
        methods = ", ".join(allow)
        message = message or f"The path does not take this method; use {methods or 'another path'}."
        super().__init__(message, detail=detail, headers={"Allow": methods})


class ManyErrors(OCIError):
    """Several errors in one answer, such as one ``MANIFEST_BLOB_UNKNOWN`` per missing digest.

    Code, status, message and headers are those of the first; there must be one.
    """

    def __init__(self, errors: Sequence[OCIError], *, headers: Mapping[str, str] | None = None) -> None:
        first = errors[0]
        self.errors = tuple(errors)
        self.code, self.status = first.code, first.status
        super().__init__(first.message, detail=first.detail, headers={**first.headers, **(headers or {})})

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all errors in their order, at most `ERRORS_LIMIT`."""
        return [row for error in self.errors[:ERRORS_LIMIT] for row in error.rows()][:ERRORS_LIMIT]


def quoted(text: str, limit: int = ECHO_LIMIT) -> str:
    """`text` fit to stand in a sentence: quoted, printable ASCII, at most `limit` characters of it.

    Whatever is not printable ASCII is escaped, so a name can neither forge log lines nor turn the writing direction.
    """
    shown = ascii(text[:limit])[1:-1]
    return f"'{shown}'" if len(shown) <= limit and len(text) <= limit else f"'{shown[: limit - 3]}...'"


def _text(value: object) -> str:
    if isinstance(value, str):  # msgspec leaves its kinds, such as Digest, to us
        return str(value)
    raise TypeError(type(value).__name__)


def _plain(row: dict[str, Any]) -> dict[str, str]:
    return {
        key: value.encode(errors="backslashreplace").decode()
        if isinstance(value, str)
        else quoted(type(value).__name__)
        for key, value in row.items()
    }
