"""The wire contract with the rows on PostgreSQL."""

from __future__ import annotations

import pytest

from corereg.http.app import asgi
from corereg.testing.plugin import OTHER, OTHER_PASSWORD, PASSWORD
from corereg.testing.registry import Person, may, scratch
from corereg.testing.wire import WireContract


class TestWireOnPostgreSQL(WireContract):
    @pytest.fixture(scope="class")
    @classmethod
    async def corereg_app(cls, tmp_path_factory, corereg_url, corereg_namespace, corereg_credentials, request):
        if corereg_url is not None:
            pytest.skip("the database of the registry at --corereg-url is not ours")
        if request.config.getoption("--corereg-database"):
            pytest.skip("test_wire.py does this")
        people = {
            corereg_credentials.name: Person(PASSWORD),
            OTHER: Person(OTHER_PASSWORD, grants=(may(f"{corereg_namespace}-other/*", "pull", "push", "delete"),)),
        }
        url = request.getfixturevalue("postgres_databases").fresh()
        async with scratch(tmp_path_factory.mktemp("postgres"), people=people, database=url) as registry:
            yield asgi(registry)
