"""Bodies in chunks (RFC 9112, 7.1), as docker and podman push: the plain ones by the hundred, at once.

h11 reads each chunk by itself and copies it four times. What is here goes on from where h11 stands, takes what it
would have taken, and leaves it standing behind that: extensions, trailers, the last chunk and all that is wrong stay
with h11.
"""

from __future__ import annotations

import re
from typing import Any

from h11._readers import ChunkedReader

_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
LONGEST_HEAD = 64
"""Bytes among which the rest of a chunk's head is looked for."""


def reads_chunks(reader: Any) -> bool:
    """Whether h11's reader is among the chunks of a body, before the last one."""
    return isinstance(reader, ChunkedReader) and not reader._reading_trailer  # noqa: SLF001 - h11 has no other door


def take_chunks(reader: Any, data: bytes) -> tuple[bytes, int]:
    """What the plain chunks at the beginning of `data` hold, and how many bytes of `data` they are."""
    left: int = reader._bytes_in_chunk  # noqa: SLF001 - as above
    footer: bytes = reader._bytes_to_discard  # noqa: SLF001 - as above
    view, position, end = memoryview(data), 0, len(data)
    found: list[memoryview] = []
    while position < end:
        if footer:
            came = data[position : position + len(footer)]
            if not footer.startswith(came):
                break
            position += len(came)
            footer = footer[len(came) :]
        elif left:
            piece = view[position : position + left]
            found.append(piece)
            position += len(piece)
            left -= len(piece)
            if not left:
                footer = b"\r\n"
        else:
            head = _HEAD.match(data, position)
            size = int(head[1], 16) if head is not None else 0
            if head is None or not size:
                break
            left = size
            position = head.end()
    reader._bytes_in_chunk = left  # noqa: SLF001 - h11 goes on from here
    reader._bytes_to_discard = footer  # noqa: SLF001 - as above
    return b"".join(found), position
