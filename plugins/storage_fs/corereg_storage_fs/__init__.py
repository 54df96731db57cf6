"""Blobs in a folder on a disk: ``[storage] url = "fs:/var/lib/corereg"``.

``corereg --help`` reads this page, so what a hook needs is imported when the hook is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from corereg import Storage, hookimpl

__all__ = ["StorageFs", "folder_of"]


class StorageFs:
    """Serves ``fs:/absolute/path``, ``fs:relative/path`` (from the working folder) and ``file:///absolute/path``."""

    class Settings(msgspec.Struct, frozen=True):
        """The table ``[storage_fs]``.

        `fsync`: wait for the disk before a push is acknowledged. Without it, a power failure or a crash of the system
        may leave blobs missing, empty or full of zeros that clients were told are safe, and nobody notices before a
        pull. Only for bytes that can be had again: a cache, a test.
        """

        fsync: Annotated[
            bool, msgspec.Meta(description="Whether the disk is waited for before a push is acknowledged.")
        ] = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @hookimpl
    def provide_storage(self, url: str) -> Storage | None:
        from corereg_storage_fs.storage import FolderStorage

        folder = folder_of(url)
        return None if folder is None else FolderStorage(folder, fsync=self.settings.fsync)


def folder_of(url: str) -> Path | None:
    """The folder a URL names, absolute; None when the URL is of another kind. ``file:`` URLs are percent-decoded."""
    scheme, _, rest = url.partition(":")
    match scheme:
        case "fs":
            folder = rest
            allowed = not rest.startswith("//")
        case "file":
            parts = urlsplit(url)
            folder = unquote(parts.path)
            allowed = parts.netloc in {"", "localhost"} and folder.startswith("/") and not parts.query + parts.fragment
        case _:
            return None
    if not folder or not allowed or "\0" in folder:
        raise ValueError(f"{url!r} names no folder; write fs:/absolute/path, fs:relative/path or file:///absolute/path")
    return Path(folder).absolute()
