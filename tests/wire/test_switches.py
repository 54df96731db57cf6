"""What the wire says when an operator has switched something: manifests may be sparse, deletes are off."""

from __future__ import annotations

import pytest

from corereg.config import ProtocolConfig
from corereg.http.app import asgi
from corereg.testing.plugin import OTHER, OTHER_PASSWORD, PASSWORD
from corereg.testing.registry import Person, scratch
from corereg.testing.wire import DeleteWire, ManifestRefusalWire, UploadWire


class Switched:
    protocol = ProtocolConfig()

    @pytest.fixture(scope="class")
    @classmethod
    async def corereg_app(cls, tmp_path_factory, corereg_url, corereg_credentials):
        if corereg_url is not None:
            pytest.skip("the switches of the registry at --corereg-url are not ours")
        people = {corereg_credentials.name: Person(PASSWORD), OTHER: Person(OTHER_PASSWORD, grants=())}
        folder = tmp_path_factory.mktemp("switched")
        async with scratch(folder, people=people, protocol=cls.protocol) as registry:
            yield asgi(registry)


class TestSparse(Switched, ManifestRefusalWire):
    protocol = ProtocolConfig(allow_sparse=True)
    capabilities = ManifestRefusalWire.capabilities | {"sparse"}


class TestDeletesAreOff(Switched, DeleteWire):
    protocol = ProtocolConfig(delete=False)
    capabilities = DeleteWire.capabilities - {"delete"}


class TestUploadsWhileDeletesAreOff(Switched, UploadWire):
    protocol = ProtocolConfig(delete=False)
