"""Blobs in this process's memory, gone with it: ``[storage] url = "memory:"``. Any fsspec filesystem is plugged in so.

In ``corereg.toml``: ``plugins = ["accounts", "examples/memory_storage.py"]``.
"""

from __future__ import annotations

from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # fsspec ships no types

from corereg import FsspecStorage, hookimpl


@hookimpl
def provide_storage(url: str) -> FsspecStorage | None:
    """``memory:`` or ``memory:name``; storages of one name share their bytes."""
    scheme, _, name = url.partition(":")
    return FsspecStorage(MemoryFileSystem(), f"/corereg/{name}") if scheme == "memory" else None
