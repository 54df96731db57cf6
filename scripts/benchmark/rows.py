"""What is measured: one line here is one line of the table."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.content import IMAGE, KIB, MIB, Blob, Blobs, Client, Content, digest
from benchmark.load import Request, Sample, heads, pushes, wrk
from benchmark.target import Target
from benchmark.wire import Connection

Unit = Literal["/s", "MB/s"]
PUSHERS = 4


@dataclass(frozen=True)
class Terms:
    """How long and how hard: seconds of a run, connections of the small requests, bytes a run of pushes may write."""

    seconds: float
    connections: int
    limit: int


class Row(ABC):
    """One kind of request: `key` chooses it, `title` and `unit` stand in the table."""

    key: str
    title: str
    unit: Unit

    @abstractmethod
    def seed(self, target: Target) -> None:
        """Push what the row asks for, before the clock starts. The empty app needs nothing."""

    @abstractmethod
    def run(self, target: Target, terms: Terms) -> Sample:
        """Measure once."""

    def value(self, sample: Sample) -> float:
        """The figure of a sample, in the row's unit."""
        return sample.rate if self.unit == "/s" else sample.megabytes


@dataclass
class Get(Row):
    """Something read again and again. `size` is what the empty app answers instead, in bytes."""

    key: str
    title: str
    path: Callable[[], str]
    size: int
    prepare: Callable[[Target], None]
    method: Literal["GET", "HEAD"] = "GET"
    unit: Unit = "/s"
    connections: int | None = None
    threads: int = 1

    def seed(self, target: Target) -> None:
        self.prepare(target)
        with Connection(target.address) as connection:
            headers = {"Authorization": target.authorization(), "Accept": IMAGE}
            connection.ask(self.method, self.path(), headers).expect(200)

    def run(self, target: Target, terms: Terms) -> Sample:
        path = f"/{self.size}" if target.role == "empty" else self.path()
        connections = self.connections or terms.connections
        if self.method == "HEAD":
            return heads(target, path, seconds=terms.seconds, connections=connections)
        request = Request("GET", path, accept=IMAGE)
        return wrk(target, request, seconds=terms.seconds, connections=connections, threads=self.threads)


@dataclass
class PutManifest(Row):
    """A manifest under a new tag, again and again; `pattern` may hold the mark that makes it a new manifest too."""

    key: str
    title: str
    pattern: str
    content: Content
    unit: Unit = "/s"

    def seed(self, target: Target) -> None:
        self.content.seed_manifest(target, "library/bench-manifests")

    def run(self, target: Target, terms: Terms) -> Sample:
        tag = f"t{os.urandom(4).hex()}"
        path = "/v2/library/bench-manifests/manifests/"
        request = Request("PUT", path, media_type=IMAGE, tag=tag, body=self.pattern)
        return wrk(target, request, seconds=terms.seconds, connections=min(terms.connections, 16))


@dataclass
class Push(Row):
    """New blobs of one size from four clients, each pushed by `push`."""

    key: str
    title: str
    size: int
    push: Callable[[Client, str, Blob], None]
    unit: Unit

    def seed(self, target: Target) -> None:
        with Connection(target.address) as connection:
            client = Client(target, connection, target.authorization())
            self.push(client, "library/bench-push", next(Blobs(self.size)))

    def run(self, target: Target, terms: Terms) -> Sample:
        blobs = Blobs(self.size)
        os.sync()  # nobody is to wait for what another one has left to the disk

        def push(connection: Connection, authorization: str) -> int:
            self.push(Client(target, connection, authorization), "library/bench-push", next(blobs))
            return self.size

        return pushes(target, push, seconds=terms.seconds, clients=PUSHERS, limit=terms.limit)


def every_row(content: Content) -> Sequence[Row]:
    """All rows, in the order of the table."""

    def latest(target: Target) -> None:
        content.seed_manifest(target, "library/bench-pull")

    def tags(repository: str, count: int) -> Callable[[Target], None]:
        return lambda target: content.seed_tags(target, repository, count)

    def blob(key: str, title: str, size: int, **more: Any) -> Row:
        def path() -> str:
            return f"/v2/library/bench-pull/blobs/{content.blob(size).digest}"

        return Get(key, title, path, size, lambda target: content.seed_blobs(target, [content.blob(size)]), **more)

    manifest = "/v2/library/bench-pull/manifests/"
    by_digest = manifest + digest(content.manifest)
    image = len(content.manifest)
    many = f"/v2/library/bench-tags/tags/list?n=100&last=v{content.tags // 2:06}"
    big = 100 * MIB
    return [
        Get("manifest-tag", "GET manifest by tag", lambda: manifest + "latest", image, latest),
        Get("manifest-digest", "GET manifest by digest", lambda: by_digest, image, latest),
        blob("head-blob", "HEAD blob", KIB, method="HEAD"),
        blob("blob-1k", "GET blob, 1 KiB", KIB),
        blob("blob-1m", "GET blob, 1 MiB", MIB, unit="MB/s", connections=8),
        blob("blob-100m", "GET blob, 100 MiB", big, unit="MB/s", connections=4, threads=2),
        Get(
            "tags-500",
            "tags/list of 500",
            lambda: "/v2/library/bench-tags500/tags/list",
            5040,
            tags("library/bench-tags500", 500),
        ),
        Get(
            "tags-many",
            f"tags/list of {content.tags:,}, a page of 100",
            lambda: many,
            1040,
            tags("library/bench-tags", content.tags),
        ),
        PutManifest("put-tag", "PUT manifest, new tag", content.manifest.decode(), content),
        PutManifest("put-manifest", "PUT manifest, new tag, new manifest", content.pattern, content),
        Push("push-1m", "push 1 MiB, POST+PUT", MIB, Client.push_whole, unit="/s"),
        Push("push-1m-patch", "push 1 MiB, POST+PATCH+PUT", MIB, Client.push_streamed, unit="/s"),
        Push("push-100m", "push 100 MiB, POST+PATCH+PUT", big, Client.push_streamed, unit="MB/s"),
        Push("push-100m-chunks", "push 100 MiB, PATCH in chunks of 32 KiB", big, Client.push_chunked, unit="MB/s"),
    ]
