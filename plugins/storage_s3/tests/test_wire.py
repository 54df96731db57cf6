"""The protocol's promises, on a registry whose blobs lie in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from corereg import STAYING, asgi, hookimpl
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.plugin import OTHER, OTHER_PASSWORD, PASSWORD
from corereg.testing.registry import Person, may, scratch
from corereg.testing.storage import some_bytes
from corereg.testing.wire import WireContract

from .conftest import Make, MiB

PEOPLE = {
    "admin": Person(PASSWORD),
    OTHER: Person(OTHER_PASSWORD, grants=(may("wire-other/*", "pull", "push", "delete"),)),
}


class Bucket:
    """A plugin that provides one storage."""

    name = "bucket"

    def __init__(self, make: Make, **changes: Any) -> None:
        self.make = make
        self.changes = changes

    @hookimpl
    def provide_storage(self, url: str):
        return self.make(**self.changes)


@pytest.fixture(scope="module")
async def corereg_app(make: Make, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    folder = tmp_path_factory.mktemp("corereg")
    async with scratch(folder, Bucket(make, redirect=False), people=PEOPLE) as registry:
        yield asgi(registry)


class TestWire(WireContract):
    """Without redirects: the contract asks the registry itself."""


@pytest.mark.anyio
async def test_a_large_blob_is_fetched_from_the_bucket(make: Make, tmp_path: Path) -> None:
    large, small = some_bytes(12 * MiB), some_bytes(1000)
    async with scratch(tmp_path, Bucket(make, redirect_from=MiB), people=PEOPLE) as registry:
        credentials = Credentials("admin", PASSWORD)
        async with RegistryClient("http://registry.test", app=asgi(registry), credentials=credentials) as client:
            names = [await client.push_blob("wire/s3", data) for data in (large, small)]
            head = await client.request("HEAD", f"/v2/wire/s3/blobs/{names[0]}")
            sent = [await client.request("GET", f"/v2/wire/s3/blobs/{name}") for name in names]
        assert (head.status_code, int(head.headers["content-length"])) == (200, len(large))
        assert [answer.status_code for answer in sent] == [307, 200]
        assert STAYING in sent[0].headers["location"]
        assert sent[1].content == small
        async with httpx2.AsyncClient(trust_env=False) as stranger:
            assert (await stranger.get(sent[0].headers["location"])).content == large
