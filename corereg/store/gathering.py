"""Bodies small enough to be held whole: what came, and how it is told to whoever takes it piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from corereg.oci.digest import Digest
from corereg.oci.errors import DigestInvalid


class Gathered:
    """A body of `length` bytes, in chunks."""

    __slots__ = ("_broken", "_more", "chunks", "length", "size")

    def __init__(self, length: int) -> None:
        self.length = length
        self.chunks: list[bytes] = []
        self.size = 0
        self._broken: Exception | None = None
        self._more: AsyncIterator[bytes] | None = None

    @property
    def whole(self) -> bool:
        """Whether it came as it was announced."""
        return self.size == self.length and self._broken is None and self._more is None

    async def take(self, chunks: AsyncIterator[bytes]) -> None:
        """Take what comes, until it ends, breaks off, or is more than was announced."""
        try:
            async for chunk in chunks:
                self.chunks.append(chunk)
                self.size += len(chunk)
                if self.size > self.length:
                    self._more = chunks
                    return
        except Exception as error:  # noqa: BLE001 - the client is gone, what it sent is not: see `again`
            self._broken = error

    async def again(self) -> AsyncGenerator[bytes]:
        """The same chunks once more, and what becomes of the body after them."""
        for chunk in self.chunks:
            yield chunk
        if self._more is not None:
            async for chunk in self._more:
                yield chunk
        if self._broken is not None:
            raise self._broken

    def joined(self) -> bytes:
        """The body in one piece; the chunks are let go. See `Uploads._pieces` for why it is copied."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        return data


def check(data: bytes, digest: Digest) -> None:
    """Raise DigestInvalid unless `data` has that digest. Takes half a millisecond for a mebibyte."""
    found = Digest.of(data, digest.algorithm)
    if found != digest:
        raise wrong(found, digest)


def wrong(found: str, digest: Digest) -> DigestInvalid:
    """The content has another digest than was said."""
    return DigestInvalid(f"the content's digest is {found}, not {digest}; the upload was dropped, start it again")
