"""Multipart uploads, as S3 speaks of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import anyio

from corereg import KeyMissing, StorageError
from corereg_storage_s3.bucket import Bucket

SMALLEST = 5 * 1024 * 1024
"""S3 takes no smaller part, but for the last."""
MOST_PARTS = 10_000
"""S3 takes no more in one multipart upload."""


class Multiparts:
    """Those of `bucket`, each named by its key and the id that S3 gave it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def create(self, key: str) -> str:
        """S3's id of a new multipart upload. A cancelled call leaves none: nobody would know its id."""
        path = self._bucket.path(key)
        task = asyncio.ensure_future(self._bucket.call("create_multipart_upload", key, Key=path))
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                while not task.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait((task,))
                with suppress(StorageError):
                    await self.abort(path, str(task.result()["UploadId"]))
            raise
        return str(answer["UploadId"])

    async def send(self, key: str, multipart: str, number: int, body: Any) -> str:
        """Send part `number`, counted from 1; its etag."""
        answer = await self._bucket.call(
            "upload_part", key, Key=self._bucket.path(key), UploadId=multipart, PartNumber=number, Body=body
        )
        return str(answer["ETag"]).strip('"')

    async def copy(self, key: str, multipart: str, number: int, source: str, start: int, stop: int) -> str:
        """Make bytes of the object `source` part `number`, inside the store; its etag."""
        answer = await self._bucket.call(
            "upload_part_copy",
            source,
            Key=self._bucket.path(key),
            UploadId=multipart,
            PartNumber=number,
            CopySource=self._bucket.source(source),
            CopySourceRange=f"bytes={start}-{stop - 1}",
        )
        return str(answer["CopyPartResult"]["ETag"]).strip('"')

    async def complete(self, key: str, multipart: str, etags: Sequence[str]) -> None:
        """Make the parts an object."""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        await self._bucket.call(
            "complete_multipart_upload",
            key,
            Key=self._bucket.path(key),
            UploadId=multipart,
            MultipartUpload={"Parts": parts},
        )

    async def abort(self, path: str, multipart: str) -> None:
        """Give it up; `path` is the key as the bucket has it."""
        with suppress(KeyMissing):
            await self._bucket.call("abort_multipart_upload", path, Key=path, UploadId=multipart)

    async def list(self, prefix: str) -> AsyncGenerator[Any]:
        """The open ones of keys that begin with `prefix`, as S3 tells them."""
        more: dict[str, str] = {}
        while True:
            page = await self._bucket.call("list_multipart_uploads", prefix, Prefix=self._bucket.path(prefix), **more)
            for found in page.get("Uploads", ()):
                yield found
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def size(self, found: Any) -> tuple[int, float | None]:
        """What the parts of one that `list` found take up, and when the last one came."""
        size, times = 0, [found.get("Initiated")]
        more: dict[str, Any] = {}
        try:
            while True:
                page = await self._bucket.call(
                    "list_parts", found["Key"], Key=found["Key"], UploadId=found["UploadId"], **more
                )
                size += sum(int(part["Size"]) for part in page.get("Parts", ()))
                times += [part.get("LastModified") for part in page.get("Parts", ())]
                if not page.get("IsTruncated"):
                    break
                more = {"PartNumberMarker": page["NextPartNumberMarker"]}
        except StorageError:  # gone meanwhile, or a store that cannot tell
            size = 0
        return size, max((time.timestamp() for time in times if isinstance(time, datetime)), default=None)
