"""The trade: one folder on a disk, by the calls of the operating system.

Everything here blocks and belongs into a worker thread; only `Reader.glance` never waits for the disk. What the system
refuses leaves as the `OSError` it is; `told` makes it a `StorageError`.

No symbolic link is followed below the root (the root itself may be one): every folder on the way is opened from its
parent with ``O_NOFOLLOW``. For the frequent case, reading, the kernel is asked afterwards what it has opened.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from corereg import KeyMissing, Stat, StorageError, StorageUnavailable
from corereg_storage_fs.writing import WRITEBACK, start_writeback, write_all

KiB = 1024
PIECE, SMALLEST_PIECE = 512 * KiB, 64 * KiB
"""Bytes of one piece while reading, at most and at least; the memory of one download."""
READ_BUDGET = 8 * 1024 * KiB
"""Bytes of the pieces of all downloads together, while they are few enough."""
GATHER, SMALLEST_GATHER = 1024 * KiB, 64 * KiB
"""Bytes an upload gathers before they are worth a trip to a thread, at most and at least."""
LOCK_TRIES, LOCK_PAUSE = 20, 0.02
WRITE_BUDGET = 8 * 1024 * KiB
"""Bytes all uploads gather together, while they are few enough."""

OWN = "corereg"
UPLOADS = (OWN, "uploads")
_UPLOAD = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)

_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | _ALWAYS
_FILE = os.O_RDONLY | os.O_NONBLOCK | _ALWAYS  # not to wait for a writer, should it be a pipe
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_SHARED_DEPTH = 6
"""``docker/registry/v2/blobs/sha256/ab``: folders that many blobs share and nobody removes."""
_ATTEMPTS = 8

Names = tuple[str, ...]
"""A key or an upload, split at its slashes."""


def key_names(key: str) -> Names:
    """The folders and the file of a key; `KeyMissing` where that is none."""
    names = tuple(key.split("/"))
    if names[0] == OWN or "\0" in key or not {"", ".", ".."}.isdisjoint(names):
        raise KeyMissing(f"{key!r} is no key")
    return names


def upload_names(upload: str) -> Names:
    """The file of an upload; `KeyMissing` where that is no id."""
    if not _UPLOAD.fullmatch(upload):
        raise KeyMissing(f"{upload!r} is no upload id")
    return (*UPLOADS, upload)


@contextmanager
def told(place: str) -> Iterator[None]:
    """What the system refuses, in a sentence for the operator."""
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, place) from error


class Folder:
    """The folder `root`. With `fsync`, what `commit` has put there survives a power failure."""

    def __init__(self, root: str | os.PathLike[str], *, fsync: bool = True) -> None:
        self.root = os.path.realpath(root)
        self.fsync = fsync
        self.reading = 0
        """How many readers are at work: they share `READ_BUDGET`."""
        self.writing = 0
        """How many writers are at work: they share `WRITE_BUDGET`."""
        self.desk = bytearray(PIECE)
        """Where every `Reader.glance` reads to; there is one event loop, and it never waits between the two lines."""
        self._settled: set[Names] = set()

    @property
    def piece(self) -> int:
        """Bytes one reader takes at a time: what a server has not sent yet stays in memory, for each reader."""
        return max(SMALLEST_PIECE, min(PIECE, READ_BUDGET // max(self.reading, 1)))

    def path(self, names: Names) -> str:
        return "/".join((self.root, *names))

    def make(self) -> None:
        """Create the root where it is missing."""
        root = Path(self.root)
        missing = [folder for folder in (root, *root.parents) if not folder.is_dir()]
        for folder in reversed(missing):
            folder.mkdir(0o700, exist_ok=True)
            self._sync(folder.parent)

    def _sync(self, folder: Path) -> None:
        if self.fsync:
            descriptor = os.open(folder, _FOLDER)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    # ---- the way down ----

    @contextmanager
    def way(self, names: Names, *, create: bool = False, near: bool = False) -> Iterator[Sequence[int]]:
        """The descriptors of the folders `names`, the root's first; with `near` only the last of them, where they can
        be had with fewer calls: each lets go of the interpreter, and may have to wait until it gets it back.
        """
        descriptors: list[int] = []
        try:
            start = min(len(names), _SHARED_DEPTH) if near else 0
            first = self._at_once(names[:start]) if start else None
            if first is None:
                start, first = 0, self._open_root()
            descriptors.append(first)
            for depth in range(start + 1, len(names) + 1):
                descriptors.append(self._step(descriptors[-1], names[:depth], create=create))
            yield descriptors
        finally:
            for each in descriptors:
                os.close(each)

    def _at_once(self, names: Names) -> int | None:
        """The folder `names` by its path; None where it cannot be, or something on the way is a link."""
        path = self.path(names)
        try:
            descriptor = os.open(path, _FOLDER)
        except OSError:
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        return None

    def _open_root(self) -> int:
        try:
            return os.open(self.root, _FOLDER)
        except FileNotFoundError:  # not a missing key: everything is missing
            raise StorageUnavailable(f"The folder {self.root} is gone: is its disk mounted?") from None

    def _step(self, parent: int, names: Names, *, create: bool) -> int:
        """Open the last of `names` in `parent`."""
        name = names[-1]
        if create and len(names) > _SHARED_DEPTH:  # a blob's own folder: it is hardly ever there
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
            raise
        self._settled.discard(names)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)

    def _settle(self, names: Names, way: Sequence[int]) -> None:
        """Make what was just put into the last folder of `way` durable, and each folder's entry in its parent.

        Whoever made a folder may not have come to this yet, so it does not matter who did. The folders all blobs share
        are settled once in a process's life.
        """
        if not self.fsync:
            return
        os.fsync(way[-1])
        for depth in range(len(names), 0, -1):
            if names[:depth] in self._settled:
                break
            above = depth - len(names) - 2
            if -above > len(way):  # not opened, for nobody thought that it was needed
                with self.way(names) as whole:
                    self._settle(names, whole)
                return
            os.fsync(way[above])
        self._settled.update(names[:depth] for depth in range(1, min(len(names), _SHARED_DEPTH) + 1))

    # ---- uploads ----

    def claim(self, upload: str, size: int) -> io.FileIO:
        """The upload's file with `size` bytes, locked: nobody else writes to it before it is closed.

        The lock holds off the process that had the upload before and has only been slow: it may not write into what
        has become a blob meanwhile. `KeyMissing` when there are fewer bytes.
        """
        upload_names(upload)
        try:
            with self.way(UPLOADS, create=not size, near=True) as way:
                return self._claim(way[-1], upload, size)
        except FileNotFoundError:
            raise KeyMissing(f"Upload {upload} is not there.") from None

    def _claim(self, uploads: int, upload: str, size: int) -> io.FileIO:
        """The same in the folder `uploads`."""
        flags = os.O_RDWR | os.O_NONBLOCK | _ALWAYS | (0 if size else os.O_CREAT)
        with ExitStack() as undo:
            file = undo.enter_context(io.FileIO(os.open(upload, flags, 0o600, dir_fd=uploads), "r+"))
            _lock(file, upload)
            found = os.fstat(file.fileno())
            there = os.stat(upload, dir_fd=uploads, follow_symlinks=False)
            if not os.path.samestat(found, there) or not stat.S_ISREG(found.st_mode) or found.st_size < size:
                raise KeyMissing(f"Upload {upload} has not the {size} bytes it should have.")
            if found.st_size > size:
                os.ftruncate(file.fileno(), size)
            undo.pop_all()
            return file

    def put(self, upload: str, data: bytes, names: Names, check: Callable[[], None]) -> None:
        """Make `data` the file `names`, when `check` allows it: all in one go, for a thread that is woken once."""
        check()
        upload_names(upload)
        with (
            self.way(UPLOADS, create=True, near=True) as way,
            self._claim(way[-1], upload, 0) as file,
        ):
            try:
                size = write_all(file.fileno(), [data], 0)
                self._move(file, way[-1], upload, size, names)
            except OSError:
                with suppress(OSError):
                    os.unlink(upload, dir_fd=way[-1])  # the upload stands where it stood, at its beginning
                raise

    def commit(self, upload: str, size: int, names: Names) -> None:
        """Make the upload's first `size` bytes the file `names`."""
        upload_names(upload)
        try:
            with (
                self.way(UPLOADS, create=not size, near=True) as way,
                self._claim(way[-1], upload, size) as file,
            ):
                self._move(file, way[-1], upload, size, names)
        except KeyMissing:
            if not self._confirm(names, size):
                raise
        except FileNotFoundError:
            if not self._confirm(names, size):
                raise KeyMissing(f"Upload {upload} is not there.") from None

    def _move(self, file: io.FileIO, uploads: int, upload: str, size: int, names: Names) -> None:
        """Make the upload, its file that was claimed in the folder `uploads`, the file `names`."""
        for attempt in range(_ATTEMPTS):
            try:
                self._place(file, uploads, upload, size, names)
            except FileNotFoundError:  # the blob's folder was removed at this moment, with the blob that was there
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _place(self, file: io.FileIO, uploads: int, upload: str, size: int, names: Names) -> None:
        folders, name = names[:-1], names[-1]
        with self.way(folders, create=True, near=True) as way:
            if _touch(name, size, way[-1]):
                self._settle(folders, way)
                with suppress(FileNotFoundError):
                    os.unlink(upload, dir_fd=uploads)
                return
            os.utime(file.fileno())  # young from now on, however long the upload took
            if self.fsync:
                try:
                    os.fsync(file.fileno())
                except OSError:
                    # The kernel forgets that it could not write these pages; a second fsync might succeed without them.
                    os.unlink(upload, dir_fd=uploads)
                    raise
            try:
                os.replace(upload, name, src_dir_fd=uploads, dst_dir_fd=way[-1])
            except PermissionError:
                # The disk lets nobody touch, replace or remove what is there (`chattr +i`): then it is the blob.
                if not _readable(name, size, way[-1]):
                    raise
                os.unlink(upload, dir_fd=uploads)
            self._settle(folders, way)

    def _confirm(self, names: Names, size: int) -> bool:
        """Whether the file is there already; then it is durable, too."""
        folders, name = names[:-1], names[-1]
        try:
            with self.way(folders) as way:
                found = _touch(name, size, way[-1])
                if found:
                    self._settle(folders, way)
                return found
        except FileNotFoundError:
            return False

    def abort(self, upload: str) -> None:
        *_, name = upload_names(upload)
        with suppress(FileNotFoundError), self.way(UPLOADS) as way:
            os.unlink(name, dir_fd=way[-1])

    def uploads(self) -> Iterator[Stat]:
        """The unfinished uploads; whatever else somebody has put there is none."""
        for found in self._files(UPLOADS, ""):
            upload = found.key.removeprefix("/".join((*UPLOADS, "")))
            if _UPLOAD.fullmatch(upload):
                yield Stat(upload, found.size, found.modified)

    # ---- files ----

    def open(self, names: Names) -> io.FileIO:
        """The file, to be read."""
        path = self.path(names)
        try:
            file = _file(os.open(path, _FILE))
        except OSError:  # for one of the folders: look at them one by one to say what is the matter
            return self._open_on_foot(names)
        if _is_at(file.fileno(), path):
            return file
        file.close()
        return self._open_on_foot(names)

    def _open_on_foot(self, names: Names) -> io.FileIO:
        try:
            with self.way(names[:-1]) as way:
                return _file(os.open(names[-1], _FILE, dir_fd=way[-1]))
        except NotADirectoryError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def stat(self, names: Names) -> os.stat_result | None:
        """The file's entry, or None."""
        try:
            with self.way(names[:-1]) as way:
                found = os.stat(names[-1], dir_fd=way[-1], follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def delete(self, names: Names) -> None:
        """Remove the file, and its folder when nothing else is in it."""
        with suppress(FileNotFoundError, NotADirectoryError), self.way(names[:-1]) as way:
            with suppress(FileNotFoundError):
                os.unlink(names[-1], dir_fd=way[-1])
            if len(names) > 1:
                with suppress(OSError):
                    os.rmdir(names[-2], dir_fd=way[-2])

    def files(self, prefix: str) -> Iterator[Stat]:
        """The files whose keys begin with `prefix`."""
        *folders, _ = prefix.split("/")
        if {"", ".", ".."}.isdisjoint(folders) and "\0" not in prefix and folders[:1] != [OWN]:
            yield from self._files(tuple(folders), prefix)

    def _files(self, names: Names, prefix: str) -> Iterator[Stat]:
        with suppress(FileNotFoundError, NotADirectoryError), self.way(names):
            pass  # no link on the way
        waiting = ["/".join(names)]
        while waiting:
            folder = waiting.pop()
            for entry in _entries(f"{self.root}/{folder}"):
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if key != OWN and f"{key}/".startswith(prefix[: len(key) + 1]):
                        waiting.append(key)
                elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        yield Stat(key, found.st_size, found.st_mtime)

    def free(self) -> int:
        """Bytes an ordinary user may still write."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize


class Appender:
    """Writes at the end of one upload."""

    def __init__(self, folder: Folder, upload: str, offset: int) -> None:
        self._folder = folder
        self._upload = upload
        self._offset = offset
        self._file: io.FileIO | None = None
        self._closed = False
        folder.writing += 1

    @property
    def share(self) -> int:
        """Bytes to gather before they are written: less when many are writing."""
        return max(SMALLEST_GATHER, min(GATHER, WRITE_BUDGET // max(self._folder.writing, 1)))

    def open(self) -> None:
        """Claim the upload's file, and drop what lies beyond the offset."""
        self._file = self._folder.claim(self._upload, self._offset)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Write all pieces, or fail and be where it was."""
        if self._file is None:
            raise StorageUnavailable(f"upload {self._upload} was closed")
        offset = write_all(self._file.fileno(), pieces, self._offset)
        if offset > WRITEBACK:
            start_writeback(self._file.fileno(), self._offset, offset - self._offset)
        self._offset = offset

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._folder.writing -= 1
        if self._file is not None:
            self._file.close()
            self._file = None


class Reader:
    """Reads one file from `start` to `stop` (None: its end), piece by piece; an empty piece is the end.

    `glance` takes from the page cache what is there and is for the event loop; `fetch` may wait for the disk. The file
    is closed as soon as nothing more is to be read.
    """

    def __init__(self, folder: Folder, names: Names, start: int, stop: int | None) -> None:
        self._folder = folder
        self._names = names
        self._position = start
        self._stop = stop
        self._end: int | None = None
        self._file: io.FileIO | None = None

    def glance(self) -> bytes | None:
        """The next piece; None when it has to be fetched. `OSError` (EOPNOTSUPP) where this file system cannot tell."""
        if _NOWAIT is None:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        file, wanted = self._next()
        if file is None:
            return b""
        desk = memoryview(self._folder.desk)[:wanted]
        try:
            got = os.preadv(file.fileno(), [desk], self._position, _NOWAIT)
        except BlockingIOError:
            return None
        return self._passed(bytes(desk)) if got == wanted else None

    def fetch(self) -> bytes:
        """The next piece."""
        file, wanted = self._next()
        if file is None:
            return b""
        piece = os.pread(file.fileno(), wanted, self._position)
        while len(piece) < wanted:
            more = os.pread(file.fileno(), wanted - len(piece), self._position + len(piece))
            if not more:
                raise StorageUnavailable(f"{self._folder.path(self._names)} was cut short while it was read.")
            piece += more
        return self._passed(piece)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> tuple[io.FileIO | None, int]:
        """The file, None at the end; and how many bytes come next."""
        if self._end is None:
            self._file = self._folder.open(self._names)
            size = os.fstat(self._file.fileno()).st_size
            self._end = size if self._stop is None else min(self._stop, size)
        wanted = min(self._folder.piece, self._end - self._position)
        if wanted <= 0:
            self.close()
        return self._file, wanted

    def _passed(self, piece: bytes) -> bytes:
        self._position += len(piece)
        if self._position == self._end:
            self.close()
        return piece


def _is_at(descriptor: int, path: str) -> bool:
    """Whether what was opened lies at `path` and not behind a link on the way, as far as the system can tell."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == path  # noqa: PTH115 - a Path takes three times as long
    except OSError:
        return False


def _file(descriptor: int) -> io.FileIO:
    """What was opened, as a file that closes itself; nothing but a regular file is one."""
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return io.FileIO(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _try_lock(file: io.FileIO) -> None:
    """Lock it; a process that is just being forked holds a copy of every lock until it runs its own program."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_PAUSE)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(file: io.FileIO, upload: str) -> None:
    try:
        _try_lock(file)
    except BlockingIOError:
        raise StorageUnavailable(f"Upload {upload} is still being written by another request; try again.") from None
    except OSError as error:  # a network file system without locks: the lease in the database has to do
        if error.errno not in _NO_LOCKS:
            raise


def _touch(name: str, size: int, folder: int) -> bool:
    """Whether a file of this size is there; if it is, it is as young now as if it had just been written."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        os.utime(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, PermissionError):  # gone again; or not ours, then ours takes its place
        return False
    return True


def _readable(name: str, size: int, folder: int) -> bool:
    """Whether a file of this size is there, and can be read."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        return stat.S_ISREG(found.st_mode) and found.st_size == size
    finally:
        os.close(descriptor)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
