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


@pytest.fixture(params=["basic", "token"])
def client(request: pytest.FixtureRequest, registry_server: Server, repository: str) -> Any:
    """The administrator's client, with Basic credentials or with a token.

    The token is fetched beforehand: oras asks for one that covers its first request (HEAD of a blob: pull) and
    answers `insufficient_scope` with that same token again (0.2.43).
    """
    made = connect(registry_server, request.param)
    if request.param == "token":
        asked = registry_server.token(ADMIN, PASSWORD, f"repository:{repository}:pull,push,delete")
        made.auth.set_token_auth(asked.json["token"])
    else:
        made.auth.set_basic_auth(ADMIN, PASSWORD)
    return made


def connect(server: Server, backend: str) -> Any:
    if oras is None:
        missing("oras is not installed (pip install oras)")
    verify = str(server.authority) if server.shape.tls else True
    return oras.client.OrasClient(
        hostname=server.address, insecure=not server.shape.tls, tls_verify=verify, auth_backend=backend
    )


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
    registry_server: Server,
    repository: str,
    bob: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("a")
    client = connect(registry_server, "basic")
    client.auth.set_basic_auth(*bob)
    refused = registry_server.request("POST", f"/v2/{repository}/blobs/uploads/", name=bob[0], password=bob[1])
    assert refused.status == 403
    with pytest.raises(ValueError, match="retrieving session url") as raised:
        client.push(f"{registry_server.address}/{repository}:1", files=["a"])
    assert repr(refused.sentence)[1:-1] in str(raised.value)


def test_a_pull_fetches_its_own_token(client: Any, registry_server: Server, repository: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    place = f"{registry_server.address}/{repository}:1"
    client.push(place, files=[str(tmp_path / "a")], disable_path_validation=True)
    other = connect(registry_server, "token")
    other.auth.set_basic_auth(ADMIN, PASSWORD)
    assert [Path(name).read_text() for name in other.pull(place, outdir=str(tmp_path / "out"))] == ["a"]
