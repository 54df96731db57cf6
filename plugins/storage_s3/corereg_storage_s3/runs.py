"""The runs of an upload, in the bucket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from corereg import KeyMissing, StorageError
from corereg_storage_s3.bucket import Bucket
from corereg_storage_s3.multipart import Multiparts
from corereg_storage_s3.progress import Run


class Runs:
    """Writes, reads and removes what `Run` describes."""

    def __init__(self, bucket: Bucket, multiparts: Multiparts) -> None:
        self._bucket = bucket
        self._multiparts = multiparts

    async def begin(self, upload: str, run: Run) -> Run:
        """`run`, as one that comes in parts."""
        key = msgspec.structs.replace(run, multipart="new").key(upload)
        return msgspec.structs.replace(run, multipart=await self._multiparts.create(key))

    async def send(self, upload: str, run: Run, body: Any) -> str:
        """Send the next part of `run`; its etag."""
        return await self._multiparts.send(run.key(upload), run.multipart, len(run.etags) + 1, body)

    async def put(self, upload: str, run: Run, body: Any) -> None:
        """Write a run whole."""
        await self._bucket.put(run.key(upload), body)

    async def seal(self, upload: str, run: Run) -> None:
        """Make a multipart run an object; whether it is one already is for the store to say. KeyMissing when nothing of
        it is left.
        """
        if not run.multipart:
            return
        key = run.key(upload)
        try:
            await self._multiparts.complete(key, run.multipart, run.etags)
        except StorageError:  # completed by somebody, or the answer was lost: stores say so in different ways
            found = await self._bucket.head(key)
            if found is None or found.size != run.stored:
                raise

    async def read(self, upload: str, run: Run) -> AsyncGenerator[bytes]:
        """The run's bytes. Parts cannot be read before their object is completed."""
        await self.seal(upload, run)
        left = run.size
        async with aclosing(self._bucket.read(run.key(upload), 0, run.size)) as pieces:
            async for piece in pieces:
                left -= len(piece)
                yield piece
        if left:
            raise KeyMissing(
                f"upload {upload} has {left} bytes less at {run.offset} than the {run.size} it should have"
            )

    async def close(self, upload: str, runs: Iterable[Run]) -> None:
        """Give up what is still open of `runs`."""
        for run in runs:
            if run.multipart:
                await self._multiparts.abort(self._bucket.path(run.key(upload)), run.multipart)

    async def clean(self, upload: str, runs: Iterable[Run]) -> None:
        """Remove what a blob was made of. What stays here is listed by `uploads`: the blob is safe, and that counts."""
        with suppress(StorageError):
            gone = tuple(runs)
            await self.close(upload, gone)
            await self._bucket.delete([run.key(upload) for run in gone])
