"""The folder keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from corereg.testing.storage import MakeStorage, StorageContract
from corereg_storage_fs.storage import FolderStorage


class TestFolder(StorageContract):
    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> MakeStorage:
        return lambda: FolderStorage(tmp_path / "storage")


class TestFolderWithoutGlances(StorageContract):
    """As on a file system that cannot tell what is in the page cache, or a system that is not Linux."""

    @pytest.fixture
    def make_storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeStorage:
        monkeypatch.setattr("corereg_storage_fs.folder._NOWAIT", None)
        return lambda: FolderStorage(tmp_path, fsync=False)
