"""The Storage contract: bytes by key.

Key layout, the one CNCF Distribution uses for blobs, so that an existing folder or bucket can be adopted::

    docker/registry/v2/blobs/<algorithm>/<first two hex>/<hex>/data      a blob
    corereg/uploads/<upload id>                                          bytes on their way in (a key or a prefix)
    corereg/blobs/<upload id>/...                                        a blob that stays where it was uploaded

Promises:

- An upload's bytes are appended in order. When `Writer.close` has returned, any process can continue the upload from
  the state it returned. The core keeps that state in its database.
- A writer that was overtaken (its lease ended, another process went on) cannot change what the other one writes, nor
  anything that was committed.
- `commit` returns only when the bytes are durable under the key it returns (as durable as the storage can: capability
  ``durable``); until then nobody can `read` them.
- A key's bytes never change once committed.
- Errors: a missing key, an upload whose bytes are not there and anything that is no key or upload id at all are
  `KeyMissing`; no room left is `StorageFull`; anything else that keeps the storage from working is
  `StorageUnavailable`. No other exception leaves a storage, but for what the caller's own `check` raises (`put`).
- A method that is cancelled leaves nothing running behind it.

`corereg.testing.storage.StorageContract` holds a storage to all that.
"""

from __future__ import annotations

import errno
import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Literal

import msgspec

State = Mapping[str, Any]
"""What a storage remembers about an upload between two requests; JSON values only."""

Capability = Literal["redirect", "path", "rename", "durable"]
"""What a storage can do beyond the contract.

``redirect``: `Storage.redirect` gives URLs. ``path``: `Storage.path` gives files. ``rename``: a commit moves the bytes
instead of copying them, however many they are. ``durable``: what was committed survives a power failure.
"""

BLOBS = "docker/registry/v2/blobs/"
"""Every blob's key begins so. An adopted folder or bucket holds other keys beside them."""

UPLOADS = "corereg/uploads/"
"""Where unfinished uploads lie."""

STAYING = "corereg/blobs/"
"""Where a storage that cannot rename keeps blobs under the id of their upload. No collector takes them as long as the
upload has a row.
"""

_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]{2,}")


def shown(key: str) -> str:
    """A key for people and logs: what of its name is no character, or is a NUL, as an escape."""
    return key.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def blob_key(digest: str) -> str:
    """Where a blob lies: ``sha256:ab12...`` -> ``docker/registry/v2/blobs/sha256/ab/ab12.../data``."""
    if not _DIGEST.fullmatch(digest):
        raise KeyMissing(f"{digest!r} is no digest")
    algorithm, _, encoded = digest.partition(":")
    return f"{BLOBS}{algorithm}/{encoded[:2]}/{encoded}/data"


class StorageError(Exception):
    """The storage could not do what it was asked; `str()` is a sentence for the operator."""

    _outside = "its storage does not answer, or cannot be written; try again later"

    @property
    def outside(self) -> str:
        """What clients hear: the sentence itself where it names no place (no path, no URL)."""
        return self._outside if "/" in str(self) else str(self)

    @classmethod
    def of(cls, error: OSError, place: str) -> StorageError:
        """What an `OSError` at `place` (a path, a URL) means here: a sentence that names the place and the remedy."""
        kind, sentence = _MEANINGS.get(_number(error), (StorageUnavailable, "{place}: {reason}."))
        user = os.geteuid() if hasattr(os, "geteuid") else "unknown"
        return kind(sentence.format(place=place, reason=error.strerror or repr(error), user=user))


class KeyMissing(StorageError):
    """There is nothing under that key, or not all of an upload is there."""


class StorageFull(StorageError):
    """No room is left (ENOSPC, EDQUOT)."""


class StorageUnavailable(StorageError):
    """The storage does not answer or refuses to be written (EROFS, EIO, EACCES, a network failure)."""


class StorageReadOnly(StorageUnavailable):
    """The storage cannot be written, only read (EROFS)."""

    _outside = "its storage is read-only; tell its operator"


def _number(error: OSError) -> int | None:
    """The errno; filesystems that are no disks often raise the class alone."""
    if error.errno is None:
        return next((number for kind, number in _CLASSES if isinstance(error, kind)), None)
    return error.errno


_CLASSES = ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES))

_READ_ONLY = (
    "The file system of {place} is read-only: remount it writable. A system does this by itself after errors of the "
    "disk; the kernel's log tells."
)
_LINKED = (
    "{place} leads through a symbolic link, and none is followed inside a storage: mount the other folder there "
    "(`mount --bind`)."
)
_APART = "{place} is on another file system than the uploads, which are renamed into place: keep both on one."
_REFUSED = "Access to {place} is refused: it must belong to the user that runs corereg (now user {user}), or allow it."
_TOO_MANY = "{place} cannot be opened, too many files are: raise the limit (`ulimit -n`, systemd's LimitNOFILE)."
_LARGE = "{place} has become larger than its file system allows."

_MEANINGS: Mapping[int | None, tuple[type[StorageError], str]] = {
    errno.ENOENT: (KeyMissing, "{place} is not there."),
    errno.ENAMETOOLONG: (KeyMissing, "{place} cannot be there: the name is too long."),
    errno.ENOSPC: (StorageFull, "No room is left on the disk of {place}: remove something from it, or enlarge it."),
    errno.EDQUOT: (StorageFull, "The disk quota of user {user} is used up at {place}: raise it, or remove something."),
    errno.EFBIG: (StorageFull, _LARGE),
    errno.EROFS: (StorageReadOnly, _READ_ONLY),
    errno.EIO: (StorageUnavailable, "The disk of {place} fails (input/output error): look into the kernel's log."),
    errno.EACCES: (StorageUnavailable, _REFUSED),
    errno.EPERM: (StorageUnavailable, _REFUSED),
    errno.EMFILE: (StorageUnavailable, _TOO_MANY),
    errno.ENFILE: (StorageUnavailable, _TOO_MANY),
    errno.ELOOP: (StorageUnavailable, _LINKED),
    errno.EXDEV: (StorageUnavailable, _APART),
}


class Stat(msgspec.Struct, frozen=True):
    """One key: its size in bytes and, where the storage knows it, when it was written (seconds since 1970, UTC).

    Committing a digest once more counts as writing: whoever removes old keys sees from `modified` that it is wanted.
    """

    key: str
    size: int
    modified: float | None = None


class Writer(ABC):
    """Appends to one upload within one request. One call at a time; `close` comes last, whatever happened."""

    append: Callable[[bytes], None] | None = None
    """`write` as a call that blocks for as long as the disk takes, for any thread; None where a writer has none.

    Whoever hashes a piece in a thread appends it there, too, as long as it lies in that processor's cache: the hash of
    a piece that another processor has received or written takes half as long again.
    """

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`, as it came from the network; gather what is worth a trip.

        The buffer is the caller's again on return. After a failed or cancelled write only `close` may follow. Whether
        that last piece was kept is not said: the caller counts the pieces that returned, and `Storage.writer` drops
        what lies beyond.
        """

    @abstractmethod
    async def close(self) -> State:
        """Make what was written continuable by any process (not yet durable); the new state.

        Also after a failed or cut-off request: what arrived is kept. Whoever may be cancelled shields this call. When
        it raises, pieces may be lost, and the upload stands where it stood before this writer.
        """


class Storage(ABC):
    """Where bytes lie. All methods are safe to call from many tasks of one event loop at once.

    `read`, `read_upload`, `uploads` and `list` are async generators: close them (`contextlib.aclosing`) where the loop
    over them may end early. Uploads are named by UUIDs; any name of 1 to 128 ASCII letters, digits, ``-`` and ``_`` is
    taken.
    """

    capabilities: frozenset[Capability] = frozenset()

    async def open(self) -> None:  # noqa: B027 - many storages have nothing to open
        """Called once before anything else, in the event loop that will use the storage."""

    async def close(self) -> None:  # noqa: B027 - nor to close
        """Called once at the end."""

    @abstractmethod
    async def begin(self, upload: str) -> State:
        """Start the upload `upload` (a UUID); its first state."""

    @abstractmethod
    async def writer(self, upload: str, state: State, offset: int) -> Writer:
        """Continue at `offset` bytes. Bytes that lie beyond `offset` (a crash after writing them, before the database
        knew) are dropped. `KeyMissing` when there are fewer; `StorageUnavailable` while another process holds it.
        """

    @abstractmethod
    def read_upload(self, upload: str, state: State, size: int) -> AsyncGenerator[bytes]:
        """The first `size` bytes of an unfinished upload, to hash them again. `KeyMissing` when there are fewer."""

    @abstractmethod
    async def commit(self, upload: str, state: State, size: int, digest: str) -> str:
        """Make the upload's first `size` bytes durable as `digest`; the key they lie under. The upload is gone
        afterwards, but for what a dead or overtaken writer may have left of it: `uploads` lists that, until `abort`.

        Committing a digest that is there already is no error, nor is repeating a commit whose answer was lost.
        `KeyMissing` when the upload has fewer bytes. The caller has checked the digest; the storage does not.
        """

    async def put(self, upload: str, state: State, data: bytes, digest: str, check: Callable[[], None]) -> str:
        """Make `data`, a few MiB at most, durable as `digest`: all of an upload of which no byte has come before. The
        key it lies under, and all else that `commit` promises.

        `check` blocks for as long as hashing takes: the storage calls it once, in a thread where it has one at hand,
        before anybody can read the bytes. What it raises leaves as it is. When `put` raises or is cancelled, the upload
        stands where it stood, and may be begun anew.

        Whoever can do it in fewer steps than this overrides it.
        """
        import anyio  # noqa: PLC0415 - `corereg --help` reads this page, and waits for no library that does the work

        from corereg.store.threads import Threads  # noqa: PLC0415

        thread = Threads(1, "check")
        try:
            await thread.run(check)
        finally:
            thread.close()
        writer = await self.writer(upload, state, 0)
        try:
            await writer.write(data)
        finally:
            with anyio.CancelScope(shield=True):
                state = await writer.close()
        return await self.commit(upload, state, len(data), digest)

    @abstractmethod
    async def abort(self, upload: str, state: State) -> None:
        """Forget the upload and its bytes; unknown uploads are no error, and what was committed stays. The state may
        be empty: the upload of a process that died.
        """

    @abstractmethod
    def uploads(self) -> AsyncGenerator[Stat]:
        """Every unfinished upload that left bytes, and nothing that `abort` would not take; `Stat.key` is the upload's
        id, `Stat.size` what it takes up.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
        """The bytes `start` up to, not including, `stop` (None: the end), in pieces of at most 4 MiB; fewer where the
        key ends before.

        `KeyMissing` comes with the first piece. It never ends early without raising, whatever happens to the key.
        """

    @abstractmethod
    async def stat(self, key: str) -> Stat | None:
        """Size of a committed key, or None."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove a committed key; a missing one is no error."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncGenerator[Stat]:
        """The keys that begin with `prefix`, in no promised order; unfinished uploads are none.

        Whoever removes keys asks for `BLOBS`: an adopted folder or bucket holds other keys, too.
        """

    def committed(self) -> AsyncGenerator[Stat]:
        """Every committed key that is a blob of ours, in no promised order: what a collector may consider.

        A storage that commits anywhere but below `BLOBS` lists that, too.
        """
        return self.list(BLOBS)

    async def redirect(
        self, key: str, *, method: str, filename: str, expires: int, size: int | None = None
    ) -> str | None:
        """A URL that serves the key for `expires` seconds, or None (capability ``redirect``). `size`, in bytes, tells
        whether that is worth the trip.
        """
        return None

    def path(self, key: str) -> str | None:
        """The local file behind a key, for servers that can send a file by themselves (capability ``path``)."""
        return None

    async def free(self) -> int | None:
        """Bytes still free, or None where nobody knows."""
        return None
