"""What only a folder on a disk has to do."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from corereg import BLOBS, KeyMissing, StorageFull, StorageUnavailable, blob_key
from corereg.testing.storage import appended, committed, digest_of, read, some_bytes, started, stored
from corereg_storage_fs.folder import PIECE
from corereg_storage_fs.storage import FolderStorage
from corereg_storage_fs.writing import WRITTEN_AT_ONCE

pytestmark = pytest.mark.anyio

MiB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "storage"


@pytest.fixture
async def storage(root: Path) -> AsyncIterator[FolderStorage]:
    storage = FolderStorage(root)
    await storage.open()
    yield storage
    await storage.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened_path(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def upload_file(root: Path, upload: str) -> Path:
    return root / "corereg" / "uploads" / upload


# ---- files ----


async def test_a_file_that_nobody_may_replace_is_the_blob(
    storage: FolderStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``chattr +i``: its time cannot be set, and nothing can be renamed onto it."""
    utime, replace = os.utime, os.replace

    def refused(call: Callable[..., None]) -> Callable[..., None]:
        def refuse(*arguments: Any, **options: Any) -> None:
            if "data" in arguments:
                raise PermissionError(errno.EPERM, "immutable")
            call(*arguments, **options)

        return refuse

    async with stored(storage, b"immutable") as key:
        with monkeypatch.context() as patch:
            patch.setattr(os, "utime", refused(utime))
            patch.setattr(os, "replace", refused(replace))
            upload, state = await started(storage)
            state = await appended(storage, upload, state, 0, b"immutable")
            assert await storage.commit(upload, state, 9, digest_of(b"immutable")) == key
            assert await read(storage, key) == b"immutable"
            assert not upload_file(root, upload).exists()
            (root / key).write_bytes(b"shorter")
            upload, state = await started(storage)
            state = await appended(storage, upload, state, 0, b"immutable")
            with pytest.raises(StorageUnavailable):
                await storage.commit(upload, state, 9, digest_of(b"immutable"))


async def test_nobody_else_can_look(storage: FolderStorage, root: Path) -> None:
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, b"abc")
    assert mode(root) == 0o700
    assert mode(upload_file(root, upload).parent) == 0o700
    assert mode(upload_file(root, upload)) == 0o600
    async with committed(storage, upload, state, b"abc") as key:
        assert mode(root / key) == 0o600
        assert all(mode(root / folder) == 0o700 for folder in Path(key).parents)
        assert not upload_file(root, upload).exists()


async def test_a_deleted_blob_leaves_no_folder(storage: FolderStorage, root: Path) -> None:
    async with stored(storage, b"abc") as key:
        (root / key).with_name("other").touch()
    assert [path.name for path in (root / key).parent.iterdir()] == ["other"]
    (root / key).with_name("other").unlink()
    await storage.delete(key)
    assert not (root / key).parent.exists()


async def test_a_folder_that_another_registry_left(storage: FolderStorage, root: Path) -> None:
    layer = root / blob_key(digest_of(b"layer"))
    link = root / "docker/registry/v2/repositories/demo/_layers/sha256" / digest_of(b"layer")[7:] / "link"
    for path, data in ((layer, b"layer"), (link, digest_of(b"layer").encode())):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    assert [(stat.key, stat.size) async for stat in storage.list(BLOBS)] == [(blob_key(digest_of(b"layer")), 5)]
    (found,) = [stat.key async for stat in storage.list("docker/registry/v2/repositories/")]
    assert await read(storage, found) == digest_of(b"layer").encode()
    async with stored(storage, b"layer") as key:
        assert root / key == layer


async def test_only_uploads_are_uploads(storage: FolderStorage, root: Path) -> None:
    upload, state = await started(storage)
    await appended(storage, upload, state, 0, b"abc")
    for name in (".nfs0001", "folder/file"):
        upload_file(root, name).parent.mkdir(exist_ok=True)
        upload_file(root, name).touch()
    assert [stat.key async for stat in storage.uploads()] == [upload]


async def test_a_blob_of_the_wrong_size_is_healed(storage: FolderStorage, root: Path) -> None:
    async with stored(storage, b"whole") as key:
        (root / key).write_bytes(b"who")
        async with stored(storage, b"whole"):
            assert await read(storage, key) == b"whole"


async def test_a_blob_is_as_young_as_its_last_commit(storage: FolderStorage, root: Path) -> None:
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, b"abc")
    os.utime(upload_file(root, upload), (1, 1))
    async with committed(storage, upload, state, b"abc") as key:
        assert time.time() - (root / key).stat().st_mtime < 60
        os.utime(root / key, (1, 1))
        inode = (root / key).stat().st_ino
        async with stored(storage, b"abc"):
            assert time.time() - (root / key).stat().st_mtime < 60
            assert (root / key).stat().st_ino == inode


async def test_a_missing_root_is_no_missing_key(storage: FolderStorage, root: Path) -> None:
    upload, state = await started(storage)
    shutil.move(root, root.with_name("unmounted"))
    for attempt in (
        read(storage, blob_key(digest_of(b"x"))),
        storage.stat(blob_key(digest_of(b"x"))),
        storage.writer(upload, state, 0),
        anext(storage.list(BLOBS)),
    ):
        with pytest.raises(StorageUnavailable, match="is its disk mounted"):
            await attempt


async def test_a_cut_file_never_ends_early(storage: FolderStorage, root: Path) -> None:
    async with stored(storage, some_bytes(3 * PIECE)) as key, aclosing(storage.read(key)) as pieces:
        assert len(await anext(pieces)) == PIECE
        os.truncate(root / key, PIECE + 10)
        with pytest.raises(StorageUnavailable, match="was cut short"):
            await anext(pieces)


async def test_what_is_open_can_be_read_to_its_end(storage: FolderStorage) -> None:
    data = some_bytes(3 * PIECE)
    async with stored(storage, data) as key, aclosing(storage.read(key)) as pieces:
        found = await anext(pieces)
        await storage.delete(key)
        assert found + b"".join([piece async for piece in pieces]) == data


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_only_files_are_blobs(storage: FolderStorage, root: Path, kind: str) -> None:
    path = root / blob_key(digest_of(b"x"))
    path.parent.mkdir(parents=True)
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    before = descriptors()
    with pytest.raises((KeyMissing, StorageUnavailable)):
        await read(storage, blob_key(digest_of(b"x")))
    assert await storage.stat(blob_key(digest_of(b"x"))) is None
    assert [stat async for stat in storage.list()] == []
    assert descriptors() == before


# ---- symbolic links ----


async def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    storage = FolderStorage(tmp_path / "link")
    await storage.open()
    async with stored(storage, b"abc") as key:
        assert await read(storage, key) == b"abc"
        assert (tmp_path / "real" / key).exists()
    await storage.close()


@pytest.mark.parametrize("depth", range(8))
async def test_no_link_is_followed(storage: FolderStorage, root: Path, tmp_path: Path, depth: int) -> None:
    """Whichever of ``docker/registry/v2/blobs/sha256/ab/ab12.../data`` is one."""
    key = blob_key(digest_of(b"secret"))
    outside = tmp_path / "outside" / key
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"secret")
    at = Path(*Path(key).parts[: depth + 1])
    (root / at).parent.mkdir(parents=True, exist_ok=True)
    (root / at).symlink_to(tmp_path / "outside" / at)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await read(storage, key)
    if depth < 7:
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            await storage.stat(key)
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            await storage.delete(key)
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            [stat async for stat in storage.list(key)]
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"secret")
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            await storage.commit(upload, state, 6, digest_of(b"secret"))
        await storage.abort(upload, state)
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            await storage.put(upload, state, b"secret", digest_of(b"secret"), lambda: None)
    else:
        assert await storage.stat(key) is None
    assert [stat async for stat in storage.list()] == []
    assert outside.read_bytes() == b"secret"


@pytest.mark.parametrize("depth", range(2, 7))
async def test_a_link_that_came_later_is_not_followed(
    storage: FolderStorage, root: Path, tmp_path: Path, depth: int
) -> None:
    """The folders are known by now, and opened in one go."""
    first = digest_of(b"first")
    upload, state = await started(storage)
    key = await storage.put(upload, state, b"first", first, lambda: None)
    at = Path(*Path(key).parts[:depth])
    (root / at).rename(tmp_path / "outside")
    (root / at).symlink_to(tmp_path / "outside")
    before = sorted((tmp_path / "outside").rglob("*"))
    upload, state = await started(storage)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.put(upload, state, b"first", first, lambda: None)
    state = await appended(storage, upload, state, 0, b"first")
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.commit(upload, state, 5, first)
    await storage.abort(upload, state)
    assert sorted((tmp_path / "outside").rglob("*")) == before


@pytest.mark.parametrize("name", ["corereg", "corereg/uploads"])
async def test_no_link_to_the_uploads_is_followed(
    storage: FolderStorage, root: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "uploads").mkdir(parents=True)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(outside)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.put("upload", {}, b"abc", digest_of(b"abc"), lambda: None)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.writer("upload", {}, 0)
    assert sorted(outside.rglob("*")) == [outside / "uploads"]


async def test_no_link_is_written_through(storage: FolderStorage, root: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"important")
    upload, state = await started(storage)
    upload_file(root, upload).parent.mkdir(parents=True)
    upload_file(root, upload).symlink_to(victim)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.writer(upload, state, 0)
    with pytest.raises(StorageUnavailable, match="symbolic link"):
        await storage.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
    assert victim.read_bytes() == b"important"
    upload_file(root, upload).unlink(missing_ok=True)
    upload_file(root, upload).symlink_to(victim)
    await storage.abort(upload, state)
    assert victim.exists()
    assert not upload_file(root, upload).is_symlink()


# ---- reading without threads ----


def without_threads(monkeypatch: pytest.MonkeyPatch, storage: FolderStorage) -> None:
    async def run(call: Callable[..., Any], *arguments: Any) -> Any:
        pytest.fail(f"{call} was called in a thread")

    monkeypatch.setattr(storage._threads, "run", run)


@pytest.mark.parametrize("size", [0, 1, 65_536, PIECE, 5 * PIECE + 1])
async def test_what_is_cached_takes_no_thread(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    data = some_bytes(size)
    async with stored(storage, data) as key:
        await read(storage, key)
        if not storage._can_glance:
            pytest.skip("this file system cannot tell what is cached")
        with monkeypatch.context() as patch:
            without_threads(patch, storage)
            assert await read(storage, key) == data
            assert await read(storage, key, size // 2) == data[size // 2 :]


@pytest.mark.parametrize("what", ["nothing", "half", "unable"])
async def test_what_is_not_cached_is_fetched(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    asked = 0

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int) -> int:
        nonlocal asked
        asked += 1
        if what == "half":
            return len(buffers[0]) // 2
        raise OSError(errno.EAGAIN if what == "nothing" else errno.EOPNOTSUPP, "not now")

    monkeypatch.setattr("corereg_storage_fs.folder._NOWAIT", 8)
    monkeypatch.setattr(os, "preadv", preadv)
    data = some_bytes(3 * PIECE + 5)
    async with stored(storage, data) as key:
        assert await read(storage, key) == data
        assert await read(storage, key, 7, 70) == data[7:70]
    assert asked == {"nothing": 5, "half": 5, "unable": 1}[what]


async def test_a_hundred_downloads_hold_little(storage: FolderStorage) -> None:
    async with stored(storage, some_bytes(8 * MiB)) as key:
        readers = [storage.read(key) for _ in range(100)]
        tracemalloc.start()
        held = [await anext(reader) for reader in readers]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * (PIECE + 16 * 1024)
        assert len(held) == 100
        for reader in readers:
            await reader.aclose()


async def test_no_descriptor_is_left(storage: FolderStorage) -> None:
    async with stored(storage, some_bytes(3 * MiB)) as key:
        await read(storage, key)
        before = descriptors()
        for _ in range(20):
            async with aclosing(storage.read(key)) as pieces:
                await anext(pieces)
            task = asyncio.create_task(read(storage, key))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            upload, state = await started(storage)
            for attempt in (storage.writer(upload, state, 5), read(storage, "docker/none"), read(storage, "docker")):
                with suppress(KeyMissing):
                    await attempt
            task = asyncio.create_task(appended(storage, upload, state, 0, some_bytes(MiB)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await storage.abort(upload, state)
        assert descriptors() == before


# ---- cancelled in the middle ----


@pytest.mark.parametrize("call", ["pwritev", "fsync"])
async def test_a_cancelled_call_is_waited_for(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The server cancels its task: the thread that works on the file goes on, and so nobody may close it yet."""
    real = getattr(os, call)
    begun, ended = threading.Event(), threading.Event()

    def slow(descriptor: int, *arguments: Any) -> Any:
        begun.set()
        inode = os.fstat(descriptor).st_ino
        time.sleep(0.1)
        assert os.fstat(descriptor).st_ino == inode
        result = real(descriptor, *arguments)
        ended.set()
        return result

    data = some_bytes(MiB)
    upload, state = await started(storage)
    if call == "fsync":
        state = await appended(storage, upload, state, 0, data)
    monkeypatch.setattr(os, call, slow)
    writer = None
    if call == "fsync":
        task: asyncio.Task[Any] = asyncio.create_task(storage.commit(upload, state, len(data), digest_of(data)))
    else:
        writer = await storage.writer(upload, state, 0)
        task = asyncio.create_task(writer.write(data))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended.is_set()
    if writer is not None:
        state = await writer.close()
    async with committed(storage, upload, state, data) as key:
        assert await read(storage, key) == data


# ---- two processes on one upload ----


async def test_a_slow_writer_keeps_the_upload(storage: FolderStorage, root: Path) -> None:
    upload, state = await started(storage)
    slow = await storage.writer(upload, state, 0)
    other = FolderStorage(root)
    with pytest.raises(StorageUnavailable, match="still being written"):
        await other.writer(upload, state, 0)
    with pytest.raises(StorageUnavailable, match="still being written"):
        await other.commit(upload, state, 0, digest_of(b""))
    await slow.write(b"abc")
    state = await slow.close()
    async with committed(other, upload, state, b"abc") as key:
        assert await read(storage, key) == b"abc"
    await other.close()


async def test_without_locks_the_lease_has_to_do(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    async with stored(storage, b"abc") as key:
        assert await read(storage, key) == b"abc"


async def test_a_folder_that_vanishes_during_a_commit(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob of the same digest is deleted, and its folder with it, just before ours is renamed into it."""
    real = os.replace
    removed = 0

    def replace(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        nonlocal removed
        if removed < 3:
            removed += 1
            Path(opened_path(dst_dir_fd)).rmdir()
        real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", replace)
    async with stored(storage, b"abc") as key:
        assert await read(storage, key) == b"abc"
    assert removed == 3


# ---- durability ----


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """What was flushed and renamed, in order, by the last name of each path."""
    found: list[str] = []
    fsync, replace = os.fsync, os.replace

    def name(descriptor: int) -> str:
        return opened_path(descriptor).removeprefix(f"{root.parent}/")

    def watched_fsync(descriptor: int) -> None:
        found.append(f"fsync {name(descriptor)}")
        fsync(descriptor)

    def watched_replace(source: str, target: str, **options: int) -> None:
        found.append(f"rename {name(options['dst_dir_fd'])}/{target}")
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return found


async def test_what_is_flushed_when(storage: FolderStorage, journal: list[str]) -> None:
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, b"abc")
    assert journal == []
    digest = digest_of(b"abc")[7:]
    folder = f"storage/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}"
    ways = [folder]
    while "/" in ways[-1]:
        ways.append(ways[-1].rpartition("/")[0])
    async with committed(storage, upload, state, b"abc"):
        assert journal == [
            f"fsync storage/corereg/uploads/{upload}",
            f"rename {folder}/data",
            *(f"fsync {way}" for way in ways),
        ]
        journal.clear()
        async with stored(storage, b"abc"):  # another one may have renamed it and not yet flushed
            assert journal == [f"fsync {way}" for way in ways[:2]]


async def test_what_is_flushed_when_a_blob_is_put(storage: FolderStorage, root: Path, journal: list[str]) -> None:
    async def put(data: bytes) -> list[str]:
        journal.clear()
        upload, state = await started(storage)
        key = await storage.put(upload, state, data, digest_of(data), lambda: None)
        folder = f"storage/{key}".rpartition("/")[0]
        assert journal[:2] == [f"fsync storage/corereg/uploads/{upload}", f"rename {folder}/data"]
        return [line.removeprefix("fsync ") for line in journal[2:]]

    def ways(data: bytes) -> list[str]:
        found = [f"storage/{blob_key(digest_of(data))}".rpartition("/")[0]]
        while "/" in found[-1]:
            found.append(found[-1].rpartition("/")[0])
        return found

    assert await put(b"abc") == ways(b"abc")
    assert await put(b"abd") == ways(b"abd")[:3], "another shard of the same folder"
    same = next(data for data in map(str.encode, map(str, range(9999))) if digest_of(data)[:9] == digest_of(b"abc")[:9])
    assert await put(same) == ways(same)[:2], "the shard is known"
    shutil.rmtree(root / ways(same)[1].removeprefix("storage/"))
    assert await put(same) == ways(same)[:3], "the shard was made anew"


async def test_a_failed_fsync_drops_what_was_put(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    upload, state = await started(storage)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageUnavailable, match="input/output error"):
            await storage.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
    assert [stat async for stat in storage.list()] == []
    assert [stat async for stat in storage.uploads()] == []
    key = await storage.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
    assert await read(storage, key) == b"abc"


async def test_an_upload_that_is_written_to_cannot_be_put(storage: FolderStorage, root: Path) -> None:
    """A writer whose lease has ended and who has only been slow may not write into what becomes a blob."""
    upload, state = await started(storage)
    slow = await storage.writer(upload, state, 0)
    other = FolderStorage(root)
    with pytest.raises(StorageUnavailable, match="still being written"):
        await other.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
    await slow.close()
    key = await other.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
    assert await read(storage, key) == b"abc"
    await other.close()


async def test_without_fsync_nothing_is(root: Path, journal: list[str]) -> None:
    storage = FolderStorage(root, fsync=False)
    await storage.open()
    async with stored(storage, b"abc"):
        assert [line for line in journal if line.startswith("fsync")] == []
    await storage.close()


async def test_a_failed_fsync_drops_the_upload(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next fsync would succeed: the kernel reports a failed write once, and then takes the pages for written."""
    upload, state = await started(storage)
    state = await appended(storage, upload, state, 0, b"abc")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageUnavailable, match="input/output error"):
            await storage.commit(upload, state, 3, digest_of(b"abc"))
    with pytest.raises(KeyMissing):
        await storage.commit(upload, state, 3, digest_of(b"abc"))


# ---- what the system refuses ----


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.ENOSPC, StorageFull, "No room is left on the disk of .*: remove something"),
        (errno.EDQUOT, StorageFull, "quota of user .* is used up at .*: raise it"),
        (errno.EROFS, StorageUnavailable, "is read-only: remount it"),
        (errno.EIO, StorageUnavailable, "The disk of .* fails"),
        (errno.EACCES, StorageUnavailable, "Access to .* is refused: it must belong to"),
        (errno.EPERM, StorageUnavailable, "Access to .* is refused: it must belong to"),
        (errno.EMFILE, StorageUnavailable, "raise the limit"),
        (errno.ESTALE, StorageUnavailable, "stale {}"),
    ],
)
async def test_sentences(
    storage: FolderStorage,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    sentence: str,
) -> None:
    def pwritev(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        raise OSError(number, "stale {}")

    upload, state = await started(storage)
    writer = await storage.writer(upload, state, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", pwritev)
        with pytest.raises(kind, match=sentence) as raised:
            await writer.write(some_bytes(MiB))
        assert str(upload_file(root, upload)) in str(raised.value)
    state = await writer.close()
    await storage.abort(upload, state)


@pytest.mark.parametrize("piece", [1 * MiB, 100_000, 1500])
async def test_no_write_is_larger_than_the_kernel_keeps_cheaply(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    real, sizes = os.pwritev, []

    def pwritev(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        sizes.append(sum(map(len, buffers)))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "pwritev", pwritev)
    data = some_bytes(MiB + 1)
    async with stored(storage, data, piece=piece) as key:
        assert await read(storage, key) == data
    assert sum(sizes) == len(data)
    assert max(sizes) == WRITTEN_AT_ONCE


async def test_half_a_write_is_finished(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev

    def pwritev(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        return real(descriptor, [buffers[0][:1000]], offset)

    monkeypatch.setattr(os, "pwritev", pwritev)
    data = some_bytes(300_000)
    async with stored(storage, data, piece=1500) as key:
        assert await read(storage, key) == data
