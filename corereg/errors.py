"""The management API's errors: one class per code of Harbor's, with the status and a default sentence.

The envelope is that of `corereg.oci.errors`, and so is the base class: handlers raise, `corereg.http` writes the JSON.
"""

from __future__ import annotations

from corereg.oci.errors import OCIError


class BadRequest(OCIError, code="BAD_REQUEST", status=400, message="The request makes no sense as it stands."):
    """What was sent can be read, and is wrong."""


class Forbidden(OCIError, code="FORBIDDEN", status=403, message="You may not do this."):
    """The caller is known, and may not."""


class Missing(OCIError, code="NOT_FOUND", status=404, message="There is no such thing."):
    """What the path names is not there."""


class Exists(OCIError, code="CONFLICT", status=409, message="It is there already."):
    """Something of this name, or the same link, is there already."""


class Precondition(OCIError, code="PRECONDITION", status=412, message="This cannot be done as things stand."):
    """Something else must be changed first."""


class Unprocessable(OCIError, code="UNPROCESSABLE_ENTITY", status=422, message="The request has the wrong shape."):
    """A path segment, query or body of the wrong type."""


HARBOR_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    412: "PRECONDITION",
    413: "REQUEST_ENTITY_TOO_LARGE",
    422: "UNPROCESSABLE_ENTITY",
    429: "TOO_MANY_REQUEST",
}
"""Harbor's code for a status, for what the protocol's own words do not say well."""

_PROTOCOL = {
    "BLOB_UNKNOWN",
    "DENIED",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "TOOMANYREQUESTS",
    "UNSUPPORTED",
}


def in_harbors_words(error: OCIError) -> OCIError:
    """`error`, with Harbor's code where its own is a word of the OCI protocol alone; a policy's ``DENIED`` stays."""
    if error.code in _PROTOCOL and not error.verbatim:
        error.code = HARBOR_CODES.get(error.status, error.code)
    return error
