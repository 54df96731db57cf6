"""A folder as CNCF Distribution leaves it, written by hand: also the broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from corereg.oci.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Distribution:
    """What another registry keeps in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root / "docker/registry/v2"

    def blob_path(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.root / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def write(self, data: bytes) -> Digest:
        """Bytes among the blobs."""
        digest = Digest.of(data)
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def link(self, repository: str, place: str, digest: str) -> None:
        path = self.root / "repositories" / repository / place / "link"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)

    def blob(self, repository: str, data: bytes, media_type: str = LAYER) -> dict[str, Any]:
        """A layer or a config; its descriptor."""
        digest = self.write(data)
        self.link(repository, f"_layers/{digest.algorithm}/{digest.encoded}", digest)
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    def manifest(self, repository: str, document: dict[str, Any], *tags: str) -> dict[str, Any]:
        """A manifest of whatever kind; its descriptor."""
        data = json.dumps(document).encode()
        digest = self.write(data)
        place = f"{digest.algorithm}/{digest.encoded}"
        self.link(repository, f"_manifests/revisions/{place}", digest)
        for tag in tags:
            self.link(repository, f"_manifests/tags/{tag}/current", digest)
            self.link(repository, f"_manifests/tags/{tag}/index/{place}", digest)
        return {"mediaType": document.get("mediaType", OCI_MANIFEST), "digest": str(digest), "size": len(data)}

    def image(
        self, repository: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), **more: Any
    ) -> dict[str, Any]:
        """An image of these layers."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.blob(repository, json.dumps({"os": "linux", "made": tags}).encode(), CONFIG),
            "layers": [self.blob(repository, layer) for layer in layers],
            **more,
        }
        return self.manifest(repository, document, *tags)

    def index(self, repository: str, members: list[dict[str, Any]], *tags: str) -> dict[str, Any]:
        return self.manifest(repository, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": members}, *tags)
