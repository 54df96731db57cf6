"""ORAS: artifacts that are no images, and what refers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import layouts
from .server import ADMIN, PASSWORD, Server, Shape
from .tools import missing

try:
    import oras.client  # type: ignore[import-untyped]
    import oras.oci  # type: ignore[import-untyped]
except ImportError:
    oras = None

HTTPS = Shape(tls=True)
both = pytest.mark.parametrize("registry_server", [Shape(), HTTPS], indirect=True, ids=str)
SBOM = "application/vnd.example.sbom.v1+json"


@pytest.fixture
def client(registry_server: Server) -> Any:
    if oras is None:
        missing("oras is not installed (pip install oras)")
    tls = registry_server.shape.tls
    made = oras.client.OrasClient(
        hostname=registry_server.address, insecure=not tls, tls_verify=str(registry_server.authority) if tls else True
    )
    made.auth.set_basic_auth(ADMIN, PASSWORD)
    return made


@both
def test_an_artifact_and_what_refers_to_it(
    client: Any, registry_server: Server, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = f"{registry_server.address}/{repository}"
    Path("weights.bin").write_bytes(layouts.filler(3 << 20, repository))
    Path("readme.md").write_text("# A model\n")
    files = ["weights.bin:application/vnd.example.weights", "readme.md:text/markdown"]
    pushed = client.push(f"{place}:1", files=files, manifest_annotations={"org.example.kind": "model"})
    assert pushed.status_code == 201

    subject = described(registry_server, repository, "1")
    Path("sbom.json").write_text('{"packages": []}')
    Path("config.json").write_text("{}")
    refers = client.push(
        f"{place}:sbom",
        files=[f"sbom.json:{SBOM}"],
        manifest_config=f"config.json:{SBOM}",
        manifest_annotations={"org.example.made": "today"},
        subject=oras.oci.Subject(**subject),
    )
    assert refers.headers["OCI-Subject"] == subject["digest"]

    listed = registry_server.request("GET", f"/v2/{repository}/referrers/{subject['digest']}").json
    found = described(registry_server, repository, "sbom")
    assert listed["manifests"] == [{**found, "artifactType": SBOM, "annotations": {"org.example.made": "today"}}]
    other = f"/v2/{repository}/referrers/{subject['digest']}?artifactType=application/vnd.example.other"
    assert registry_server.request("GET", other).json["manifests"] == []

    pulled = client.pull(f"{place}:1", outdir=str(tmp_path / "out"))
    assert sorted(Path(name).name for name in pulled) == ["readme.md", "weights.bin"]
    for name in ("readme.md", "weights.bin"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes()
    client.pull(f"{place}@{found['digest']}", allowed_media_type=[layouts.MANIFEST], outdir=str(tmp_path / "sbom"))
    assert (tmp_path / "sbom" / "sbom.json").read_text() == '{"packages": []}'
    assert sorted(client.get_tags(place)) == ["1", "sbom"]

    assert client.delete_tag(place, "sbom")
    assert client.get_tags(place) == ["1"]


def described(server: Server, repository: str, reference: str) -> dict[str, str | int]:
    reply = server.request("GET", f"/v2/{repository}/manifests/{reference}")
    return {"mediaType": layouts.MANIFEST, "digest": layouts.digest(reply.body), "size": len(reply.body)}


@both
def test_a_chunked_push(
    client: Any, registry_server: Server, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(layouts.filler(3 << 20, repository))
    place = f"{registry_server.address}/{repository}:1"
    client.push(place, files=["weights.bin"], do_chunked=True, chunk_size=1 << 20)
    client.pull(place, outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (tmp_path / "weights.bin").read_bytes()


def test_without_rights(
    client: Any,
    registry_server: Server,
    repository: str,
    bob: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("a")
    client.auth.set_basic_auth(*bob)
    with pytest.raises(ValueError, match="bob"):
        client.push(f"{registry_server.address}/{repository}:1", files=["a"])
