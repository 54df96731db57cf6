"""Uploads: begin, append, finish, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress

from corereg.oci.digest import Digest
from corereg.oci.errors import (
    OCIError,
)
from corereg.session.door import Door
from corereg.store.catalog import StoredBlob
from corereg.store.condemned import digest_of
from corereg.store.storage import StorageError
from corereg.store.upload_rows import Upload


class Transfers(Door):
    """What a session does with blobs on their way in."""

    __slots__ = ()

    async def start_upload(self, repository: str, algorithm: str = "sha256") -> Upload:
        """Begin a blob. Its content will be hashed with `algorithm` (another one asked at the end works too)."""
        await self._require("push", repository)
        await self._admit(self.operation("blob.push", repository=repository))
        upload = await self._house.uploads.start(repository, self.identity.subject, algorithm)
        self._house.metrics.uploads.add("started")
        return upload

    async def upload(self, repository: str, upload: str) -> Upload:
        """An upload of this identity in this repository."""
        await self._require("push", repository)
        return await self._house.uploads.find(upload, repository, self.identity.subject)

    async def append(
        self, upload: Upload, chunks: AsyncIterator[bytes], *, start: int | None, length: int | None
    ) -> Upload:
        """Append to an upload this session was given."""
        with self._receiving():
            return await self._house.uploads.append(upload, chunks, start=start, length=length)

    async def finish_upload(
        self,
        upload: Upload,
        digest: Digest,
        chunks: AsyncIterator[bytes] | None,
        *,
        start: int | None = None,
        length: int | None = None,
    ) -> StoredBlob:
        """Turn an upload this session was given into a blob of its repository: durable, then acknowledged."""
        with self._receiving():
            blob = await self._finish(upload, digest, chunks, start=start, length=length)
        self._house.metrics.uploads.add("committed")
        return blob

    async def _finish(
        self,
        upload: Upload,
        digest: Digest,
        chunks: AsyncIterator[bytes] | None,
        *,
        start: int | None,
        length: int | None,
    ) -> StoredBlob:
        house = self._house
        committed = await house.uploads.finish(upload, digest, chunks, start=start, length=length)
        operation = self.operation("blob.push", repository=upload.repository, digest=str(digest), size=committed.size)
        try:
            async with self.change(operation) as change:
                # First: from here on the collector waits for this transaction, or has taken the claim away before.
                await house.uploads.remove(change.tx, committed)
                repository_id = await house.catalog.ensure_repository(change.tx, upload.repository)
                blob, new = await house.catalog.put_blob(
                    change.tx, repository_id, str(digest), committed.size, committed.key
                )
                change.describe(new=new)
        except OCIError:
            await house.uploads.refuse(upload, committed)  # a retry starts anew; the bytes wait for the collector
            raise
        except BaseException:
            await house.uploads.keep(committed)  # a retry has only the rows to write
            raise
        # It was there already, elsewhere. A key that is made of the digest may be the next one's: that is an orphan.
        if blob.key != committed.key and digest_of(committed.key) is None:
            with suppress(StorageError):
                await house.storage.delete(committed.key)
        return blob

    async def cancel_upload(self, upload: Upload) -> None:
        """Forget an upload this session was given."""
        await self._house.uploads.cancel(upload)
        self._house.metrics.uploads.add("cancelled")

    @contextmanager
    def _receiving(self) -> Generator[None]:
        """Around a request that sends bytes of a blob, or ends an upload."""
        metrics = self._house.metrics
        metrics.receiving.add()
        try:
            yield
        except BaseException:
            metrics.uploads.add("failed")
            raise
        finally:
            metrics.receiving.add(by=-1)
