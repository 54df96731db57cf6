"""Garbage collection: how long a million blobs take to be looked at, and what pulls notice of it.

The rows are written into the stopped server's SQLite file, as that many pushes leave them; for the pulls, the dead
blobs are files too.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.content import IMAGE, Content
from benchmark.load import Request, Sample, wrk
from benchmark.process import Server, ServerError
from benchmark.target import Target

REPOSITORY = "library/bench-pull"
LAYERS = 9
"""Blobs that one manifest names."""
MANIFESTS = 100
"""Manifests of one repository."""
SIZE = 1024
WAIT = 900.0
"""Seconds a collection beside pulls may take."""
STRETCH = 5.0
"""Seconds of pulls that are measured together."""
LARGEST_RATIO = 2.0
"""How much longer the slowest hundredth of the pulls may take during a collection."""


@dataclass(frozen=True)
class Terms:
    """How many blobs live and how many go, and over how many connections pulls come meanwhile."""

    live: int
    dead: int
    connections: int


@dataclass(frozen=True)
class Beside:
    """Stretches of the pulls alone, and of those while a collection ran, which took so many seconds."""

    alone: Sequence[Sample]
    during: Sequence[Sample]
    seconds: float

    @property
    def ratio(self) -> float:
        """How much longer the slowest hundredth of the pulls took."""
        return slow(self.during) / slow(self.alone)


def digest(number: int, what: str) -> str:
    """A digest that looks like one of content."""
    return "sha256:" + hashlib.sha256(f"{what} {number}".encode()).hexdigest()


def write(folder: Path, live: int, dead: int, *, files: bool = False) -> None:
    """`live` blobs in images of `LAYERS`, and `dead` ones that their repositories serve for no manifest; last used
    a day ago. With `files` the dead ones lie in the folder, too.
    """
    at = (time.time_ns() // 1000) - 86_400_000_000
    per_repository = LAYERS * MANIFESTS
    with sqlite3.connect(folder / "corereg.db") as database:
        first = database.execute("SELECT coalesce(max(id), 0) FROM repositories").fetchone()[0] + 1
        repositories = live // per_repository + 1
        database.executemany(
            "INSERT INTO repositories (id, name, created_at) VALUES (?, ?, ?)",
            ((first + number, f"library/bench-{os.urandom(4).hex()}-{number}", at) for number in range(repositories)),
        )
        name = os.urandom(4).hex()
        blobs = [("l", number) for number in range(live)] + [("d", number) for number in range(dead)]

        def rows() -> Iterator[tuple[str, int]]:
            for kind, number in blobs:
                owner = number // per_repository if kind == "l" else number % repositories
                yield digest(number, f"{name} {kind}"), first + owner

        database.executemany(
            "INSERT INTO blobs (digest, size, storage_key, created_at) VALUES (?, ?, ?, ?)",
            ((each, SIZE, key_of(each), at) for each, _ in rows()),
        )
        database.executemany(
            "INSERT INTO blob_links (repository_id, digest, created_at) VALUES (?, ?, ?)",
            ((owner, each, at) for each, owner in rows()),
        )
        for number in range(live // LAYERS):
            layers = [digest(number * LAYERS + layer, f"{name} l") for layer in range(LAYERS)]
            body = image(layers)
            image_digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            owner = first + number // MANIFESTS
            database.execute(
                "INSERT INTO manifests (repository_id, digest, media_type, size, body, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (owner, image_digest, IMAGE, len(body), body, at),
            )
            database.executemany(
                "INSERT INTO manifest_members (repository_id, member, digest, kind) VALUES (?, ?, ?, 'blob')",
                ((owner, each, image_digest) for each in layers),
            )
    database.close()
    if files:
        for number in range(dead):
            path = folder / "storage" / key_of(digest(number, f"{name} d"))
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x" * SIZE)
            os.utime(path, (at / 1e6, at / 1e6))


def image(layers: Sequence[str]) -> bytes:
    """A manifest of `layers`, the first of which is its config."""
    described = [{"mediaType": "application/octet-stream", "digest": each, "size": SIZE} for each in layers]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE, "config": described[0], "layers": described[1:]}
    ).encode()


def key_of(name: str) -> str:
    """Where a blob lies."""
    algorithm, _, encoded = name.partition(":")
    return f"docker/registry/v2/blobs/{algorithm}/{encoded[:2]}/{encoded}/data"


def process(python: str, root: Path, what: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """`benchmark.collecting` under the interpreter that has corereg."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [python, "-m", "benchmark.collecting", what, str(folder), json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(root / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(run: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed at the end. Raises ServerError when it failed."""
    out, err = run.communicate(timeout=WAIT)
    if run.returncode:
        raise ServerError(f"the collection failed:\n{err[-2000:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def beside(target: Target, server: Server, collector: Callable[[Path], subprocess.Popen[str]], terms: Terms) -> Beside:
    """Pulls alone, then beside a collection in the server itself, as a job, for as long as that goes on."""
    Content(0).seed_manifest(target, REPOSITORY)
    server.stop()
    write(server.folder, terms.live, terms.dead, files=True)
    server.start()
    server.wait()
    pulls(target, 2, terms.connections)  # what a fresh process does for the first time
    alone = [pulls(target, STRETCH, terms.connections) for _ in range(5)]
    run = collector(server.folder)
    during = []
    while run.poll() is None:
        during.append(pulls(target, STRETCH, terms.connections))
    found = result(run)
    if found["status"] != "Success":
        raise ServerError(f"the collection ended with {found['status']}: {found['message']}")
    whole = during[:-1] or during  # the last stretch holds more than the end of the collection
    return Beside(alone, whole, found["seconds"])


def pulls(target: Target, seconds: float, connections: int) -> Sample:
    """The manifest of one tag, again and again."""
    request = Request("GET", f"/v2/{REPOSITORY}/manifests/latest", accept=IMAGE)
    return wrk(target, request, seconds=seconds, connections=connections)


def slow(stretches: Sequence[Sample]) -> float:
    """The time of the slowest hundredth of pulls, in milliseconds: the median of all stretches."""
    return median(each.p99 for each in stretches)


def rate(stretches: Sequence[Sample]) -> float:
    """Pulls a second over all stretches."""
    return sum(each.requests for each in stretches) / sum(each.seconds for each in stretches)
