"""Several registries under test in one process, of one name: to each what it has signed itself."""

from __future__ import annotations

import pytest

from corereg.http.app import asgi
from corereg.testing.client import RegistryClient, expect
from corereg.testing.plugin import PASSWORD
from corereg.testing.registry import Person, scratch

pytestmark = pytest.mark.anyio


class One:
    @pytest.fixture(scope="class")
    @classmethod
    async def corereg_app(cls, tmp_path_factory, corereg_url, corereg_credentials):
        if corereg_url is not None:
            pytest.skip("the registry at --corereg-url is one")
        folder = tmp_path_factory.mktemp("registry")
        async with scratch(folder, people={corereg_credentials.name: Person(PASSWORD)}) as registry:
            yield asgi(registry)

    @pytest.mark.parametrize("target", ["/v2/", "/v2/_catalog"])
    async def test_it_knows_its_tokens(self, registry_client: RegistryClient, target: str) -> None:
        expect(await registry_client.request("GET", target), 200)

    async def test_nobody_signs_in_twice(self, registry_client: RegistryClient, corereg_visitors, monkeypatch) -> None:
        expect(await registry_client.request("GET", "/v2/"), 200)

        async def never(*_) -> None:
            raise AssertionError("there is a token for this")

        async with corereg_visitors.client(registry_client.credentials) as second:
            monkeypatch.setattr(second, "token", never)
            expect(await second.request("GET", "/v2/"), 200)


class TestOne(One):
    """The first."""


class TestAnother(One):
    """It has other keys."""
