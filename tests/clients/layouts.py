"""Images made in Python, without a network: layers, OCI image layouts, and the archive that `docker load` reads.

Everything is reproducible: the same arguments give the same digests.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

Descriptor = dict[str, Any]


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def filler(size: int, seed: str) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def image_config(layers: Sequence[bytes], architecture: str = "amd64") -> bytes:
    """The config of an image whose layers are these tar files, uncompressed."""
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": {"Cmd": ["/hello"], "Labels": {"org.example.made-by": "corereg tests"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "layer"} for _ in layers],
        }
    ).encode()


def docker_archive(path: Path, name: str, layers: Sequence[bytes]) -> Path:
    """The file that `docker load` and `podman load` read: one image of several layers, named `name`."""
    files = {"config.json": image_config(layers)}
    files |= {f"{number}/layer.tar": layer for number, layer in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [name for name in files if "/" in name]}]
    path.write_bytes(tar({**files, "manifest.json": json.dumps(manifest).encode()}))
    return path


class Layout:
    """An OCI image layout in a folder: blobs by digest, and index.json, which gives them names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.named: list[Descriptor] = []
        path.mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, media_type: str, data: bytes, algorithm: str = "sha256") -> Descriptor:
        named = digest(data, algorithm)
        place = self.path / "blobs" / algorithm / named.partition(":")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return {"mediaType": media_type, "digest": named, "size": len(data)}

    def read(self, descriptor: Descriptor) -> bytes:
        algorithm, _, encoded = str(descriptor["digest"]).partition(":")
        return (self.path / "blobs" / algorithm / encoded).read_bytes()

    def image(self, layers: Sequence[bytes], architecture: str = "amd64", algorithm: str = "sha256") -> Descriptor:
        """An image of these tar files; `algorithm` names its layers, config and manifest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(CONFIG, image_config(layers, architecture), algorithm),
            "layers": [self.blob(LAYER, gzip.compress(layer, mtime=0), algorithm) for layer in layers],
        }
        found = self.blob(MANIFEST, json.dumps(manifest).encode(), algorithm)
        return {**found, "platform": {"architecture": architecture, "os": "linux"}}

    def index(self, members: Sequence[Descriptor]) -> Descriptor:
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(members)}
        return self.blob(INDEX, json.dumps(body).encode())

    def name(self, descriptor: Descriptor, tag: str) -> str:
        """Give a manifest a name in index.json, and return how skopeo is told of it."""
        self.named.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.named}))
        return f"oci:{self.path}:{tag}"
