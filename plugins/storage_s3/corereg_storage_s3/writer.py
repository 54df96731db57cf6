"""One writer: gathers parts, and leaves one run."""

from __future__ import annotations

import secrets

import msgspec

from corereg import State, StorageError, StorageFull, StorageUnavailable, Writer
from corereg_storage_s3.gathering import Gathered
from corereg_storage_s3.multipart import MOST_PARTS, SMALLEST
from corereg_storage_s3.progress import Progress, Run
from corereg_storage_s3.runs import Runs

GROWS = 1000
"""Parts after which parts become larger: ten thousand that start at 16 MiB hold 860 GiB."""


class S3Writer(Writer):
    """Appends to `progress`, in a run of its own. The run before, when it is too small to be a part, is begun anew.

    `part_size` is the size in bytes of the first parts; `gathered` is this writer's, empty.
    """

    def __init__(self, runs: Runs, upload: str, progress: Progress, part_size: int, gathered: Gathered) -> None:
        self._runs = runs
        self._upload = upload
        self._before = progress
        self._first_size = part_size
        self._run: Run | None = None
        self._gathered = gathered
        self._closed = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise StorageUnavailable(f"upload {self._upload} was closed")
        if not data:
            return
        if self._run is None:
            await self._begin()
        waiting = memoryview(data)
        while waiting:
            if self._gathered.size >= self._part_size:
                await self._send_part()
            room = self._part_size - self._gathered.size
            await self._gather(waiting[:room])
            waiting = waiting[room:]

    async def close(self) -> State:
        try:
            if not self._closed and self._gathered.size:
                await self._finish()
        finally:
            self._closed = True
            self._gathered.clear()
        if self._run is None:
            return self._before.state()
        return msgspec.structs.replace(self._before, runs=(*self._before.runs, self._run)).state()

    @property
    def _part_size(self) -> int:
        sent = len(self._run.etags) if self._run is not None else 0
        return self._first_size * (1 + sent // GROWS)

    async def _begin(self) -> None:
        """Take up the last run where it alone would be too small a part of the whole."""
        before = self._before
        last = before.runs[-1] if before.runs else None
        if last is None or last.size >= SMALLEST:
            self._run = Run(secrets.token_hex(8), before.size, 0, 0)
            return
        gathered = bytearray()
        async for piece in self._runs.read(self._upload, last):
            gathered += piece
        await self._gather(gathered)
        self._before = before.without_last()
        self._run = Run(secrets.token_hex(8), last.offset, 0, 0)

    async def _gather(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._gathered.add(data)
        except OSError as error:
            raise StorageError.of(error, "the folder for temporary files") from error

    async def _send_part(self) -> None:
        """Send what was gathered as the next part."""
        run = self._run
        if run is None:  # `write` begins one before there is anything to send
            raise StorageUnavailable(f"upload {self._upload} has not begun")
        if not run.multipart:
            run = self._run = await self._runs.begin(self._upload, run)
        if len(run.etags) >= MOST_PARTS:
            raise StorageFull(f"upload {self._upload} has {MOST_PARTS} parts already: raise part_size in [storage_s3].")
        etag = await self._runs.send(self._upload, run, self._gathered.body())
        self._count((*run.etags, etag))

    async def _finish(self) -> None:
        """Send the rest: as an object where it is all there is, else as the last part."""
        if self._run is not None and self._run.multipart:
            await self._send_part()
        elif self._run is not None:
            await self._runs.put(self._upload, self._run, self._gathered.body())
            self._count(())

    def _count(self, etags: tuple[str, ...]) -> None:
        run = self._run
        if run is not None:
            size = run.size + self._gathered.size
            self._run = msgspec.structs.replace(run, size=size, stored=size, etags=etags)
        self._gathered.clear()
