"""kill -9 of collectors and of the server while both work on the same few blobs: no image is ever broken.

Nothing protects a push but the protocol between it and the collectors: the grace period is 0, and what is pushed has
just been given up elsewhere.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import anyio
import httpx2
import sqlalchemy as sa

from corereg import Config, Registry
from corereg.config import GCConfig
from corereg.store.schema import blobs, condemned, uploads
from corereg.store.work import Silent
from corereg.testing.serving import Served

from . import collector
from .client import Client, digest

WRITERS = 3
OPERATIONS = 80
LONGEST = 60.0
LAYERS = [random.Random(number).randbytes(1 + number * 40_000) for number in range(5)]
AGAIN = {httpx2.codes.BAD_REQUEST, httpx2.codes.NOT_FOUND, httpx2.codes.RANGE_NOT_SATISFIABLE}
"""What a push may hear that a collection or a death overtook: it starts again."""


class Collecting:
    """Collectors that are killed and started again."""

    def __init__(self, server: Served, log: Path) -> None:
        self.server = server
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, collector.__file__, str(self.server.data)],
                env={**os.environ, **self.server.environment},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.log.read_text()

    def kill(self) -> None:
        assert self.process is None or self.process.poll() is None, f"it ended by itself:\n{self.log.read_text()}"
        self.end()

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None


class Writer:
    """Pushes images of the shared layers, deletes them, and knows which of its tags must be there."""

    def __init__(self, server: Served, number: int) -> None:
        self.random = random.Random(number)
        self.client = Client(server, f"collected/writer{number}")
        self.tags: dict[str, str | None] = {}
        self.pushed = 0
        self.overtaken = 0

    def run(self, enough: Callable[[], bool]) -> None:
        """So many operations, and on until it is `enough`."""
        end = time.monotonic() + LONGEST
        for number in count():
            if time.monotonic() > end or (number >= OPERATIONS and enough()):
                return
            tag = f"t{self.random.randrange(3)}"
            self.tags.pop(tag, None)  # until there is an answer, nothing is known of it
            try:
                if self.random.random() < 0.5:
                    self._delete(tag)
                else:
                    self._push(tag)
            except httpx2.HTTPError:  # the server is dead
                self.overtaken += 1
                time.sleep(0.05)

    def _push(self, tag: str) -> None:
        layers = self.random.sample(LAYERS, 2)
        for each in layers:
            status = self.client.blob(each, pieces=self.random.randrange(3))
            if status != httpx2.codes.CREATED:
                assert status in AGAIN or status >= 500, status
                self.overtaken += 1
                return
        status, found = self.client.manifest(tag, layers[0], layers[1:])
        if status == httpx2.codes.CREATED:
            self.tags[tag] = found
            self.pushed += 1
        else:
            assert status in AGAIN or status >= 500, status
            self.overtaken += 1

    def _delete(self, tag: str) -> None:
        answer = self.client.http.delete(f"/v2/{self.client.repository}/manifests/{tag}")
        if answer.status_code in {httpx2.codes.ACCEPTED, httpx2.codes.NOT_FOUND}:
            self.tags[tag] = None

    def check(self) -> None:
        """Every tag that is known points where it must, and every image is whole."""
        http, repository = self.client.http, self.client.repository
        for tag, expected in self.tags.items():
            assert self.client.current(tag) == expected, tag
        listed = http.get(f"/v2/{repository}/tags/list")
        if listed.status_code == httpx2.codes.NOT_FOUND:
            return
        for tag in listed.json()["tags"] or []:
            body = http.get(f"/v2/{repository}/manifests/{tag}").json()
            for member in [body["config"], *body["layers"]]:
                blob = http.get(f"/v2/{repository}/blobs/{member['digest']}")
                assert digest(blob.content) == member["digest"], f"{repository}:{tag} is broken"


def test_kill_collectors_and_the_server_while_images_come_and_go(tmp_path: Path) -> None:
    environment = {"COREREG__UPLOADS__LEASE": "1s", "COREREG__GC__GRACE": "0"}
    server = Served(tmp_path / "data", tmp_path / "log", plugins=collector.PLUGINS, environment=environment)
    server.start()
    collectors = [Collecting(server, tmp_path / f"collector{number}") for number in range(2)]
    writers = [Writer(server, number) for number in range(WRITERS)]
    victims: list[Collecting | Served] = [*collectors, server]
    over = threading.Event()

    def overtaken() -> bool:
        """Whether somebody met a death or a collection: on a fast machine the operations may be over before."""
        return any(writer.overtaken for writer in writers)

    chance = random.Random(os.urandom(8))
    try:
        for each in collectors:
            each.start()
        with ThreadPoolExecutor(WRITERS) as pool:
            running = [pool.submit(writer.run, overtaken) for writer in writers]
            while not all(each.done() for each in running):
                over.wait(chance.uniform(0.1, 0.8))
                victim = chance.choice(victims)
                victim.kill()
                victim.start()
            for done in running:
                done.result()
        for each in collectors:
            each.kill()
        for writer in writers:
            writer.check()
        assert sum(writer.pushed for writer in writers) > 0
        assert overtaken(), "nobody met a death or a collection: it means nothing"
        server.stop()
        anyio.run(settle, tmp_path / "data")
    finally:
        for each in collectors:
            each.end()
        server.stop()
        for writer in writers:
            writer.client.close()


async def settle(data: Path) -> None:
    """After the last collections no byte is without its row, no row without its bytes, and nothing is torn."""
    async with Registry(Config(data=data, gc=GCConfig(grace=0)), plugins=collector.PLUGINS) as registry:
        async with registry.database.transaction() as tx:  # as if the leases of the dead had ended
            await tx.execute(sa.update(condemned).values(leased_until=0))
            await tx.execute(sa.update(uploads).values(leased_until=0))
        for _ in range(3):
            found = await registry.session().collect(Silent(), collector.ALL)
        assert (found.links, found.blobs, found.orphans, found.left) == (0, 0, 0, 0), "it never ends"
        rows = await registry.database.rows(sa.select(blobs.c.digest, blobs.c.storage_key))
        assert {stat.key async for stat in registry.storage.committed()} == {row[1] for row in rows}
        assert await registry.database.rows(sa.select(condemned.c.storage_key)) == []
        for name, key in rows:
            assert digest(b"".join([piece async for piece in registry.storage.read(key)])) == name
