"""A folder as a `Storage`: which call waits where."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice

from anyio.lowlevel import checkpoint

from corereg import Capability, KeyMissing, Stat, State, Storage, Threads, Writer, blob_key
from corereg_storage_fs.folder import Appender, Folder, Names, Reader, key_names, told, upload_names
from corereg_storage_fs.writing import MOST_PIECES

THREADS = 16
BATCH = 1000
"""Files listed in one go."""


class FolderStorage(Storage):
    """Bytes in the folder `root`, which is made where it is missing. The files are the user's own (0600, folders 0700).

    Reading takes no thread as long as the bytes are in the page cache. Without `fsync` nothing is ``durable``.
    """

    capabilities: frozenset[Capability] = frozenset({"path", "rename", "durable"})

    def __init__(self, root: str | os.PathLike[str], *, fsync: bool = True) -> None:
        self.folder = Folder(root, fsync=fsync)
        if not fsync:
            self.capabilities -= {"durable"}
        self._threads = Threads(THREADS, "storage-fs")
        self._can_glance = True

    async def open(self) -> None:
        with told(self.folder.root):
            await self._threads.run(self.folder.make)

    async def close(self) -> None:
        self._threads.close()

    # ---- uploads ----

    async def begin(self, upload: str) -> State:
        upload_names(upload)
        return {}  # the file says it all, and is made by the first writer

    async def writer(self, upload: str, state: State, offset: int) -> Writer:
        place = self.folder.path(upload_names(upload))
        appender = Appender(self.folder, upload, offset)
        with told(place):
            try:
                await self._threads.run(appender.open)
            except BaseException:
                appender.close()
                raise
        return FolderWriter(appender, self._threads, place)

    async def read_upload(self, upload: str, state: State, size: int) -> AsyncGenerator[bytes]:
        names = upload_names(upload)
        left = size
        if size:  # where nothing has come yet there is no file
            async for piece in self._pieces(names, 0, size):
                left -= len(piece)
                yield piece
        if left:
            raise KeyMissing(f"Upload {upload} has {size - left} bytes, not {size}.")

    async def commit(self, upload: str, state: State, size: int, digest: str) -> str:
        upload_names(upload)
        key = blob_key(digest)
        names = key_names(key)
        with told(self.folder.path(names)):
            await self._threads.run(self.folder.commit, upload, size, names)
        return key

    async def put(self, upload: str, state: State, data: bytes, digest: str, check: Callable[[], None]) -> str:
        upload_names(upload)
        key = blob_key(digest)
        names = key_names(key)
        with told(self.folder.path(names)):
            await self._threads.run(self.folder.put, upload, data, names, check)
        return key

    async def abort(self, upload: str, state: State) -> None:
        with told(self.folder.path(upload_names(upload))):
            await self._threads.run(self.folder.abort, upload)

    async def uploads(self) -> AsyncGenerator[Stat]:
        async for found in self._listed(self.folder.uploads()):
            yield found

    # ---- keys ----

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
        async for piece in self._pieces(key_names(key), start, stop):
            yield piece

    async def stat(self, key: str) -> Stat | None:
        names = key_names(key)
        with told(self.folder.path(names)):
            found = await self._threads.run(self.folder.stat, names)
        return None if found is None else Stat(key, found.st_size, found.st_mtime)

    async def delete(self, key: str) -> None:
        names = key_names(key)
        with told(self.folder.path(names)):
            await self._threads.run(self.folder.delete, names)

    async def list(self, prefix: str = "") -> AsyncGenerator[Stat]:
        async for found in self._listed(self.folder.files(prefix)):
            yield found

    def path(self, key: str) -> str | None:
        return self.folder.path(key_names(key))

    async def free(self) -> int | None:
        with told(self.folder.root):
            return await self._threads.run(self.folder.free)

    # ---- pieces and batches ----

    async def _pieces(self, names: Names, start: int, stop: int | None) -> AsyncGenerator[bytes]:
        reader = Reader(self.folder, names, start, stop)
        place = self.folder.path(names)
        self.folder.reading += 1
        try:
            while piece := await self._piece(reader, place):
                yield piece
                await checkpoint()  # whoever only hashes would have the event loop for the whole file
        finally:
            self.folder.reading -= 1
            reader.close()

    async def _piece(self, reader: Reader, place: str) -> bytes:
        with told(place):
            if self._can_glance:
                try:
                    piece = reader.glance()
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        raise
                    self._can_glance = False  # a network file system, say: then opening may take long, too
                else:
                    if piece is not None:
                        return piece
            return await self._threads.run(reader.fetch)

    async def _listed(self, files: Iterator[Stat]) -> AsyncGenerator[Stat]:
        with told(self.folder.root):
            while batch := await self._threads.run(_batch, files):
                for found in batch:
                    yield found


class FolderWriter(Writer):
    """Gathers pieces and appends them in a thread: its own, or that of whoever has a large one."""

    def __init__(self, appender: Appender, threads: Threads, place: str) -> None:
        self._appender = appender
        self._threads = threads
        self._place = place
        self._pieces: list[bytes] = []
        self._gathered = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._pieces.append(bytes(data))  # a copy only of what the caller could change
        self._gathered += len(data)
        if self._gathered >= self._appender.share or len(self._pieces) >= MOST_PIECES:
            await self._in_thread(self._flush)

    def append(self, data: bytes) -> None:
        self._pieces.append(data)
        with told(self._place):
            self._flush()

    async def close(self) -> State:
        if self._pieces:
            await self._in_thread(self._finish)
        else:
            self._appender.close()
        return {}

    async def _in_thread(self, call: Callable[[], None]) -> None:
        with told(self._place):
            await self._threads.run(call)

    def _flush(self) -> None:
        self._appender.append(self._pieces)
        self._pieces.clear()
        self._gathered = 0

    def _finish(self) -> None:
        try:
            self._flush()
        finally:
            self._appender.close()


def _batch(files: Iterator[Stat]) -> tuple[Stat, ...]:
    return tuple(islice(files, BATCH))
