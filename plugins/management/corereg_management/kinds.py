"""What a manifest is, as Harbor's clients know it: an image, a chart, a signature of something else.

Pure: it reads the manifest alone. Harbor's words for types are upper case, those for accessories have a dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from corereg import Descriptor, Manifest

INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
OCI_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
_TYPES: Mapping[str, str] = {
    OCI_IMAGE_CONFIG: "IMAGE",
    "application/vnd.docker.container.image.v1+json": "IMAGE",
    "application/vnd.cncf.helm.config.v1+json": "CHART",
    "application/vnd.cnab.config.v1+json": "CNAB",
    "application/vnd.cnab.manifest.v1": "CNAB",
    "application/vnd.wasm.config.v1+json": "WASM",
    "application/vnd.goharbor.harbor.sbom.v1": "SBOM",
    "application/vnd.cncf.model.config.v1+json": "CNAI",
}
# `vnd.<organisation>.<type>.config.<version>+json`, as most people name their configs.
_CONFIG = re.compile(r"application/vnd\.[^.]{1,100}\.([^/]{1,100})\.config\.[^.]{1,40}\+json\Z")
UNKNOWN = "UNKNOWN"

COSIGN = "signature.cosign"
NOTATION = "signature.notation"
SBOM = "sbom.harbor"
NYDUS = "accelerator.nydus"
OTHER = "subject.accessory"
SIGNATURES = (COSIGN, NOTATION)
_ACCESSORIES: Mapping[str, str] = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": COSIGN,
    "application/vnd.dev.sigstore.bundle.v0.3+json": COSIGN,
    "application/vnd.cncf.notary.signature": NOTATION,
    "application/vnd.goharbor.harbor.sbom.v1": SBOM,
}
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
NYDUS_BOOTSTRAP = "containerd.io/snapshot/nydus-bootstrap"
_SIGNATURE_TAG = re.compile(r"sha256-([a-f0-9]{64})\.sig\Z")

ICON = "io.goharbor.artifact.v1alpha1.icon"
SKIP_LIST = "io.goharbor.artifact.v1alpha1.skip-list"
CNAB_TYPE = "org.opencontainers.artifactType"
WASM_VARIANTS = (("module.wasm.image/variant", "compat"), ("run.oci.handler", "wasm"))

LARGEST_ANNOTATIONS = 64 * 1024
"""Bytes of annotations that are kept for lists; of a manifest with more, none are shown."""


class Accessory(msgspec.Struct, frozen=True):
    """That a manifest belongs to another one: how, and to which digest."""

    type: str
    subject: str


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What lists tell of a manifest. `annotations` is JSON; `config` the digest of a config worth reading."""

    type: str
    media_type: str
    artifact_type: str
    size: int
    annotations: str | None
    icon: str | None
    config: str | None


def kind_of(manifest: Manifest) -> Kind:
    """Everything about a manifest that stands in itself. `size` is without an index's children."""
    config = manifest.config
    return Kind(
        type=type_of(manifest),
        media_type=config.media_type if config else manifest.media_type,
        artifact_type=manifest.artifact_type or "",
        size=len(manifest.body) + sum(each.size for each in _distinct(manifest)),
        annotations=_annotations(manifest),
        icon=next((str(each.digest) for each in manifest.layers if ICON in each.annotations), None),
        config=str(config.digest) if config else None,
    )


def type_of(manifest: Manifest) -> str:
    """Harbor's word: IMAGE, CHART, CNAB, WASM, SBOM, CNAI; else what the config's media type says; else UNKNOWN."""
    config = manifest.config
    if config is None:
        return _TYPES.get(manifest.annotations.get(CNAB_TYPE, ""), "IMAGE")
    if any(manifest.annotations.get(name) == value for name, value in WASM_VARIANTS):
        return "WASM"
    for media_type in (manifest.artifact_type or "", config.media_type):
        if media_type in _TYPES:
            return _TYPES[media_type]
    for media_type in (manifest.artifact_type or "", config.media_type):
        match = _CONFIG.match(media_type)
        if match:
            return match[1].upper()
    return UNKNOWN


def accessory_of(manifest: Manifest, tags: Iterable[str]) -> Accessory | None:
    """What the manifest hangs on: its subject, or what cosign's tag ``sha256-<hex>.sig`` names."""
    if manifest.subject is not None:
        return Accessory(_accessory_type(manifest), str(manifest.subject.digest))
    if not any(each.media_type == COSIGN_LAYER for each in manifest.layers):
        return None
    named = next((match for tag in tags if (match := _SIGNATURE_TAG.match(tag))), None)
    return Accessory(COSIGN, f"sha256:{named[1]}") if named else None


def _accessory_type(manifest: Manifest) -> str:
    for media_type in (manifest.artifact_type or "", manifest.config.media_type if manifest.config else ""):
        if media_type in _ACCESSORIES:
            return _ACCESSORIES[media_type]
    if manifest.layers and NYDUS_BOOTSTRAP in manifest.layers[-1].annotations:
        return NYDUS
    return OTHER


def reference_of(child: Descriptor) -> dict[str, Any]:
    """What an index says of a child, beside its digest."""
    platform = msgspec.to_builtins(child.platform) if child.platform else {}
    return {
        # The quotes around two of the names are Harbor's.
        "platform": {f"'{name}'" if "." in name else name: value for name, value in platform.items() if value},
        "annotations": dict(child.annotations),
        "urls": list(child.urls),
    }


def _distinct(manifest: Manifest) -> Iterable[Descriptor]:
    """Config and layers, each digest once. What an index names is counted where it is stored."""
    blobs = manifest.blobs if manifest.config is None else manifest.contents
    return {each.digest: each for each in blobs}.values()


def _annotations(manifest: Manifest) -> str | None:
    if not manifest.annotations:
        return None
    text = msgspec.json.encode(manifest.annotations).decode()
    return text if len(text) <= LARGEST_ANNOTATIONS else None
