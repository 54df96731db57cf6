"""Disks that are full or read-only: real ones, so only for root on Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corereg import StorageFull, StorageUnavailable, Writer
from corereg.testing.storage import appended, committed, digest_of, opened, read, some_bytes, started, stored
from corereg_storage_fs.storage import FolderStorage

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount"),
]

KiB = 1024
MiB = 1024 * KiB


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "none", folder)
    yield folder
    unmount(folder)


async def fill(writer: Writer) -> None:
    while True:
        await writer.write(some_bytes(256 * KiB))


async def test_a_full_disk(disk: Path) -> None:
    async with opened(lambda: FolderStorage(disk / "storage")) as storage:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"kept ")
        writer = await storage.writer(upload, state, 5)
        with pytest.raises(StorageFull, match=f"No room is left on the disk of {disk}"):
            await fill(writer)
        with pytest.raises(StorageFull):
            await writer.close()
        assert await storage.free() == 0
        # What had been noted is still there, and room made goes to the upload.
        state = await appended(storage, upload, state, 5, b"and kept")
        assert (await storage.free() or 0) > 900 * KiB
        async with committed(storage, upload, state, b"kept and kept") as key:
            assert await read(storage, key) == b"kept and kept"


async def test_a_full_disk_keeps_nothing_of_what_was_put(disk: Path) -> None:
    async with opened(lambda: FolderStorage(disk / "storage")) as storage:
        upload, state = await started(storage)
        large, small = some_bytes(1280 * KiB), some_bytes(512 * KiB)
        with pytest.raises(StorageFull, match=f"No room is left on the disk of {disk}"):
            await storage.put(upload, state, large, digest_of(large), lambda: None)
        assert [stat async for stat in storage.uploads()] == []
        assert [stat async for stat in storage.list()] == []
        assert (await storage.free() or 0) > 900 * KiB, "what was written is free again"
        key = await storage.put(upload, state, small, digest_of(small), lambda: None)
        assert await read(storage, key) == small


async def test_a_read_only_disk(disk: Path) -> None:
    data = some_bytes(1000)
    async with opened(lambda: FolderStorage(disk)) as storage, stored(storage, data) as key:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, b"abc")
        mount("-o", "remount,ro", disk)
        try:
            async with opened(lambda: FolderStorage(disk)) as other:
                assert await read(other, key) == data
                assert upload in [stat.key async for stat in other.uploads()]
                for attempt in (
                    other.writer(upload, state, 3),
                    other.commit(upload, state, 3, digest_of(b"abc")),
                    other.put("another", {}, b"abc", digest_of(b"abc"), lambda: None),
                    other.abort(upload, state),
                    other.delete(key),
                ):
                    with pytest.raises(StorageUnavailable, match=f"{disk}.* is read-only: remount it writable"):
                        await attempt
        finally:
            mount("-o", "remount,rw", disk)
        await storage.abort(upload, state)


async def test_a_read_only_bind_mount(disk: Path, tmp_path: Path) -> None:
    window = tmp_path / "window"
    window.mkdir()
    mount("--bind", disk, window)
    try:
        mount("-o", "remount,bind,ro", window)
        with pytest.raises(StorageUnavailable, match=f"{window}.* is read-only"):
            await FolderStorage(window / "new").open()
        async with opened(lambda: FolderStorage(window)) as storage:
            upload, state = await started(storage)
            with pytest.raises(StorageUnavailable, match=f"{window}.* is read-only"):
                await storage.writer(upload, state, 0)
    finally:
        unmount(window)


async def test_blobs_on_another_disk(disk: Path, tmp_path: Path) -> None:
    """A bind mount is followed, but a commit cannot be renamed into it."""
    root = tmp_path / "storage"
    (root / "docker").mkdir(parents=True)
    mount("--bind", disk, root / "docker")
    try:
        async with opened(lambda: FolderStorage(root)) as storage:
            upload, state = await started(storage)
            state = await appended(storage, upload, state, 0, b"abc")
            with pytest.raises(StorageUnavailable, match="on another file system than the uploads"):
                await storage.commit(upload, state, 3, digest_of(b"abc"))
            await storage.abort(upload, state)
            with pytest.raises(StorageUnavailable, match="on another file system than the uploads"):
                await storage.put(upload, state, b"abc", digest_of(b"abc"), lambda: None)
            assert [stat async for stat in storage.uploads()] == []
    finally:
        unmount(root / "docker")


async def test_memory_that_cannot_tell_what_is_cached(disk: Path) -> None:
    data = some_bytes(700 * KiB)
    async with opened(lambda: FolderStorage(disk)) as storage, stored(storage, data) as key:
        assert await read(storage, key) == data
