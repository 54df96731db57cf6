"""URLs and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from corereg_storage_fs import StorageFs, folder_of
from corereg_storage_fs.storage import FolderStorage


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("fs:/srv/registry", "/srv/registry"),
        ("fs:/srv/a b%20c", "/srv/a b%20c"),
        ("fs:data/storage", "{here}/data/storage"),
        ("fs:.", "{here}"),
        ("file:///srv/registry", "/srv/registry"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file:/srv/registry", "/srv/registry"),
        ("file://localhost/srv", "/srv"),
    ],
)
def test_folders(url: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of(url) == Path(folder.format(here=tmp_path))


@pytest.mark.parametrize("url", ["s3://bucket/x", "memory:", "/srv/registry", "", "fsx:/srv"])
def test_urls_of_others(url: str) -> None:
    assert folder_of(url) is None
    assert StorageFs(StorageFs.Settings()).provide_storage(url) is None


@pytest.mark.parametrize(
    "url", ["fs:", "fs://srv", "file:", "file:srv", "file://host/srv", "file:///srv?x=1", "file:///srv#x", "fs:/a\0b"]
)
def test_urls_that_name_no_folder(url: str) -> None:
    with pytest.raises(ValueError, match="names no folder; write fs:/absolute/path"):
        folder_of(url)


def test_only_with_fsync_it_is_durable(tmp_path: Path) -> None:
    for fsync in (True, False):
        storage = StorageFs(StorageFs.Settings(fsync=fsync)).provide_storage(f"fs:{tmp_path}")
        assert isinstance(storage, FolderStorage)
        assert ("durable" in storage.capabilities) == fsync
        assert storage.folder.fsync == fsync
