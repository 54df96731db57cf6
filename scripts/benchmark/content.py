"""What a registry holds while it is measured, and the pushing of it before the clock starts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmark.target import Target
from benchmark.wire import Answer, Connection

KIB, MIB = 1 << 10, 1 << 20
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
BYTES = "application/octet-stream"
CHUNK = 32 * KIB
"""What Go's io.Copy takes at a time, and so what its clients send in one chunk."""
TAGS_PER_PUT = 10
SEEDERS = 8


def digest(data: bytes) -> str:
    """The sha256 digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A blob in pieces that other blobs share: `start` is one buffer for all of a size, `end` is its own."""

    start: bytes
    end: bytes
    digest: str

    @property
    def size(self) -> int:
        return len(self.start) + len(self.end)


class Blobs:
    """As many different blobs of `size` bytes as anyone asks for, at no cost: the shared start is hashed once."""

    def __init__(self, size: int) -> None:
        self._start = os.urandom(size - 16)
        self._hash = hashlib.sha256(self._start)

    def __next__(self) -> Blob:
        end = os.urandom(16)
        own = self._hash.copy()
        own.update(end)
        return Blob(self._start, end, "sha256:" + own.hexdigest())

    def __iter__(self) -> Iterator[Blob]:
        return self


class Client:
    """A connection with the right to push: the four requests a seed needs."""

    def __init__(self, target: Target, connection: Connection, authorization: str) -> None:
        self._target = target
        self._connection = connection
        self._headers = {"Authorization": authorization}

    def exists(self, path: str) -> bool:
        headers = {**self._headers, "Accept": IMAGE}
        return self._connection.ask("HEAD", path, headers).expect(200, 404).status == 200

    def push_whole(self, repository: str, blob: Blob) -> None:
        """POST, then PUT with the bytes."""
        self._close(self._begin(repository), blob, blob.start, blob.end)

    def push_streamed(self, repository: str, blob: Blob) -> None:
        """POST, PATCH with the bytes, then an empty PUT."""
        self._push(repository, blob, chunk=None)

    def push_chunked(self, repository: str, blob: Blob) -> None:
        """The same without saying how many bytes there will be: as docker, podman and skopeo push."""
        self._push(repository, blob, chunk=CHUNK)

    def _push(self, repository: str, blob: Blob, *, chunk: int | None) -> None:
        location = self._begin(repository)
        headers = {**self._headers, "Content-Type": BYTES}
        answer = self._connection.ask("PATCH", location, headers, blob.start, blob.end, chunk=chunk)
        self._close(path_of(answer.expect(202)), blob)

    def put_manifest(self, path: str, body: bytes) -> bool:
        """PUT; whether the server took the tags in the query."""
        headers = {**self._headers, "Content-Type": IMAGE}
        return "oci-tag" in self._connection.ask("PUT", path, headers, body).expect(201).headers

    def _begin(self, repository: str) -> str:
        answer = self._connection.ask("POST", f"/v2/{repository}/blobs/uploads/", self._headers)
        return path_of(answer.expect(202))

    def _close(self, location: str, blob: Blob, *body: bytes) -> None:
        mark = "&" if "?" in location else "?"
        headers = {**self._headers, "Content-Type": BYTES}
        self._connection.ask("PUT", f"{location}{mark}digest={blob.digest}", headers, *body).expect(201)


def path_of(answer: Answer) -> str:
    """Where an answer points, without the server."""
    location = answer.headers["location"]
    return "/" + location.split("/", 3)[3] if location.startswith("http") else location


class Content:
    """The content every target gets: the same bytes for all."""

    def __init__(self, tags: int) -> None:
        """`tags` is how many the long list has."""
        self.tags = tags
        self._blobs: dict[int, Blob] = {}

    @cached_property
    def layers(self) -> Sequence[Blob]:
        """The config and eight layers of the image: 1 KiB each, for manifests are what is asked for."""
        blobs = Blobs(KIB)
        return [next(blobs) for _ in range(9)]

    @cached_property
    def manifest(self) -> bytes:
        """An image manifest of usual size, 1.5 KiB."""
        return json.dumps(self._document()).encode()

    @cached_property
    def pattern(self) -> str:
        """A manifest with a mark in it that makes it another one."""
        return json.dumps({**self._document(), "annotations": {"org.opencontainers.image.version": "%NUMBER%"}})

    def _document(self) -> dict[str, Any]:
        config, *layers = [{"mediaType": LAYER, "digest": each.digest, "size": each.size} for each in self.layers]
        config["mediaType"] = CONFIG
        return {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers}

    def blob(self, size: int) -> Blob:
        """The one blob of that size that is pulled."""
        if size not in self._blobs:
            self._blobs[size] = next(Blobs(size))
        return self._blobs[size]

    # ------------------------------------------------------------------------------------------------------- seeds

    def seed_blobs(self, target: Target, blobs: Iterable[Blob]) -> None:
        """`blobs` in the repository pulls come from."""
        with Connection(target.address) as connection:
            client = Client(target, connection, target.authorization())
            for blob in blobs:
                if not client.exists(f"/v2/library/bench-pull/blobs/{blob.digest}"):
                    client.push_whole("library/bench-pull", blob)

    def seed_manifest(self, target: Target, repository: str) -> None:
        """The image under the tag ``latest``, with its layers."""
        with Connection(target.address) as connection:
            client = Client(target, connection, target.authorization())
            for blob in self.layers:
                client.push_whole(repository, blob)
            client.put_manifest(f"/v2/{repository}/manifests/latest", self.manifest)

    def seed_tags(self, target: Target, repository: str, count: int) -> None:
        """`count` tags on one image, several in one PUT where the server takes them."""
        self.seed_manifest(target, repository)
        names = [f"v{number:06}" for number in range(count - 1)]
        with ThreadPoolExecutor(SEEDERS) as threads:
            done = [threads.submit(self._tag, target, repository, names[start::SEEDERS]) for start in range(SEEDERS)]
            for each in done:
                each.result()

    def _tag(self, target: Target, repository: str, names: Sequence[str]) -> None:
        with Connection(target.address) as connection:
            client = Client(target, connection, target.authorization())
            base = f"/v2/{repository}/manifests/"
            by_digest = f"{base}{digest(self.manifest)}?tag="
            step = TAGS_PER_PUT if client.put_manifest(by_digest + names[0], self.manifest) else 1
            for start in range(0, len(names), step):
                some = names[start : start + step]
                client.put_manifest(base + some[0] if step == 1 else by_digest + "&tag=".join(some), self.manifest)
