"""kill -9 at random moments: what was acknowledged is there, nothing is torn, what was on its way in is reaped."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx2
import pytest

from corereg import Config, Registry
from corereg.config import UploadsConfig
from corereg.testing.serving import Served

from .client import Client, digest

pytestmark = pytest.mark.corereg_files

WRITERS = 4
OPERATIONS = 50
"""Operations of each writer at least: they go on until the server was killed often enough."""
KILLS = 3
TAGS = 6


class Writer:
    """One client with a repository of its own, so that what must be there after a crash is known exactly."""

    def __init__(self, server: Served, number: int) -> None:
        self.server = server
        self.random = random.Random(number)
        self.client = Client(server, f"crash/writer{number}")
        self.tags: dict[str, str | None] = {}
        self.blobs: dict[str, bytes] = {}
        self.interrupted = 0

    def run(self, enough: threading.Event) -> None:
        for number in itertools.count():
            if number >= OPERATIONS and enough.is_set():
                return
            tag = f"t{self.random.randrange(TAGS)}"
            wanted: str | None = None
            try:
                if self.tags.get(tag) and self.random.random() < 0.25:
                    answer = self.client.http.delete(f"/v2/{self.client.repository}/manifests/{tag}")
                    assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
                else:
                    wanted = self._push(tag)
                self.tags[tag] = wanted
            except httpx2.HTTPError:
                self.interrupted += 1
                self._settle(tag, wanted)

    def _push(self, tag: str) -> str:
        data = [self.random.randbytes(self.random.randrange(1, 300_000)) for _ in range(2)]
        for each in data:
            status = self.client.blob(each, pieces=self.random.randrange(4))
            if status >= 500 or status == httpx2.codes.NOT_FOUND:  # the upload died with the server
                message = f"interrupted: {status}"
                raise httpx2.ReadError(message)
            assert status == httpx2.codes.CREATED
            self.blobs[digest(each)] = each
        status, found = self.client.manifest(tag, data[0], data[1:])
        assert status == httpx2.codes.CREATED
        return found

    def _settle(self, tag: str, wanted: str | None) -> None:
        """Nobody said whether the last operation was done: both are right, but it must be one of them."""
        until = time.monotonic() + 60
        while True:
            try:
                current = self.client.current(tag)
                break
            except httpx2.HTTPError:
                assert time.monotonic() < until
                time.sleep(0.05)
        before = self.tags.get(tag)
        assert wanted is not None or current in {before, None} or current not in self.tags.values()
        self.tags[tag] = current

    def check(self) -> None:
        """Everything acknowledged is there, byte for byte."""
        http, repository = self.client.http, self.client.repository
        for name, data in self.blobs.items():
            answer = http.get(f"/v2/{repository}/blobs/{name}")
            assert answer.status_code == httpx2.codes.OK, f"{name} was acknowledged and is gone"
            assert answer.content == data
        for tag, expected in self.tags.items():
            assert self.client.current(tag) == expected, tag
            if expected:
                body = http.get(f"/v2/{repository}/manifests/{tag}")
                assert digest(body.content) == expected
                for member in [body.json()["config"], *body.json()["layers"]]:
                    blob = http.get(f"/v2/{repository}/blobs/{member['digest']}")
                    assert digest(blob.content) == member["digest"]
        listed = http.get(f"/v2/{repository}/tags/list").json()["tags"]
        assert set(listed) == {tag for tag, expected in self.tags.items() if expected}


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_at_random_moments(tmp_path: Path, workers: int) -> None:
    server = Served(tmp_path / "data", tmp_path / "log", workers=workers, environment={"COREREG__UPLOADS__LEASE": "1s"})
    server.start()
    writers = [Writer(server, number) for number in range(WRITERS)]
    enough = threading.Event()
    kills = 0
    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            running = [pool.submit(writer.run, enough) for writer in writers]
            chance = random.Random(os.urandom(8))
            try:
                while not all(each.done() for each in running):
                    time.sleep(chance.uniform(0.2, 1.5))
                    server.kill()
                    kills += 1
                    server.start()
                    if kills >= KILLS and any(writer.interrupted for writer in writers):
                        enough.set()
            finally:
                enough.set()
            for each in running:
                each.result()
        server.kill()
        server.start()
        assert kills >= KILLS
        assert sum(writer.interrupted for writer in writers) > 0, "no kill met a request: the test means nothing"
        for writer in writers:
            writer.check()
        server.stop()
        assert server.process is not None
        assert server.process.returncode == 0
        check_storage(tmp_path / "data" / "storage")
        anyio.run(reap, tmp_path / "data")
    finally:
        server.stop()
        for writer in writers:
            writer.client.close()


def check_storage(storage: Path) -> None:
    """No blob is torn: every file hashes to its name."""
    found = 0
    for file in storage.glob("docker/registry/v2/blobs/*/*/*/data"):
        algorithm = file.parts[-4]
        assert hashlib.new(algorithm, file.read_bytes()).hexdigest() == file.parent.name
        found += 1
    assert found > 0


async def reap(data: Path) -> None:
    """Once expired, nothing of an interrupted upload is left: no row, no byte."""
    await anyio.sleep(1.1)  # the leases of the dead
    async with Registry(
        Config(data=data, uploads=UploadsConfig(expire=0)), plugins=["storage_fs", "accounts"]
    ) as registry:
        await registry.uploads.purge(orphan_age=-1.0)
        assert [each.key async for each in registry.storage.uploads()] == []
    assert [file for file in (data / "storage" / "corereg").rglob("*") if file.is_file()] == []
