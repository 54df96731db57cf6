"""`FsspecStorage` keeps the contract on filesystems of every kind: with folders and without, called and awaited."""

from __future__ import annotations

import errno
import importlib.util
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from corereg import FsspecStorage, KeyMissing, Storage, StorageFull, StorageUnavailable, blob_key
from corereg.testing.storage import (
    MakeStorage,
    StorageContract,
    appended,
    committed,
    digest_of,
    opened,
    read,
    some_bytes,
    started,
    stored,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "memory_storage.py"


class SmallParts(FsspecStorage):
    """So that an upload is many parts, and a blob many pieces."""

    part_size: ClassVar[int] = 100_000
    read_size: ClassVar[int] = 70_000


class TinyParts(FsspecStorage):
    part_size: ClassVar[int] = 100
    read_size: ClassVar[int] = 70


class Bucket(AsyncFileSystem):
    """An object store of this process, asynchronous and without folders, as s3fs or gcsfs are."""

    cachable = False

    def __init__(self, name: str, *, asynchronous: bool = False) -> None:
        super().__init__(name, asynchronous=asynchronous)
        self.inner = MemoryFileSystem()
        self.name = name

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.strip("/")

    def _inside(self, path: str) -> str:
        return f"/{self.name}/{path}"

    def _outside(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "name": info["name"].removeprefix(f"/{self.name}/")}

    async def _pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.inner.pipe_file(self._inside(path), value)

    async def _cat_file(
        self, path: str, version: str | None = None, start: int | None = None, end: int | None = None
    ) -> bytes:
        assert version is None  # s3fs takes one before the range
        data: bytes = self.inner.cat_file(self._inside(path), start, end)
        return data

    async def _cp_file(self, path1: str, path2: str, **options: Any) -> None:
        self.inner.cp_file(self._inside(path1), self._inside(path2))

    async def _rm_file(self, path: str, **options: Any) -> None:
        self.inner.rm_file(self._inside(path))

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        return self._outside(self.inner.info(self._inside(path)))

    async def _ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        found = [self._outside(info) for info in self.inner.ls(self._inside(path))]
        return found if detail else [info["name"] for info in found]

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> MemoryFile:
        assert mode == "wb"
        assert not self.asynchronous  # as s3fs: the file interface needs fsspec's own thread
        if autocommit:
            return self.inner.open(self._inside(path), mode)
        return MemoryFile(self.inner, self._inside(path))


@pytest.fixture
def place() -> Iterator[str]:
    """A folder of the memory that nobody else has."""
    name = uuid4().hex
    yield name
    memory = MemoryFileSystem()
    if memory.exists(f"/{name}"):
        memory.rm(f"/{name}", recursive=True)


class TestMemory(StorageContract):
    """Through the example, as a registry would get it."""

    @pytest.fixture
    def make_storage(self, place: str) -> MakeStorage:
        spec = importlib.util.spec_from_file_location("memory_storage", EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        plugin = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(plugin)
        assert plugin.provide_storage("fs:/x") is None
        return lambda: plugin.provide_storage(f"memory:{place}")


class TestMemoryInSmallParts(StorageContract):
    @pytest.fixture
    def make_storage(self, place: str) -> MakeStorage:
        return lambda: SmallParts(MemoryFileSystem(), f"/{place}")


class TestWrapped(StorageContract):
    @pytest.fixture
    def make_storage(self, place: str) -> MakeStorage:
        return lambda: FsspecStorage(AsyncFileSystemWrapper(MemoryFileSystem(), asynchronous=True), place)


class TestLocal(StorageContract):
    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> MakeStorage:
        return lambda: FsspecStorage(LocalFileSystem(), str(tmp_path))


class TestBucket(StorageContract):
    @pytest.fixture
    def make_storage(self, place: str) -> MakeStorage:
        return lambda: FsspecStorage(Bucket(place, asynchronous=True), "some/prefix")


class TestBucketInSmallParts(StorageContract):
    @pytest.fixture
    def make_storage(self, place: str) -> MakeStorage:
        return lambda: SmallParts(Bucket(place, asynchronous=True))


class TestHistoriesOfTinyParts:
    pytestmark = pytest.mark.anyio
    test_any_history = StorageContract.test_any_history

    @pytest.fixture(params=["folders", "bucket"])
    def make_storage(self, request: pytest.FixtureRequest, place: str) -> MakeStorage:
        if request.param == "folders":
            return lambda: TinyParts(MemoryFileSystem(), place)
        return lambda: TinyParts(Bucket(place, asynchronous=True))


# ---- what only this storage has to do ----


class Failing(MemoryFileSystem):
    """Raises whatever it is told to, when it is told to."""

    cachable = False
    failures: ClassVar[dict[str, Exception]] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self._fail("pipe_file")
        super().pipe_file(path, value, mode, **options)

    def info(self, path: str, **options: Any) -> Any:
        self._fail("info")
        return super().info(path, **options)

    def rm(self, path: str, **options: Any) -> None:
        self._fail("rm")
        super().rm(path, **options)

    def _fail(self, method: str) -> None:
        if method in self.failures:
            raise self.failures[method]


@pytest.fixture
async def failing(place: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Storage]:
    monkeypatch.setattr(Failing, "failures", {})
    async with opened(lambda: SmallParts(Failing(), place)) as storage:
        yield storage


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (OSError(errno.ENOSPC, "full"), StorageFull, "No room is left on the disk of memory:///"),
        (OSError("said in words"), StorageUnavailable, "said in words"),
        (PermissionError("no"), StorageUnavailable, "Access to memory:///.* is refused"),
        (ValueError("a {strange} thing"), StorageUnavailable, "memory:///.*: ValueError: a {strange} thing"),
        (TimeoutError(), StorageUnavailable, "TimeoutError"),
    ],
)
async def test_what_a_filesystem_raises(
    failing: Storage, error: Exception, kind: type[Exception], sentence: str
) -> None:
    upload, state = await started(failing)
    Failing.failures["pipe_file"] = error
    writer = await failing.writer(upload, state, 0)
    with pytest.raises(kind, match=sentence):
        await writer.write(some_bytes(150_000))
    with pytest.raises(kind, match=sentence):
        await writer.close()
    Failing.failures["info"] = error
    with pytest.raises(kind, match=sentence):
        await failing.stat(blob_key(digest_of(b"")))
    with pytest.raises(kind, match=sentence):
        await read(failing, blob_key(digest_of(b"")))


@pytest.mark.anyio
async def test_a_part_that_failed_is_written_again(failing: Storage) -> None:
    data = some_bytes(250_000)
    upload, state = await started(failing)
    writer = await failing.writer(upload, state, 0)
    await writer.write(data[:120_000])
    Failing.failures["pipe_file"] = OSError(errno.EIO, "failed")
    with pytest.raises(StorageUnavailable):
        await writer.write(data[120_000:])
    Failing.failures.clear()
    state = await appended(failing, upload, await writer.close(), 120_000, data[120_000:])
    async with committed(failing, upload, state, data) as key:
        assert await read(failing, key) == data


@pytest.mark.anyio
async def test_parts_that_cannot_be_removed_fail_no_commit(failing: Storage) -> None:
    upload, state = await started(failing)
    state = await appended(failing, upload, state, 0, b"abc")
    Failing.failures["rm"] = OSError(errno.EIO, "failed")
    async with committed(failing, upload, state, b"abc") as key:
        assert await read(failing, key) == b"abc"
        Failing.failures.clear()


class Forgetful(Bucket):
    """Its files are fsspec's empty shell, which takes every byte and keeps none."""

    def _open(self, path: str, mode: str = "rb", autocommit: bool = True, **options: Any) -> Any:
        return MemoryFile(self.inner, self._inside(path), b"")


@pytest.mark.anyio
async def test_bytes_that_a_filesystem_loses_are_missed(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFile, "write", lambda file, data: len(data))
    async with opened(lambda: SmallParts(Forgetful(place, asynchronous=True))) as storage:
        data = some_bytes(250_000)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        with pytest.raises(StorageUnavailable, match="has 0 bytes after 250000 were written"):
            await storage.commit(upload, state, len(data), digest_of(data))
        await storage.abort(upload, state)
        await storage.delete(blob_key(digest_of(data)))


@pytest.mark.anyio
async def test_a_missing_part_is_no_shorter_blob(place: str) -> None:
    memory = MemoryFileSystem()
    async with opened(lambda: SmallParts(memory, place)) as storage:
        data = some_bytes(250_000)
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, data)
        parts = sorted(memory.find(f"/{place}"))
        assert len(parts) == 3
        memory.rm_file(parts[1])
        with pytest.raises(KeyMissing):
            await storage.commit(upload, state, len(data), digest_of(data))
        assert await storage.stat(blob_key(digest_of(data))) is None
        await storage.abort(upload, state)
        assert memory.find(f"/{place}") == []


@pytest.mark.anyio
async def test_the_state_is_small(place: str) -> None:
    """One entry for a request, however many parts it left."""
    async with opened(lambda: SmallParts(MemoryFileSystem(), place)) as storage:
        upload, state = await started(storage)
        state = await appended(storage, upload, state, 0, some_bytes(1_050_000))
        state = await appended(storage, upload, state, 1_050_000, some_bytes(10))
        assert [run[1:] for run in state["runs"]] == [[0, 1_050_000], [1_050_000, 10]]
        await storage.abort(upload, state)


@pytest.mark.anyio
@pytest.mark.parametrize("state", [{}, {"part_size": 5, "runs": [["a", 0, 5], ["b", 6, 5]]}, {"part_size": "x"}])
async def test_a_state_that_is_none(place: str, state: dict[str, Any]) -> None:
    storage = FsspecStorage(MemoryFileSystem(), place)
    with pytest.raises(KeyMissing, match="the upload's state"):
        await storage.writer("some-upload", state, 0)


@pytest.mark.anyio
async def test_an_object_store_is_never_copied_twice(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part becomes the blob by a copy inside the store; many are written to the blob's key at once."""
    copied = []
    real = Bucket._cp_file

    async def copy(self: Bucket, path1: str, path2: str, **options: Any) -> None:
        copied.append(path2)
        await real(self, path1, path2)

    monkeypatch.setattr(Bucket, "_cp_file", copy)
    async with opened(lambda: SmallParts(Bucket(place, asynchronous=True))) as storage:
        async with stored(storage, some_bytes(99_999)) as key:
            assert copied == [key]
        async with stored(storage, some_bytes(250_000)) as key:
            assert len(copied) == 1
