"""Conditional and partial requests: ETags and byte ranges (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re

from corereg.messages import Request
from corereg.oci.errors import RangeNotSatisfiable

_one_range = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*\Z", re.IGNORECASE)
LONGEST_NUMBER = 19
"""Digits of the largest number that is worth reading: no content has more bytes."""


def etags(value: str, *, weak: bool = True) -> tuple[str, ...]:
    """The digests a header names, without quotes; ``*`` stays. ``If-None-Match`` takes weak tags too; ``If-Match`` must
    not (`weak` False leaves them as they are, so that they equal nothing).
    """
    tags = (tag.strip() for tag in value.split(","))
    return tuple((tag.removeprefix("W/") if weak else tag).strip('"') for tag in tags if tag)


def is_known(request: Request, digest: str) -> bool:
    """Whether the request's ``If-None-Match`` names the digest, or anything."""
    if request.raw_header(b"if-none-match") is None:
        return False
    named = etags(request.headers["if-none-match"])
    return digest in named or "*" in named


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span of bytes a ``Range`` header asks for; None for the whole.

    Several ranges, other units and what cannot be read are answered with the whole, as the RFC allows. A single range
    that begins beyond the end, or ends before it begins, raises RangeNotSatisfiable.
    """
    match = _one_range.match(value.strip()) if value else None
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = size - min(_number(last), size), size
    else:
        start, stop = _number(first), min(_number(last) + 1, size) if last else size
    if start >= size or start >= stop:
        message = f"the content has {size} bytes, the range lies outside; ask for bytes that exist"
        raise RangeNotSatisfiable(message, headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _number(digits: str) -> int:
    """A number of bytes; an absurdly long one is only known to lie beyond everything."""
    return int(digits) if len(digits) <= LONGEST_NUMBER else 10**LONGEST_NUMBER
