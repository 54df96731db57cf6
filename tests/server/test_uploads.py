"""Uploads whose clients leave in the middle of them."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from .running import MIB, Running, head, running


def rows(server: Running) -> list[tuple[str, str | None]]:
    """The uploads that its database knows, and who writes to them."""
    with closing(
        sqlite3.connect(f"file:{server.folder / 'corereg-data' / 'corereg.db'}?mode=ro", uri=True)
    ) as database:
        return database.execute("SELECT id, writer FROM uploads").fetchall()


def files(server: Running) -> list[str]:
    return [each.name for each in server.folder.glob("corereg-data/storage/corereg/uploads/*")]


def wait_until(server: Running, *, there: bool) -> None:
    """Until an upload is being written to, or nothing is left of any."""
    end = time.monotonic() + 20
    while True:
        known = rows(server)
        if any(writer for _, writer in known) if there else not known and not files(server):
            return
        assert time.monotonic() < end, (known, files(server), server.said)
        time.sleep(0.02)


@pytest.mark.parametrize("size", [100_000, 5 * MIB], ids=["a small blob", "a large blob"])
def test_a_blob_in_one_request_whose_client_leaves_is_forgotten(tmp_path: Path, kind: str, size: int) -> None:
    """Nobody was told where it goes on."""
    data = b"x" * size
    digest = hashlib.sha256(data).hexdigest()
    begun = head("POST", f"/v2/demo/app/blobs/uploads/?digest=sha256:{digest}", f"Content-Length: {size}")
    with running(tmp_path, "--server", kind) as server:
        with server.connect() as connection:
            connection.sendall(begun + data[: size // 2])
            wait_until(server, there=True)
        wait_until(server, there=False)
        status, headers, _ = server.request("POST", f"/v2/demo/app/blobs/uploads/?digest=sha256:{digest}", data)
        assert (status, headers["docker-content-digest"]) == (201, f"sha256:{digest}")
        assert "Traceback" not in server.said
