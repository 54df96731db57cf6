"""What all parts of the wire contract share: who asks, where, and what the registry declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from corereg.testing.client import RegistryClient, digest
from corereg.testing.plugin import declared

CAPABILITIES: Mapping[str, str] = {
    "auth": "asks strangers to sign in",
    "token": "hands out bearer tokens (Docker token flow)",
    "oauth2": "its token service takes POST, too",
    "jwt": "its tokens are JWTs as the Docker documents describe them",
    "basic": "takes Basic credentials on every path",
    "grammar_first": "refuses bad grammar (400) before it asks who is there (401)",
    "name_limit": "refuses names that, with the host before them, pass 255 characters",
    "manifest_limit": "answers 413 to manifests above 4 MiB",
    "strict_manifests": "refuses ambiguous JSON and descriptors that contradict themselves or the stored blob",
    "sparse": "accepts manifests whose blobs or members it does not have (usually not declared)",
    "nondistributable": "accepts non-distributable layers that were never pushed",
    "any_accept": "answers a manifest as stored, whatever Accept says",
    "blob_headers": "serves blobs as attachments that no browser sniffs or renders",
    "caching": "says ETag and Cache-Control, answers 304",
    "ranges": "serves parts of blobs",
    "chunks": "takes uploads in chunks of any size",
    "single_post": "takes a whole blob in one POST",
    "digest_algorithm": "lets a POST name the algorithm of the blob to come",
    "sha512": "keeps blobs and manifests by sha512, too",
    "mount": "mounts blobs from other repositories",
    "mount_without_from": "finds the source of a mount by itself",
    "digest_put_tag": "sets tags while a manifest is put by digest (?tag=)",
    "conditional_put": "honours If-Match and If-None-Match when a manifest is put",
    "delete": "deletes tags, manifests and blobs",
    "referrers": "lists what refers to a manifest",
    "catalog": "lists its repositories",
    "json_errors": "answers every 4xx with the JSON envelope, unknown paths and methods included",
    "exact_paths": "takes paths as they are written: no cleaning, percent-encoding undone once",
    "strict_framing": "judges framing itself: 400 to two lengths at once, 501 to unknown codings, 431 to huge heads",
    "socket": "the server itself is reached, not a proxy that repairs or refuses requests before it",
}


needs = pytest.mark.corereg_needs
lacks = pytest.mark.corereg_lacks
cases = pytest.mark.parametrize

ABSENT = digest(b"nobody ever pushed this")
ALGORITHMS = ("sha256", pytest.param("sha512", marks=needs("sha512")))

JSON = dict[str, Any]


class Protocol:
    """What all parts of the contract share: who asks, where, and what the registry declares."""

    pytestmark: ClassVar[Any] = pytest.mark.anyio
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES) - {"sparse"}

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture
    def declared(self, pytestconfig: pytest.Config) -> frozenset[str]:
        """The capabilities in force."""
        return declared(pytestconfig, self.capabilities, CAPABILITIES)

    @pytest.fixture(autouse=True)
    def _fits(self, request: pytest.FixtureRequest, declared: frozenset[str]) -> None:
        """Skip what the registry declares not to promise."""
        for mark in request.node.iter_markers("corereg_needs"):
            if missing := set(mark.args) - declared:
                pytest.skip(f"the registry declares that it lacks: {', '.join(sorted(missing))}")
        for mark in request.node.iter_markers("corereg_lacks"):
            if present := set(mark.args) & declared:
                pytest.skip(f"the registry declares that it has: {', '.join(sorted(present))}")

    @pytest.fixture
    def client(self, registry_client: RegistryClient) -> RegistryClient:
        """Somebody who may do everything in the namespace of the tests."""
        return registry_client

    @pytest.fixture
    def anonymous(self, anonymous_client: RegistryClient) -> RegistryClient:
        """Nobody, who never signs in."""
        return anonymous_client

    @pytest.fixture
    def other(self, other_client: RegistryClient) -> RegistryClient:
        """Somebody who may sign in but do nothing in the namespace of the tests."""
        return other_client

    @pytest.fixture
    def repository(self, repository_name: str) -> str:
        """A repository of the test's own."""
        return repository_name
