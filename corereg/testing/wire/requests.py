"""What the tests send: paths, bodies, and the steps of an upload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import httpx2

from corereg.testing.client import RegistryClient, with_query

OCTETS = {"Content-Type": "application/octet-stream"}


def uploads(repository: str) -> str:
    """Where uploads begin."""
    return f"/v2/{repository}/blobs/uploads/"


def at(repository: str, noun: str, reference: str) -> str:
    """The path of a blob, manifest or referrers list."""
    return f"/v2/{repository}/{noun}/{reference}"


def pieces(*parts: bytes) -> Callable[[], AsyncIterator[bytes]]:
    """A body that is sent chunked, without Content-Length."""

    async def make() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return make


def unique(text: str = "") -> bytes:
    """Bytes that nobody has pushed before."""
    return f"{text} {uuid4()}".encode()


async def send_chunk(
    client: RegistryClient, location: str, data: bytes, content_range: str | None = None
) -> httpx2.Response:
    """One chunk with Content-Length."""
    headers = OCTETS if content_range is None else {**OCTETS, "Content-Range": content_range}
    return await client.request("PATCH", location, headers=headers, content=data)


async def close_upload(
    client: RegistryClient, location: str, name: str, data: bytes = b"", content_range: str | None = None
) -> httpx2.Response:
    """The request that closes an upload."""
    headers = OCTETS if content_range is None else {**OCTETS, "Content-Range": content_range}
    return await client.request("PUT", with_query(location, digest=name), headers=headers, content=data)
