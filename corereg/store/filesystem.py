"""A storage on any fsspec filesystem: `FsspecStorage`.

fsspec knows no append that holds across processes, no durable rename and no common way to see a half-written object.
So an upload is a row of objects, its parts, each written whole::

    corereg/uploads/<upload id>/<offset>-<token>

A token belongs to one writer, and the state lists the tokens that count. What an overtaken or dead writer leaves there
belongs to nobody, cannot get into a blob, and goes when the upload goes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar

import msgspec
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # fsspec ships no types

from corereg.store.storage import (
    UPLOADS,
    KeyMissing,
    Stat,
    State,
    Storage,
    StorageError,
    StorageUnavailable,
    Writer,
    blob_key,
)
from corereg.store.threads import Threads

MiB = 1024 * 1024

_OWN = f"{UPLOADS.partition('/')[0]}/"
"""What lies below is the storage's own affair, and no key."""
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_SHARD_DEPTH = 6
"""``docker/registry/v2/blobs/sha256/ab``: from here down a listing is small enough to be held in memory."""
_TIMES = ("mtime", "modified", "LastModified", "last_modified", "updated", "created")
"""What filesystems call the time of the last change."""


class Run(msgspec.Struct, frozen=True, array_like=True):
    """What one writer left: `size` bytes from `offset` on, in parts of one size but for the last."""

    token: str
    offset: int
    size: int


class Progress(msgspec.Struct, frozen=True):
    """The state of an upload: its runs, one after the other without a gap."""

    part_size: int
    runs: tuple[Run, ...] = ()

    @property
    def size(self) -> int:
        return self.runs[-1].offset + self.runs[-1].size if self.runs else 0

    def cut(self, size: int) -> Progress:
        """The first `size` bytes; `KeyMissing` when there are fewer."""
        if size > self.size:
            raise KeyMissing(f"the upload has {self.size} bytes, not {size}")
        kept = (Run(run.token, run.offset, min(run.size, size - run.offset)) for run in self.runs if run.offset < size)
        return Progress(self.part_size, tuple(kept))

    def parts(self) -> Iterator[tuple[str, int]]:
        """The name of each part, and how many of its bytes count."""
        for run in self.runs:
            end = run.offset + run.size
            for start in range(run.offset, end, self.part_size):
                yield f"{start}-{run.token}", min(self.part_size, end - start)


class FsspecStorage(Storage):
    """Bytes on the fsspec filesystem `fs`, below its path `root`.

    An asynchronous filesystem made with ``asynchronous=True`` is awaited; every other one is called in threads. Whoever
    makes a filesystem that keeps a session opens and closes it: override `open` and `close`.

    `folders` says that an object can be seen while it is written (local, SFTP, SMB, memory): blobs are then written
    aside and moved into place. Object stores show an object when it is whole. None decides by the kind of `fs`.

    Nothing here is flushed to a disk by itself: how durable a commit is, is for the filesystem to say.
    """

    part_size: ClassVar[int] = 4 * MiB
    """Bytes of one part; each upload that is being written holds so much in memory."""
    read_size: ClassVar[int] = MiB
    """Bytes of one piece and one request while reading; each reader holds so much in memory."""
    threads: ClassVar[int] = 16

    def __init__(self, fs: Any, root: str = "", *, folders: bool | None = None) -> None:
        self.fs = getattr(fs, "sync_fs", fs)  # AsyncFileSystemWrapper only adds threads, and loses `open`
        self.root = str(self.fs._strip_protocol(root))  # noqa: SLF001 - fsspec's word for "normalize"
        self._native = bool(self.fs.async_impl and self.fs.asynchronous)
        self.folders = not self.fs.async_impl if folders is None else folders
        self._threads = Threads(self.threads, "fsspec")

    async def close(self) -> None:
        self._threads.close()

    # ---- uploads ----

    async def begin(self, upload: str) -> State:
        _check_upload(upload)
        return _state(Progress(self.part_size))

    async def writer(self, upload: str, state: State, offset: int) -> Writer:
        _check_upload(upload)
        return PartsWriter(self, upload, _progress(state).cut(offset))

    async def put_part(self, upload: str, name: str, data: bytes) -> None:
        """Write one part, whole."""
        await self._put(f"{UPLOADS}{upload}/{name}", data)

    async def read_upload(self, upload: str, state: State, size: int) -> AsyncGenerator[bytes]:
        _check_upload(upload)
        for name, length in _progress(state).cut(size).parts():
            data = await self._range(f"{UPLOADS}{upload}/{name}", 0, length)
            if len(data) != length:
                raise KeyMissing(f"{name} of upload {upload} has {len(data)} bytes, not {length}")
            yield data

    async def commit(self, upload: str, state: State, size: int, digest: str) -> str:
        key = blob_key(digest)
        _check_upload(upload)
        try:
            await self._assemble(upload, _progress(state).cut(size), key)
        except KeyMissing:
            found = await self.stat(key)
            if found is None or found.size != size:
                raise
        with suppress(StorageError):  # the blob is safe; what stays here is listed by `uploads`
            await self.abort(upload, state)
        return key

    async def _assemble(self, upload: str, progress: Progress, key: str) -> None:
        """Make the parts one object under `key`."""
        folder = f"{UPLOADS}{upload}"
        parts = list(progress.parts())
        if len(parts) == 1 and await self._size(f"{folder}/{parts[0][0]}") == progress.size:
            await self._move(f"{folder}/{parts[0][0]}", key)
            return
        target = f"{folder}/whole-{secrets.token_hex(4)}" if self.folders else key
        if parts:
            await self._write(target, self.read_upload(upload, _state(progress), progress.size))
        else:
            await self._put(target, b"")
        # Whatever a filesystem makes of a failed or unsupported write, here it shows.
        if (written := await self._size(target)) != progress.size:
            raise StorageUnavailable(f"{self._place(target)} has {written} bytes after {progress.size} were written.")
        if target != key:
            await self._move(target, key)

    async def abort(self, upload: str, state: State) -> None:
        _check_upload(upload)
        self.fs.invalidate_cache()
        with suppress(KeyMissing):
            await self._call("rm", UPLOADS + upload, recursive=True)

    async def uploads(self) -> AsyncGenerator[Stat]:
        found: dict[str, Stat] = {}
        async for part in self._find(UPLOADS.rstrip("/")):
            upload = part.key.removeprefix(UPLOADS).partition("/")[0]
            before = found.get(upload, Stat(upload, 0))
            times = [time for time in (before.modified, part.modified) if time is not None]
            found[upload] = Stat(upload, before.size + part.size, max(times, default=None))
        for stat in found.values():
            if _UPLOAD.fullmatch(stat.key):
                yield stat

    # ---- keys ----

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
        _check_key(key)
        size = await self._size(key)
        end = size if stop is None else min(stop, size)
        for position in range(start, end, self.read_size):
            wanted = min(self.read_size, end - position)
            data = await self._range(key, position, position + wanted)
            if len(data) != wanted:
                raise StorageUnavailable(f"{self._place(key)} ended at {position + len(data)} of {size} bytes.")
            yield data

    async def stat(self, key: str) -> Stat | None:
        _check_key(key)
        try:
            return await self._info(key)
        except KeyMissing:
            return None

    async def delete(self, key: str) -> None:
        _check_key(key)
        with suppress(KeyMissing):
            await self._call("rm_file", key)
            if self.folders:
                with suppress(StorageError):  # others may be there, or come
                    await self._call("rmdir", key.rpartition("/")[0])

    async def list(self, prefix: str = "") -> AsyncGenerator[Stat]:
        folder = prefix.rpartition("/")[0]
        if folder and not _is_path(folder):
            return
        self.fs.invalidate_cache()
        async for stat in self._below(folder):
            if stat.key.startswith(prefix) and not stat.key.startswith(_OWN):
                yield stat

    async def _below(self, folder: str) -> AsyncIterator[Stat]:
        """The keys in `folder`, few folders at a time: one listing of a whole bucket is too much to hold."""
        if folder.count("/") + 1 >= _SHARD_DEPTH:
            async for stat in self._find(folder):
                yield stat
            return
        for info in await self._listing(folder):
            name = self._key(info["name"])
            if info["type"] != "directory":
                yield _stat(name, info)
            elif name != folder and f"{name}/" != _OWN:
                async for stat in self._below(name):
                    yield stat

    async def _listing(self, folder: str) -> Any:
        try:
            return await self._call("ls", folder, detail=True)
        except KeyMissing:
            return ()

    async def _find(self, folder: str) -> AsyncIterator[Stat]:
        self.fs.invalidate_cache()
        with suppress(KeyMissing):
            found = await self._call("find", folder, detail=True)
            for name, info in found.items():
                yield _stat(self._key(name), info)

    # ---- what is asked of the filesystem ----

    async def _info(self, key: str) -> Stat:
        self.fs.invalidate_cache()  # other processes write here, too
        info = await self._call("info", key)
        if info["type"] != "file":
            raise KeyMissing(f"{self._place(key)} is not there.")
        return _stat(key, info)

    async def _size(self, key: str) -> int:
        return (await self._info(key)).size

    async def _range(self, key: str, start: int, end: int) -> bytes:
        # By default, fsspec's files read 5 MiB further than they are asked.
        options = {} if self.fs.async_impl else {"cache_type": "none"}
        data: bytes = await self._call("cat_file", key, start=start, end=end, **options)
        return data

    async def _put(self, key: str, data: bytes) -> None:
        try:
            await self._call("pipe_file", key, data)
        except KeyMissing:  # where folders are real
            await self._call("makedirs", key.rpartition("/")[0], exist_ok=True)
            await self._call("pipe_file", key, data)

    async def _move(self, source: str, target: str) -> None:
        """Move one object, by a rename where the filesystem has one, over whatever is there."""
        if self.folders:
            await self._call("makedirs", target.rpartition("/")[0], exist_ok=True)
        if not self._native and type(self.fs).mv is not AbstractFileSystem.mv:
            with self._told(source):
                await self._threads.run(self.fs.mv, self._path(source), self._path(target))
            with suppress(StorageError):  # a renamed object is as old as its last byte; a committed one is young
                await self._call("touch", target, truncate=False)
            return
        with self._told(source):
            await self._run("cp_file", self._path(source), self._path(target))
        await self._call("rm_file", source)

    async def _write(self, key: str, pieces: AsyncGenerator[bytes]) -> None:
        """Stream `pieces` into one object, through the file interface: it is the one way to write more than memory
        holds that all filesystems share. An asynchronous filesystem has it in its synchronous form.
        """
        fs = self.fs
        if self._native:
            fs = type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
        if self.folders:
            await self._call("makedirs", key.rpartition("/")[0], exist_ok=True)
        target = _Target(fs, self._path(key), at_once=self.folders)
        with self._told(key):
            try:
                await self._threads.run(target.open)
                async with aclosing(pieces):
                    async for piece in pieces:
                        await self._threads.run(target.write, piece)
                await self._threads.run(target.finish)
            except BaseException:
                await self._threads.run(target.discard)
                raise

    async def _call(self, method: str, key: str, *arguments: Any, **options: Any) -> Any:
        with self._told(key):
            return await self._run(method, self._path(key), *arguments, **options)

    async def _run(self, method: str, *arguments: Any, **options: Any) -> Any:
        if self._native:
            return await getattr(self.fs, f"_{method}")(*arguments, **options)
        return await self._threads.run(lambda: getattr(self.fs, method)(*arguments, **options))

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Whatever a filesystem raises, out goes a `StorageError`."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError.of(error, self._place(key)) from error
        except Exception as error:
            raise StorageUnavailable(f"{self._place(key)}: {type(error).__name__}: {error}") from error

    def _path(self, key: str) -> str:
        between = "/" if key and self.root and not self.root.endswith("/") else ""
        return f"{self.root}{between}{key}"

    def _place(self, key: str) -> str:
        return str(self.fs.unstrip_protocol(self._path(key)))

    def _key(self, name: str) -> str:
        return name.strip("/").removeprefix(self.root.strip("/")).lstrip("/")


class _Target:
    """An fsspec file being written; every method blocks. Unless `at_once`, nothing is to be seen before `finish`."""

    def __init__(self, fs: Any, path: str, *, at_once: bool) -> None:
        self._fs = fs
        self._path = path
        self._at_once = at_once
        self._file: Any = None

    def open(self) -> None:
        self._file = self._fs.open(self._path, "wb", autocommit=self._at_once)
        if not self._at_once:
            self._fs.transaction.files.remove(self._file)  # `open` has put it on the list of a transaction nobody ends

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def finish(self) -> None:
        self._file.close()
        if not self._at_once:
            self._file.commit()

    def discard(self) -> None:
        if self._file is None:
            return
        with suppress(Exception):
            self._file.close()
        if not self._at_once:
            with suppress(Exception):
                self._file.discard()


class PartsWriter(Writer):
    """Gathers parts and writes each whole."""

    def __init__(self, storage: FsspecStorage, upload: str, progress: Progress) -> None:
        self._storage = storage
        self._upload = upload
        self._progress = progress
        self._token = secrets.token_hex(4)
        self._held = bytearray()
        self._written = 0
        self._closed = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._held += data
        while len(self._held) >= self._progress.part_size:
            await self._put(self._progress.part_size)

    async def close(self) -> State:
        while self._held:  # more than one part where a write has failed
            await self._put(min(len(self._held), self._progress.part_size))
        if self._written and not self._closed:
            run = Run(self._token, self._progress.size, self._written)
            self._progress = Progress(self._progress.part_size, (*self._progress.runs, run))
        self._closed = True
        return _state(self._progress)

    async def _put(self, size: int) -> None:
        with memoryview(self._held) as held:
            data = bytes(held[:size])
        await self._storage.put_part(self._upload, f"{self._progress.size + self._written}-{self._token}", data)
        del self._held[:size]
        self._written += size


def _check_upload(upload: str) -> None:
    if not _UPLOAD.fullmatch(upload):
        raise KeyMissing(f"{upload!r} is no upload id")


def _check_key(key: str) -> None:
    if not _is_path(key) or key.startswith(_OWN):
        raise KeyMissing(f"{key!r} is no key")


def _is_path(text: str) -> bool:
    return "\0" not in text and not {"", ".", ".."} & set(text.split("/"))


def _state(progress: Progress) -> State:
    state: dict[str, Any] = msgspec.to_builtins(progress)
    return state


def _progress(state: State) -> Progress:
    try:
        progress = msgspec.convert(state, Progress)
    except msgspec.ValidationError as error:
        raise KeyMissing(f"the upload's state cannot be read: {error}") from None
    if any(before.offset + before.size != after.offset for before, after in pairwise(progress.runs)):
        raise KeyMissing("the upload's state has a gap")
    return progress


def _stat(key: str, info: Mapping[str, Any]) -> Stat:
    return Stat(key, int(info["size"] or 0), _modified(info))


def _modified(info: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        match info.get(name):
            case datetime() as time:
                return time.timestamp()
            case int() | float() as seconds:
                return float(seconds)
            case str() as text:
                with suppress(ValueError):
                    return datetime.fromisoformat(text).timestamp()
    return None
