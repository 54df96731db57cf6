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

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
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
