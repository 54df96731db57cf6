"""What tests push: bytes with a media type, images and indexes made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
MANIFEST_TYPES = (OCI_IMAGE, OCI_INDEX, DOCKER_IMAGE, DOCKER_LIST)


def digest(data: bytes, algorithm: str = "sha256") -> str:
    """``sha256:<hex>`` of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Content(msgspec.Struct, frozen=True):
    """Bytes with a media type: a blob, a config or a manifest."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        return digest(self.body)

    def descriptor(self, algorithm: str = "sha256", **fields: Any) -> dict[str, Any]:
        """The content's descriptor (image-spec ``descriptor.md``); `fields` are added as they stand."""
        return {
            "mediaType": self.media_type,
            "digest": digest(self.body, algorithm),
            "size": len(self.body),
            **fields,
        }


def blob(data: bytes, media_type: str = OCI_LAYER) -> Content:
    """A blob as a layer would be described."""
    return Content(media_type, data)


EMPTY = Content(OCI_EMPTY, b"{}")


def encode(document: Any) -> bytes:
    """JSON as docker writes it: indented, so that a registry which re-encodes manifests is found out."""
    return json.dumps(document, indent=3, ensure_ascii=False).encode()


Described = Content | Mapping[str, Any]  # content, or its descriptor as it shall stand in a manifest


def _descriptor(described: Described) -> Mapping[str, Any]:
    return described.descriptor() if isinstance(described, Content) else described


def image(
    config: Described = EMPTY, layers: Iterable[Described] = (), media_type: str = OCI_IMAGE, **fields: Any
) -> Content:
    """An image manifest. `fields` (``subject``, ``artifactType``, ``annotations``) are added, or replace a field."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
        **fields,
    }
    return Content(media_type, encode(document))


def index(manifests: Iterable[Described] = (), media_type: str = OCI_INDEX, **fields: Any) -> Content:
    """An image index or manifest list over `manifests`."""
    members = [_descriptor(manifest) for manifest in manifests]
    return Content(media_type, encode({"schemaVersion": 2, "mediaType": media_type, "manifests": members, **fields}))
