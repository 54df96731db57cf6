"""Conditional and partial requests: ETags and byte ranges (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re

from corereg.oci.errors import RangeNotSatisfiable

_one_range = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*\Z", re.IGNORECASE)
LONGEST_NUMBER = 19


def etags(value: str) -> tuple[str, ...]:
    """The digests an ``If-Match`` or ``If-None-Match`` names, without quotes and weakness; ``*`` stays."""
    return tuple(tag.strip().removeprefix("W/").strip('"') for tag in value.split(",") if tag.strip())


def etag_matches(value: str, digest: str) -> bool:
    """Whether an ``If-None-Match`` names the digest, or anything."""
    named = etags(value)
    return digest in named or "*" in named


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span of bytes a ``Range`` header asks for; None for the whole.

    Several ranges, other units and what cannot be read are answered with the whole, as the RFC allows. A single range that
    begins beyond the end, or ends before it begins, raises RangeNotSatisfiable.
    """
    match = _one_range.match(value.strip()) if value else None
    if match is None:
        return None
    first, last = match.groups()
    if (not first and not last) or max(len(first), len(last)) > LONGEST_NUMBER:
        return None
    if not first:
        count = min(int(last), size)
        start, stop = size - count, size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= size or start >= stop:
        message = f"the content has {size} bytes, the range lies outside; ask for bytes that exist"
        raise RangeNotSatisfiable(message, headers={"Content-Range": f"bytes */{size}"})
    return start, stop
