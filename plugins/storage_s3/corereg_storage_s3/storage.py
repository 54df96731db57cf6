"""A bucket as a `Storage`.

::

    docker/registry/v2/blobs/<algorithm>/<first two hex>/<hex>/data    a blob that fits one part, or was there before
    corereg/blobs/<upload id>/<offset>-<token>                         a blob that came in several parts
    corereg/uploads/<upload id>/<offset>-<token>                       bytes on their way in

S3 has no rename. A blob of one part is copied to its final key inside the store; a larger one stays where its multipart
upload was begun, and is there from the moment it is completed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import anyio

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
from corereg_storage_s3.gathering import Gathered, Room, Window
from corereg_storage_s3.multipart import MOST_PARTS, SMALLEST, Multiparts
from corereg_storage_s3.place import Place
from corereg_storage_s3.progress import Progress, progress_of
from corereg_storage_s3.runs import Runs
from corereg_storage_s3.writer import S3Writer

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
        self.multiparts = Multiparts(self.bucket)
        self.room = Room(settings.memory)
        self._runs = Runs(self.bucket, self.multiparts)
        self._threads = Threads(THREADS, "storage-s3")
        self._settings = settings
        if not settings.redirect:
            self.capabilities -= {"redirect"}

    async def open(self) -> None:
        await self.bucket.open()

    async def close(self) -> None:
        await self.bucket.close()
        self._threads.close()

    # ---- uploads ----

    async def begin(self, upload: str) -> State:
        _check_upload(upload)
        return Progress().state()

    async def writer(self, upload: str, state: State, offset: int) -> Writer:
        _check_upload(upload)
        progress = progress_of(state).cut(offset)
        if len(progress.runs) >= MOST_PARTS:
            raise StorageUnavailable(f"upload {upload} came in {MOST_PARTS} pieces already: send it in larger ones.")
        gathered = Gathered(self.room, self._threads)
        return S3Writer(self._runs, upload, progress, self._settings.part_size, gathered)

    async def read_upload(self, upload: str, state: State, size: int) -> AsyncGenerator[bytes]:
        _check_upload(upload)
        for run in progress_of(state).cut(size).runs:
            async for piece in self._runs.read(upload, run):
                yield piece

    async def commit(self, upload: str, state: State, size: int, digest: str) -> str:
        _check_upload(upload)
        final = blob_key(digest)
        progress = progress_of(state).cut(size)
        runs = progress.runs
        stays = len(runs) == 1 and bool(runs[0].multipart) and runs[0].size == runs[0].stored
        if stays:
            await self._runs.seal(upload, runs[0])
            await self._runs.clean(upload, progress.dropped)
            return runs[0].key(upload)
        key = final if size <= self._settings.part_size else _assembled(upload, progress)
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
        await self._runs.clean(upload, (*parts, *progress.dropped))
        return key

    async def put(self, upload: str, state: State, data: bytes, digest: str, check: Callable[[], None]) -> str:
        _check_upload(upload)
        key = blob_key(digest)
        await self._threads.run(check)
        await self.bucket.put(key, Window(data))
        return key

    async def abort(self, upload: str, state: State) -> None:
        _check_upload(upload)
        for prefix in (f"{UPLOADS}{upload}/", f"{STAYING}{upload}/"):
            async with aclosing(self.multiparts.list(prefix)) as found:
                async for each in found:
                    await self.multiparts.abort(each["Key"], each["UploadId"])
        progress = progress_of(state) if state else Progress()
        # Not every store lists multipart uploads by a prefix.
        await self._runs.close(upload, (*progress.runs, *progress.dropped))
        await self.bucket.delete([stat.key async for stat in self.bucket.list(f"{UPLOADS}{upload}/")])

    async def uploads(self) -> AsyncGenerator[Stat]:
        found: dict[str, Stat] = {}
        async for stat in self.bucket.list(UPLOADS):
            _add(found, stat.key.removeprefix(UPLOADS), stat.size, stat.modified)
        for prefix in (UPLOADS, STAYING):
            async for each in self.multiparts.list(prefix):
                size, modified = await self.multiparts.size(each)
                _add(found, each["Key"].removeprefix(self.bucket.path(prefix)), size, modified)
        for stat in found.values():
            if _UPLOAD.fullmatch(stat.key):
                yield stat

    async def _put_small(self, upload: str, progress: Progress, key: str) -> None:
        """Make the runs, which fit one part, the object `key`."""
        run = progress.runs[0] if progress.runs else None
        if run is not None and len(progress.runs) == 1 and not run.multipart and run.size == run.stored:
            await self.bucket.copy(run.key(upload), key)
            return
        data = bytearray()
        for each in progress.runs:
            async for piece in self._runs.read(upload, each):
                data += piece
        await self.bucket.put(key, Window(data))

    async def _assemble(self, upload: str, progress: Progress, key: str) -> None:
        """Make the runs one object, inside the store; it may be there: the key stands for these very runs."""
        found = await self.bucket.head(key)
        if found is not None and found.size == progress.size:
            return
        for run in progress.runs:
            await self._runs.seal(upload, run)
        slices = [(run.key(upload), start, stop) for run in progress.runs for start, stop in _slices(run.size)]
        multipart = await self.multiparts.create(key)
        try:
            etags = [await self.multiparts.copy(key, multipart, number, *each) for number, each in enumerate(slices, 1)]
            await self.multiparts.complete(key, multipart, etags)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(StorageError):  # else `uploads` lists it
                await self.multiparts.abort(self.bucket.path(key), multipart)
            raise

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
