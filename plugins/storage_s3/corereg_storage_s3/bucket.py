"""One bucket, spoken to through s3fs: sessions, requests, errors.

s3fs's own file interface cannot continue a multipart upload in another process, nor start reading at an offset; so its
session is used, and S3's operations are called by name (`S3FileSystem._call_s3`). One instance belongs to one event
loop, and is closed in it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from corereg import KeyMissing, Stat, StorageError, StorageUnavailable
from corereg_storage_s3.failures import code_of, meaning
from corereg_storage_s3.place import Place

if TYPE_CHECKING:
    from corereg_storage_s3 import StorageS3

READ = 256 * 1024
"""Bytes asked of the connection at once."""
DELETED_AT_ONCE = 1000
"""Keys of one DeleteObjects, S3's limit."""
AGAIN = 60.0
"""Seconds for which a signed URL is given out again: shorter than credentials of a role are renewed before they end."""
KEPT = 4096
"""Signed URLs that are remembered, about a kilobyte each."""


class Bucket:
    """The bucket of `place`; keys are given without the place's prefix."""

    def __init__(self, place: Place, settings: StorageS3.Settings) -> None:
        self.place = place
        self._settings = settings
        self._fs: Any = None
        self._public: Any = None
        self._signed: dict[tuple[str, int, str], tuple[str, float]] = {}

    # ---- session ----

    async def open(self) -> None:
        """Make the session, and look whether the bucket may be listed: everything that is set wrongly shows here."""
        self._fs = await self._session(self.place.endpoint)
        try:
            if self._settings.public_endpoint is not None:
                self._public = await self._session(self._settings.public_endpoint)
            await self.call("list_objects_v2", "", Prefix=self.place.prefix, MaxKeys=1)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections."""
        sessions, self._fs, self._public = (self._fs, self._public), None, None
        self._signed.clear()
        with anyio.CancelScope(shield=True):
            for fs in sessions:
                if fs is not None:
                    await fs._s3creator.__aexit__(None, None, None)  # noqa: SLF001 - s3fs closes no asynchronous session

    async def _session(self, endpoint: str | None) -> Any:
        from s3fs import S3FileSystem  # type: ignore[import-untyped]  # noqa: PLC0415 - s3fs ships no types, and is slow to import

        settings = self._settings
        path_style = endpoint is not None if settings.path_style is None else settings.path_style
        fs = S3FileSystem(
            key=settings.access_key,
            secret=settings.secret_key,
            token=settings.session_token,
            endpoint_url=endpoint,
            client_kwargs={"region_name": self._region(endpoint), "verify": self._verify()},
            config_kwargs={
                "signature_version": "s3v4",  # else presigned URLs of other endpoints are of version 2
                "s3": {"addressing_style": "path" if path_style else "virtual"},
                "retries": {"mode": "standard", "total_max_attempts": settings.attempts},
                "request_checksum_calculation": "when_required",  # not every store knows the newer checksums
                "response_checksum_validation": "when_required",
                "connect_timeout": settings.connect_timeout,
                "read_timeout": settings.read_timeout,
                "max_pool_connections": settings.connections,
            },
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        fs.retries = 1  # botocore's standard mode pauses with jitter, and keeps a budget of retries
        try:
            await fs.set_session()
        except Exception as error:
            raise meaning(error, self.place.name()) from error
        return fs

    def _region(self, endpoint: str | None) -> str | None:
        """Stores that are not Amazon's mostly take any region, but a signature needs one."""
        if self.place.region is None and endpoint is not None and "AWS_DEFAULT_REGION" not in os.environ:
            return "us-east-1"
        return self.place.region

    def _verify(self) -> str | bool | None:
        if not self._settings.verify_tls:
            return False
        return self._settings.ca_file  # None: the usual authorities

    # ---- requests ----

    def path(self, key: str) -> str:
        """The key as the store knows it."""
        return f"{self.place.prefix}{key}"

    async def call(self, operation: str, key: str, **parameters: Any) -> Any:
        """One operation of S3 (``put_object``) on the bucket, for the sake of `key`; other parameters as S3's. Raises
        StorageError.
        """
        if self._fs is None:
            raise StorageUnavailable(f"{self.place.name()} is not open.")
        try:
            return await self._fs._call_s3(operation, Bucket=self.place.bucket, **parameters)  # noqa: SLF001 - see above
        except StorageError:
            raise
        except Exception as error:
            raise meaning(error, self.place.name(key)) from error

    async def put(self, key: str, body: Any) -> None:
        """Write one object, whole."""
        await self.call("put_object", key, Key=self.path(key), Body=body)

    async def head(self, key: str) -> Stat | None:
        """Size and time of the object, or None."""
        try:
            found = await self.call("head_object", key, Key=self.path(key))
        except KeyMissing:
            return None
        return Stat(key, int(found["ContentLength"]), found["LastModified"].timestamp())

    async def copy(self, source: str, target: str) -> None:
        """Copy one object of at most 5 GiB inside the store."""
        await self.call("copy_object", source, Key=self.path(target), CopySource=self.source(source))

    def source(self, key: str) -> dict[str, str]:
        """The object, as the source of a copy."""
        return {"Bucket": self.place.bucket, "Key": self.path(key)}

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; missing ones are no error."""
        waiting = list(keys)
        for start in range(0, len(waiting), DELETED_AT_ONCE):
            batch = waiting[start : start + DELETED_AT_ONCE]
            if len(batch) == 1 or not await self._delete_together(batch):
                for key in batch:
                    with suppress(KeyMissing):
                        await self.call("delete_object", key, Key=self.path(key))

    async def _delete_together(self, keys: Sequence[str]) -> bool:
        """Whether one DeleteObjects removed them all; some stores know none."""
        objects = [{"Key": self.path(key)} for key in keys]
        try:
            answer = await self.call("delete_objects", keys[0], Delete={"Objects": objects, "Quiet": True})
        except StorageUnavailable:
            return False
        return not answer.get("Errors")

    async def list(self, prefix: str) -> AsyncGenerator[Stat]:
        """The objects whose keys begin with `prefix`."""
        more: dict[str, str] = {}
        while True:
            page = await self.call("list_objects_v2", prefix, Prefix=self.path(prefix), **more)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self.place.prefix)
                yield Stat(key, int(found["Size"]), found["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    # ---- reading ----

    async def read(self, key: str, start: int, stop: int | None) -> AsyncGenerator[bytes]:
        """The object's bytes; a connection that is cut is taken up again where it ended, a few times at one place."""
        position, end, failures = start, stop, 0
        while end is None or position < end:
            began, problem = position, "the store sent less than it said"
            answer = await self._get(key, position, end)
            if answer is None:
                return
            end = position + int(answer["ContentLength"])
            body = answer["Body"]
            try:
                async for piece in body.iter_chunks(READ):
                    position += len(piece)
                    yield piece
            except _broken() as error:
                problem = str(error) or type(error).__name__
            finally:
                body.close()
            if position >= end:
                return
            failures = 1 if position > began else failures + 1
            if failures >= self._settings.attempts:
                message = f"{self.place.name(key)} broke off at byte {position} of {end}, {failures} times: {problem}"
                raise StorageUnavailable(message)
            await asyncio.sleep(random.uniform(0, min(0.2 * 2**failures, 5)))  # noqa: S311 - no secret

    async def _get(self, key: str, start: int, stop: int | None) -> Any:
        """S3's answer to one request; None where the object ends before `start`."""
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        try:
            return await self.call("get_object", key, Key=self.path(key), **wanted)
        except StorageError as error:
            if code_of(error) in {"InvalidRange", "416"}:
                return None
            raise

    # ---- signing ----

    async def sign(self, key: str, expires: int, disposition: str) -> str:
        """A URL that gives the object to whoever has it, for at most `expires` seconds (signature version 4).

        A URL is given out again for a while, at most a quarter of its time: to sign costs three times what the rest of
        such an answer does, and many fetch the same layers at once.
        """
        wanted = (key, expires, disposition)
        url, until = self._signed.get(wanted, ("", 0.0))
        if time.monotonic() < until:
            return url
        url = await self._sign(key, expires, disposition)
        self._signed.pop(wanted, None)
        while len(self._signed) >= KEPT:
            del self._signed[next(iter(self._signed))]
        self._signed[wanted] = (url, time.monotonic() + min(expires / 4, AGAIN))
        return url

    async def _sign(self, key: str, expires: int, disposition: str) -> str:
        fs = self._public or self._fs
        if fs is None:
            raise StorageUnavailable(f"{self.place.name()} is not open.")
        parameters = {
            "Bucket": self.place.bucket,
            "Key": self.path(key),
            "ResponseContentDisposition": disposition,
            "ResponseContentType": "application/octet-stream",
        }
        try:
            client = await fs.get_s3(self.place.bucket)
            return str(await client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=expires))
        except Exception as error:
            raise meaning(error, self.place.name(key)) from error


def _broken() -> tuple[type[Exception], ...]:
    """What a connection raises that is cut in mid-transfer."""
    from aiohttp import ClientError  # noqa: PLC0415 - slow to import, and `open` has done so
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # noqa: PLC0415 - as above; no types

    return (ClientError, BotoCoreError, OSError, TimeoutError)
