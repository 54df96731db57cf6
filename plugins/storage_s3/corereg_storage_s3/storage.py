"""A bucket as a `Storage`.

::

    docker/registry/v2/blobs/<algorithm>/<first two hex>/<hex>/data    a blob that fits one part, or was there before
    corereg/blobs/<upload id>/<offset>-<token>                         a blob that came in several parts
    corereg/uploads/<upload id>/<offset>-<token>                       bytes on their way in

S3 has no rename. A blob of one part is copied to its final key inside the store; a larger one stays where its multipart
upload was begun, and is there from the moment it is completed.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from corereg import (
    BLOBS,
    STAYING,
    UPLOADS,
    Capability,
    KeyMissing,
    Stat,
    State,
    Storage,
    StorageError,
    StorageUnavailable,
    Threads,
    Writer,
    blob_key,
)
from corereg_storage_s3.bucket import Bucket
from corereg_storage_s3.gathering import Room, Window
from corereg_storage_s3.place import Place
from corereg_storage_s3.progress import Progress, Run, progress_of
from corereg_storage_s3.writer import MOST_PARTS, SMALLEST, S3Writer

if TYPE_CHECKING:
    from corereg_storage_s3 import StorageS3

_UPLOAD = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_OWN = "corereg/"
_SLICE = 512 * 1024 * 1024
"""Bytes that one request copies inside the store; S3 takes up to 5 GiB, but is then long silent."""
THREADS = 4


class S3Storage(Storage):
    """Bytes in the bucket of `place`.

    A commit is as durable as the store says its writes are. With `redirect` in its settings it gives signed URLs.
    """

    capabilities: frozenset[Capability] = frozenset({"redirect", "durable"})

    def __init__(self, place: Place, settings: StorageS3.Settings) -> None:
        self.bucket = Bucket(place, settings)
        self.part_size = settings.part_size
        self.room = Room(settings.memory)
        self.threads = Threads(THREADS, "storage-s3")
        self._settings = settings
        if not settings.redirect:
            self.capabilities -= {"redirect"}

    async def open(self) -> None:
        await self.bucket.open()

    async def close(self) -> None:
        await self.bucket.close()
        self.threads.close()

    # ---- uploads ----

    async def begin(self, upload: str) -> State:
        _check_upload(upload)
        return Progress().state()

    async def writer(self, upload: str, state: State, offset: int) -> Writer:
        _check_upload(upload)
        progress = progress_of(state).cut(offset)
        if len(progress.runs) >= MOST_PARTS:
            raise StorageUnavailable(f"upload {upload} came in {MOST_PARTS} pieces already: send it in larger ones.")
        return S3Writer(self, upload, progress)

    async def read_upload(self, upload: str, state: State, size: int) -> AsyncGenerator[bytes]:
        _check_upload(upload)
        for run in progress_of(state).cut(size).runs:
            async for piece in self.read_run(upload, run):
                yield piece

    async def commit(self, upload: str, state: State, size: int, digest: str) -> str:
        _check_upload(upload)
        final = blob_key(digest)
        progress = progress_of(state).cut(size)
        runs = progress.runs
        stays = len(runs) == 1 and bool(runs[0].multipart) and runs[0].size == runs[0].stored
        if stays:
            await self.seal(upload, runs[0])
            await self._clean(upload, progress.dropped)
            return runs[0].key(upload)
        key = final if size <= self.part_size else _assembled(upload, progress)
        try:
            if key == final:
                await self._put_small(upload, progress, key)
            else:
                await self._assemble(upload, progress, key)
        except KeyMissing:
            found = await self.bucket.head(key)
            if found is None or found.size != size:
                raise
        # A first run that stays where it is may be the blob of somebody who overtook us: it is the collector's.
        parts = [run for run in runs if run.key(upload).startswith(UPLOADS)]
        await self._clean(upload, (*parts, *progress.dropped))
        return key

    async def put(self, upload: str, state: State, data: bytes, digest: str, check: Callable[[], None]) -> str:
        _check_upload(upload)
        key = blob_key(digest)
        await self.threads.run(check)
        await self.bucket.put(key, Window(data))
        return key

    async def _clean(self, upload: str, runs: Iterable[Run]) -> None:
        """Remove what a blob was made of. What stays here is listed by `uploads`: the blob is safe, and that counts."""
        with suppress(StorageError):
            keys = []
            for run in runs:
                keys.append(run.key(upload))
                if run.multipart:
                    await self._abort_multipart(self.bucket.path(keys[-1]), run.multipart)
            await self.bucket.delete(keys)

    async def abort(self, upload: str, state: State) -> None:
        _check_upload(upload)
        for prefix in (f"{UPLOADS}{upload}/", f"{STAYING}{upload}/"):
            async with aclosing(self._multiparts(prefix)) as found:
                async for each in found:
                    await self._abort_multipart(each["Key"], each["UploadId"])
        progress = progress_of(state) if state else Progress()
        for run in (*progress.runs, *progress.dropped):  # not every store lists multipart uploads by a prefix
            if run.multipart:
                await self._abort_multipart(self.bucket.path(run.key(upload)), run.multipart)
        await self.bucket.delete([stat.key async for stat in self.bucket.list(f"{UPLOADS}{upload}/")])

    async def uploads(self) -> AsyncGenerator[Stat]:
        found: dict[str, Stat] = {}
        async for stat in self.bucket.list(UPLOADS):
            _add(found, stat.key.removeprefix(UPLOADS), stat.size, stat.modified)
        for prefix in (UPLOADS, STAYING):
            async for each in self._multiparts(prefix):
                size, modified = await self._size_of_multipart(each)
                _add(found, each["Key"].removeprefix(self.bucket.path(prefix)), size, modified)
        for stat in found.values():
            if _UPLOAD.fullmatch(stat.key):
                yield stat

    # ---- runs ----

    async def begin_multipart(self, upload: str, run: Run) -> str:
        """S3's id of a new multipart upload for `run`."""
        key = msgspec.structs.replace(run, multipart="new").key(upload)
        return await self._create_multipart(key)

    async def send_part(self, upload: str, run: Run, body: Any) -> str:
        """Send the next part of `run`; its etag."""
        key = run.key(upload)
        answer = await self.bucket.call(
            "upload_part",
            key,
            Key=self.bucket.path(key),
            UploadId=run.multipart,
            PartNumber=len(run.etags) + 1,
            Body=body,
        )
        return str(answer["ETag"]).strip('"')

    async def put_run(self, upload: str, run: Run, body: Any) -> None:
        """Write a run whole."""
        await self.bucket.put(run.key(upload), body)

    async def seal(self, upload: str, run: Run) -> None:
        """Make a multipart run an object; whether it is one already is for the store to say. KeyMissing when nothing of
        it is left.
        """
        if not run.multipart:
            return
        key = run.key(upload)
        try:
            await self._complete(key, run.multipart, run.etags)
        except StorageError:  # completed by somebody, or the answer was lost: stores say so in different ways
            found = await self.bucket.head(key)
            if found is None or found.size != run.stored:
                raise

    async def read_run(self, upload: str, run: Run) -> AsyncGenerator[bytes]:
        """The run's bytes. Parts cannot be read before their object is completed."""
        await self.seal(upload, run)
        left = run.size
        async with aclosing(self.bucket.read(run.key(upload), 0, run.size)) as pieces:
            async for piece in pieces:
                left -= len(piece)
                yield piece
        if left:
            raise KeyMissing(
                f"upload {upload} has {left} bytes less at {run.offset} than the {run.size} it should have"
            )

    async def _put_small(self, upload: str, progress: Progress, key: str) -> None:
        """Make the runs, which fit one part, the object `key`."""
        run = progress.runs[0] if progress.runs else None
        if run is not None and len(progress.runs) == 1 and not run.multipart and run.size == run.stored:
            await self.bucket.copy(run.key(upload), key)
            return
        data = bytearray()
        for each in progress.runs:
            async for piece in self.read_run(upload, each):
                data += piece
        await self.bucket.put(key, Window(data))

    async def _assemble(self, upload: str, progress: Progress, key: str) -> None:
        """Make the runs one object, inside the store; it may be there: the key stands for these very runs."""
        found = await self.bucket.head(key)
        if found is not None and found.size == progress.size:
            return
        for run in progress.runs:
            await self.seal(upload, run)
        slices = [(run.key(upload), start, stop) for run in progress.runs for start, stop in _slices(run.size)]
        multipart = await self._create_multipart(key)
        try:
            etags = [await self._copy_part(key, multipart, number, each) for number, each in enumerate(slices, 1)]
            await self._complete(key, multipart, tuple(etags))
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StorageError):  # else `uploads` lists it
                await self._abort_multipart(self.bucket.path(key), multipart)
            raise

    async def _copy_part(self, key: str, multipart: str, number: int, part: tuple[str, int, int]) -> str:
        source, start, stop = part
        answer = await self.bucket.call(
            "upload_part_copy",
            source,
            Key=self.bucket.path(key),
            UploadId=multipart,
            PartNumber=number,
            CopySource=self.bucket.source(source),
            CopySourceRange=f"bytes={start}-{stop - 1}",
        )
        return str(answer["CopyPartResult"]["ETag"]).strip('"')

    # ---- multipart uploads ----

    async def _create_multipart(self, key: str) -> str:
        """S3's id of a new multipart upload. A cancelled call leaves none: nobody would know its id."""
        path = self.bucket.path(key)
        task = asyncio.ensure_future(self.bucket.call("create_multipart_upload", key, Key=path))
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                while not task.done():
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait((task,))
                with suppress(StorageError):
                    await self._abort_multipart(path, str(task.result()["UploadId"]))
            raise
        return str(answer["UploadId"])

    async def _complete(self, key: str, multipart: str, etags: tuple[str, ...]) -> None:
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        await self.bucket.call(
            "complete_multipart_upload",
            key,
            Key=self.bucket.path(key),
            UploadId=multipart,
            MultipartUpload={"Parts": parts},
        )

    async def _abort_multipart(self, path: str, multipart: str) -> None:
        with suppress(KeyMissing):
            await self.bucket.call("abort_multipart_upload", path, Key=path, UploadId=multipart)

    async def _multiparts(self, prefix: str) -> AsyncGenerator[Any]:
        """The open multipart uploads of keys that begin with `prefix`, as S3 tells them."""
        more: dict[str, str] = {}
        while True:
            page = await self.bucket.call("list_multipart_uploads", prefix, Prefix=self.bucket.path(prefix), **more)
            for found in page.get("Uploads", ()):
                yield found
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def _size_of_multipart(self, found: Any) -> tuple[int, float | None]:
        """What its parts take up, and when the last one came."""
        size, times = 0, [found.get("Initiated")]
        more: dict[str, Any] = {}
        try:
            while True:
                page = await self.bucket.call(
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

    # ---- keys ----

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
        _check_key(key)
        if stop is not None and stop <= start and await self.bucket.head(key) is None:
            raise KeyMissing(f"{self.bucket.place.name(key)} is not there.")
        async with aclosing(self.bucket.read(key, start, stop)) as pieces:
            async for piece in pieces:
                yield piece

    async def stat(self, key: str) -> Stat | None:
        _check_key(key)
        return await self.bucket.head(key)

    async def delete(self, key: str) -> None:
        _check_key(key)
        await self.bucket.delete([key])

    async def list(self, prefix: str = "") -> AsyncGenerator[Stat]:
        folder = prefix.rpartition("/")[0]
        if folder and not _is_path(folder):
            return
        async for stat in self.bucket.list(prefix):
            if not stat.key.startswith(_OWN):
                yield stat

    async def committed(self) -> AsyncGenerator[Stat]:
        for prefix in (BLOBS, STAYING):
            async for stat in self.bucket.list(prefix):
                yield stat

    async def redirect(
        self, key: str, *, method: str, filename: str, expires: int, size: int | None = None
    ) -> str | None:
        if not self._settings.redirect or method != "GET" or (size is not None and size < self._settings.redirect_from):
            return None
        _check_key(key)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", filename)
        lifetime = self._settings.redirect_expires or expires
        return await self.bucket.sign(key, lifetime, f'attachment; filename="{name}"')


def _assembled(upload: str, progress: Progress) -> str:
    """Where a blob made of several runs lies: the same for the same runs, so that a commit can be repeated."""
    runs = ",".join(f"{run.offset}-{run.token}-{run.size}" for run in progress.runs)
    return f"{STAYING}{upload}/whole-{hashlib.sha256(runs.encode()).hexdigest()[:32]}"


def _slices(size: int) -> list[tuple[int, int]]:
    """Where to cut a run into parts that S3 takes: none of the pieces is small, unless the run is."""
    count = max(1, -(-size // _SLICE))
    step = max(SMALLEST, -(-size // count))
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _add(found: dict[str, Stat], key: str, size: int, modified: float | None) -> None:
    upload = key.partition("/")[0]
    before = found.get(upload, Stat(upload, 0))
    times = [time for time in (before.modified, modified) if time is not None]
    found[upload] = Stat(upload, before.size + size, max(times, default=None))


def _check_upload(upload: str) -> None:
    if not _UPLOAD.fullmatch(upload):
        raise KeyMissing(f"{upload!r} is no upload id")


def _check_key(key: str) -> None:
    if not _is_path(key) or (key.startswith(_OWN) and not key.startswith(STAYING)):
        raise KeyMissing(f"{key!r} is no key")


def _is_path(text: str) -> bool:
    return "\0" not in text and not {"", ".", ".."} & set(text.split("/"))
