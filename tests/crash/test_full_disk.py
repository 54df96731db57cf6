"""No room left, or nothing writable: a sentence and 507 or 503, nothing half-written, and reads go on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from corereg.testing.serving import Served

from .client import Client, digest

pytestmark = pytest.mark.corereg_files

SMALL = b"small" * 100


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"mounting needs root: {done.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    server = Served(small_disk / "data", tmp_path / "log")
    server.start()
    client = Client(server, "full/app")
    try:
        assert client.blob(SMALL, pieces=0) == 201
        status, kept = client.manifest("kept", SMALL, [])
        assert status == 201
        start = client.http.post("/v2/full/app/blobs/uploads/")
        answer = client.http.put(
            start.headers["location"], params={"digest": digest(b"x" * 60_000_000)}, content=b"x" * 60_000_000
        )
        assert answer.status_code == 507, answer.text
        message = answer.json()["errors"][0]["message"]
        assert "room" in message
        assert client.current("kept") == kept, "reads go on"
        assert client.http.get(f"/v2/full/app/blobs/{digest(SMALL)}").content == SMALL
        location = start.headers["location"]
        cancelled = client.http.delete(location)
        assert cancelled.status_code in {204, 404}, cancelled.text
        assert client.blob(b"y" * 1_000_000, pieces=1) == 201, "what the failed upload held is free again"
        # Now fill the rest, so that not even the database has room.
        filler = small_disk / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"z" * 65536)
                    file.flush()
            except OSError:
                pass
        statuses = {client.manifest(f"t{number}", SMALL, [])[0] for number in range(300)}
        assert statuses <= {201, 507, 503}
        assert client.current("kept") == kept
        filler.unlink()
        assert client.manifest("after", SMALL, [])[0] == 201, "and when there is room again, all is well"
    finally:
        client.close()
        server.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_storage_that_became_read_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "storage").mkdir(parents=True)
    mount("--bind", str(data / "storage"), str(data / "storage"))
    server = Served(data, tmp_path / "log")
    server.start()
    client = Client(server, "frozen/app")
    try:
        assert client.blob(SMALL, pieces=0) == 201
        status, kept = client.manifest("kept", SMALL, [])
        assert status == 201
        mount("-o", "remount,ro,bind", str(data / "storage"))
        start = client.http.post("/v2/frozen/app/blobs/uploads/")
        failed = start
        if start.status_code == 202:
            failed = client.http.put(start.headers["location"], params={"digest": digest(b"new")}, content=b"new")
        assert failed.status_code == 503, failed.text
        assert "read-only" in failed.json()["errors"][0]["message"].lower()
        assert client.current("kept") == kept
        assert client.http.get(f"/v2/frozen/app/blobs/{digest(SMALL)}").content == SMALL
        mount("-o", "remount,rw,bind", str(data / "storage"))
        assert client.blob(b"new", pieces=1) == 201
    finally:
        client.close()
        server.stop()
        subprocess.run(["umount", "-l", str(data / "storage")], check=False)
    assert "Traceback" not in (tmp_path / "log").read_text()
