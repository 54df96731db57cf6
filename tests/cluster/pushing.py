"""A client that goes on pushing while nodes die, and remembers exactly what it was told is there."""

from __future__ import annotations

import json
import random
from collections import Counter

import anyio
import httpx2

from tests.crash.client import MANIFEST, digest

PATIENCE = 120.0
"""Seconds until one image must be in."""


class Interrupted(Exception):
    """The answer says, or its absence, that the same thing is to be tried again."""


class Pusher:
    """Pushes images of two blobs to one repository, each under a tag of its own, until it is told that they are there.

    `blobs` and `tags` are what was acknowledged; `interruptions` counts why something had to be tried again.
    """

    def __init__(self, http: httpx2.AsyncClient, repository: str, seed: int) -> None:
        self.http = http
        self.repository = repository
        self.random = random.Random(seed)
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.interruptions: Counter[str] = Counter()

    async def push(self, tag: str) -> None:
        data = [self.random.randbytes(self.random.randrange(1, 400_000)) for _ in range(2)]
        with anyio.fail_after(PATIENCE):
            for each in data:
                await self._until_done(self._blob, each)
                self.blobs[digest(each)] = each
            body = _manifest(data)
            await self._until_done(self._manifest, tag, body)
            self.tags[tag] = digest(body)

    async def _until_done(self, act, *arguments) -> None:
        while True:
            try:
                await act(*arguments)
                return
            except (Interrupted, httpx2.TransportError) as error:
                self.interruptions[str(error) if isinstance(error, Interrupted) else type(error).__name__] += 1
                await anyio.sleep(0.1)

    async def _blob(self, data: bytes) -> None:
        start = self._checked(await self.http.post(f"/v2/{self.repository}/blobs/uploads/"), 202)
        location, rest = start.headers["location"], data
        pieces = self.random.randrange(4)
        step = len(data) // pieces + 1 if pieces else 0
        while step and rest:
            answer = self._checked(await self.http.patch(location, content=rest[:step]), 202)
            location, rest = answer.headers["location"], rest[step:]
        self._checked(await self.http.put(location, params={"digest": digest(data)}, content=rest), 201)

    async def _manifest(self, tag: str, body: bytes) -> None:
        headers = {"Content-Type": MANIFEST}
        self._checked(await self.http.put(f"/v2/{self.repository}/manifests/{tag}", content=body, headers=headers), 201)

    @staticmethod
    def _checked(answer: httpx2.Response, wanted: int) -> httpx2.Response:
        """The answer, if it is the wanted one; Interrupted where it asks to come again, with a sentence."""
        if answer.status_code == wanted:
            return answer
        told = answer.json()["errors"][0]
        assert told["message"], answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            raise Interrupted(f"503 {told['message'][:60]}")
        # The upload went with its node, or that node still holds it: begin it anew.
        assert told["code"] in {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"}, answer.text
        raise Interrupted(f"{answer.status_code} {told['code']}")

    async def check(self, url: str) -> None:
        """Everything acknowledged is there, byte for byte, on the node at `url`."""
        for name, data in self.blobs.items():
            answer = await self.http.get(f"{url}/v2/{self.repository}/blobs/{name}")
            assert answer.status_code == 200, f"{name} was acknowledged and is gone: {answer.text}"
            assert answer.content == data
        for tag, expected in self.tags.items():
            answer = await self.http.get(f"{url}/v2/{self.repository}/manifests/{tag}")
            assert answer.status_code == 200, f"{tag} was acknowledged and is gone: {answer.text}"
            assert digest(answer.content) == expected
        listed = await self.http.get(f"{url}/v2/{self.repository}/tags/list")
        assert set(listed.json()["tags"]) == set(self.tags)


def _manifest(data: list[bytes]) -> bytes:
    described = [{"mediaType": "application/x", "digest": digest(each), "size": len(each)} for each in data]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    ).encode()
