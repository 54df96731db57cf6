"""podman and buildah: the same library as skopeo, with a storage that unpacks what it pulls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import layouts
from .conftest import Client
from .engine import passing
from .server import ADMIN, PASSWORD, Server, Shape
from .tools import run

HTTPS = Shape(tls=True)
both = pytest.mark.parametrize("registry_server", [Shape(), HTTPS], indirect=True, ids=str)


@pytest.fixture
def connection(registry_server: Server, certificates: Path) -> list[str]:
    verify = "true" if registry_server.shape.tls else "false"
    return [f"--tls-verify={verify}", f"--cert-dir={certificates}"]


@pytest.fixture
def local(builder: Client, tmp_path: Path, layers: list[bytes]) -> str:
    """The id of an image in the storage of podman or buildah."""
    layout = layouts.Layout(tmp_path / "layout")
    return builder("pull", "--quiet", layout.name(layout.image(layers), "1")).text.split()[-1]


@both
def test_login_push_pull_logout(
    builder: Client, local: str, registry_server: Server, repository: str, connection: list[str]
) -> None:
    address = registry_server.address
    name = f"{address}/{repository}:1"
    login = ("login", *connection, "--password-stdin")
    assert "invalid username/password" in builder(*login, "--username=nobody", address, stdin="wrong", status=None).text
    assert "Login Succeeded" in builder(*login, f"--username={ADMIN}", address, stdin=PASSWORD).text

    builder("push", *connection, local, f"docker://{name}")
    assert registry_server.manifest_digest(repository, "1") is not None
    builder("rmi", "--force", local)
    pulled = builder("pull", "--quiet", *connection, f"docker://{name}").text.split()[-1]
    assert pulled == local

    builder("logout", address)
    builder("push", *connection, local, f"docker://{name}-anonymous", status=None)
    assert registry_server.manifest_digest(repository, "1-anonymous") is None


@both
def test_a_list_of_images(
    builder: Client,
    registry_server: Server,
    repository: str,
    connection: list[str],
    layers: list[bytes],
    tmp_path: Path,
) -> None:
    layout = layouts.Layout(tmp_path / "layout")
    images = {"amd64": layout.image(layers), "arm64": layout.image(layers[:1], "arm64")}
    builder("manifest", "create", "both")
    for architecture, image in images.items():
        builder("manifest", "add", "--arch", architecture, "both", layout.name(image, architecture))
    place = f"docker://{registry_server.address}/{repository}:both"
    credentials = f"--creds={ADMIN}:{PASSWORD}"
    builder("manifest", "push", "--all", *connection, credentials, "both", place)
    reply = registry_server.request("GET", f"/v2/{repository}/manifests/both")
    assert {member["platform"]["architecture"] for member in reply.json["manifests"]} == {"amd64", "arm64"}
    for member in reply.json["manifests"]:
        found = registry_server.request("GET", f"/v2/{repository}/manifests/{member['digest']}")
        assert layouts.digest(found.body) == member["digest"]
        assert len(found.body) == member["size"]
    pulled = builder("pull", "--quiet", "--arch", "arm64", *connection, credentials, place).text.split()[-1]
    assert json.loads(layout.read(images["arm64"]))["config"]["digest"] == f"sha256:{pulled}"


@both
def test_a_refused_push_prints_our_sentence(
    builder: Client,
    local: str,
    registry_server: Server,
    repository: str,
    connection: list[str],
    bob: tuple[str, str],
) -> None:
    name, password = bob
    place = f"docker://{registry_server.address}/{repository}:1"
    printed = builder("push", *connection, f"--creds={name}:{password}", local, place, status=None).text
    refused = registry_server.request("POST", f"/v2/{repository}/blobs/uploads/", name=name, password=password)
    assert refused.status == 403
    assert refused.sentence in printed.replace('\\"', '"')


@pytest.mark.parametrize("registry_server", [HTTPS], indirect=True, ids=str)
def test_the_printed_line_makes_podman_trust(builder: Client, registry_server: Server) -> None:
    login = ("login", f"--username={ADMIN}", "--password-stdin", registry_server.address)
    assert "x509: certificate signed by unknown authority" in builder(*login, stdin=PASSWORD, status=None).text
    with passing(Path("/etc/containers/certs.d") / registry_server.address):
        run("/bin/sh", "-c", registry_server.trust_line("podman"))
        builder(*login, stdin=PASSWORD)
