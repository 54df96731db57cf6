"""skopeo: copy to and fro, look, list, delete; and what it prints when it may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import layouts
from .conftest import Client
from .layouts import Layout
from .server import ADMIN, PASSWORD, Server, Shape

HTTPS = Shape(tls=True)
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SHAPES = [Shape(), Shape(workers=2), HTTPS, Shape("uvicorn", tls=True), Shape("granian", tls=True)]
shapes = pytest.mark.parametrize("registry_server", SHAPES, indirect=True, ids=str)
both = pytest.mark.parametrize("registry_server", [Shape(), HTTPS], indirect=True, ids=str)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def options(registry_server: Server, certificates: Path) -> dict[str, list[str]]:
    """How each side is told to reach the server, as the administrator."""
    verify = "true" if registry_server.shape.tls else "false"
    common = {"creds": f"{ADMIN}:{PASSWORD}", "cert-dir": str(certificates), "tls-verify": verify}
    return {side: [f"--{side}{name}={value}" for name, value in common.items()] for side in ("", "src-", "dest-")}


@shapes
def test_an_image_to_and_fro(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    tmp_path: Path,
    layers: list[bytes],
) -> None:
    descriptor = layout.image(layers)
    place = f"docker://{registry_server.address}/{repository}:1"
    skopeo("copy", *options["dest-"], layout.name(descriptor, "1"), place)
    assert registry_server.manifest_digest(repository, "1") == descriptor["digest"]

    skopeo("copy", *options["src-"], place, f"oci:{tmp_path / 'back'}:1")
    assert blobs(tmp_path / "back") == blobs(layout.path)
    seen = json.loads(skopeo("inspect", *options[""], place).text)
    assert seen["Digest"] == descriptor["digest"]
    assert len(seen["Layers"]) == len(layers)


@shapes
def test_an_index_to_and_fro(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    tmp_path: Path,
    layers: list[bytes],
) -> None:
    members = [layout.image(layers, "amd64"), layout.image([layouts.tar({"hello": b"other"})], "arm64")]
    index = layout.index(members)
    place = f"docker://{registry_server.address}/{repository}:multi"
    skopeo("copy", "--all", *options["dest-"], layout.name(index, "multi"), place)
    assert registry_server.manifest_digest(repository, "multi") == index["digest"]
    assert skopeo("inspect", "--raw", *options[""], place).text.encode() == layout.read(index)

    skopeo("copy", "--all", *options["src-"], place, f"oci:{tmp_path / 'back'}:multi")
    assert blobs(tmp_path / "back") == blobs(layout.path)

    other = json.loads(skopeo("inspect", "--override-arch", "arm64", *options[""], place).text)
    assert other["Architecture"] == "arm64"


def blobs(layout: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (layout / "blobs").rglob("*") if file.is_file()}


@both
def test_a_docker_manifest(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    layers: list[bytes],
) -> None:
    place = f"docker://{registry_server.address}/{repository}:1"
    skopeo("copy", "--format", "v2s2", *options["dest-"], layout.name(layout.image(layers), "1"), place)
    manifest = json.loads(skopeo("inspect", "--raw", *options[""], place).text)
    assert manifest["mediaType"] == DOCKER


@both
def test_a_manifest_of_sha512_is_read_by_tag_and_by_digest(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    layers: list[bytes],
) -> None:
    """skopeo writes blobs under sha256 only, even into a folder (1.9): bare HTTP pushes, skopeo reads the manifest."""
    descriptor = layout.image(layers, algorithm="sha512")
    registry_server.push_image(repository, "512", layout, descriptor)
    registry_server.push_image(repository, descriptor["digest"], layout, descriptor)
    for reference in (":512", f"@{descriptor['digest']}"):
        place = f"docker://{registry_server.address}/{repository}{reference}"
        assert skopeo("inspect", "--raw", *options[""], place).text.encode() == layout.read(descriptor)


@both
def test_tags_are_listed_and_deleted(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    layers: list[bytes],
) -> None:
    """`skopeo delete` asks for the digest and deletes that: every tag on it goes."""
    place = f"docker://{registry_server.address}/{repository}"
    first = layout.name(layout.image(layers[:1]), "first")
    second = layout.name(layout.image(layers[1:]), "second")
    for source, tag in [(first, "b"), (first, "a"), (second, "c")]:
        skopeo("copy", *options["dest-"], source, f"{place}:{tag}")
    assert json.loads(skopeo("list-tags", *options[""], place).text)["Tags"] == ["a", "b", "c"]
    skopeo("delete", *options[""], f"{place}:a")
    assert json.loads(skopeo("list-tags", *options[""], place).text)["Tags"] == ["c"]
    assert "manifest unknown" in skopeo("inspect", *options[""], f"{place}:b", status=None).text


@both
def test_copy_between_repositories_mounts(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    layers: list[bytes],
) -> None:
    descriptor = layout.image(layers)
    place = f"docker://{registry_server.address}/{repository}"
    skopeo("copy", *options["dest-"], layout.name(descriptor, "1"), f"{place}:1")
    skopeo("copy", *options["src-"], *options["dest-"], f"{place}:1", f"{place}/copy:1")
    assert registry_server.manifest_digest(f"{repository}/copy", "1") == descriptor["digest"]


@both
def test_login_and_logout(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    authfile: Path,
    layers: list[bytes],
) -> None:
    connection = options[""][1:]
    place = f"docker://{registry_server.address}/{repository}:1"
    skopeo("copy", *options["dest-"], layout.name(layout.image(layers[:1]), "1"), place)
    login = ("login", *connection, "--password-stdin", registry_server.address)
    assert "invalid username/password" in skopeo(*login, "--username", "nobody", stdin="wrong", status=None).text
    assert "Login Succeeded" in skopeo(*login, "--username", ADMIN, stdin=PASSWORD).text
    skopeo("inspect", *connection, place)
    skopeo("logout", registry_server.address)
    skopeo("inspect", *connection, place, status=None)


@both
def test_a_refused_push_prints_our_sentence(
    skopeo: Client,
    registry_server: Server,
    repository: str,
    layout: Layout,
    options: dict[str, list[str]],
    bob: tuple[str, str],
    layers: list[bytes],
) -> None:
    name, password = bob
    place = f"docker://{registry_server.address}/{repository}:1"
    connection = [option for option in options["dest-"] if "creds" not in option]
    source = layout.name(layout.image(layers[:1]), "1")
    printed = skopeo("copy", *connection, "--dest-creds", f"{name}:{password}", source, place, status=None).text
    refused = registry_server.request("POST", f"/v2/{repository}/blobs/uploads/", name=name, password=password)
    assert refused.status == 403
    assert refused.sentence in printed.replace('\\"', '"')


@pytest.mark.parametrize("registry_server", [HTTPS], indirect=True, ids=str)
def test_a_stranger_authority_is_not_trusted(
    skopeo: Client, registry_server: Server, repository: str, tmp_path: Path
) -> None:
    place = f"docker://{registry_server.address}/{repository}"
    printed = skopeo("list-tags", "--creds", f"{ADMIN}:{PASSWORD}", place, status=None).text
    assert "x509: certificate signed by unknown authority" in printed
