"""A registry with every first-party plugin, as `corereg serve` runs it, for clients of Harbor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from corereg.plugins import default_names
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, one for each file of tests."""
    folder = tmp_path_factory.mktemp("harbor")
    server = Served(folder / "data", folder / "log", plugins=default_names())
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def docker(harbor: Served) -> AsyncIterator[RegistryClient]:
    """Who pushes, as docker does: the administrator."""
    async with RegistryClient(harbor.url, credentials=Credentials(ADMINISTRATOR, PASSWORD)) as client:
        yield client
