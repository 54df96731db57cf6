"""docker: log in, push, delete, pull again; and the sentences it prints when it may not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import layouts
from .conftest import Image
from .engine import CERTIFICATES, Docker, passing, trusted
from .server import ADMIN, PASSWORD, Server, Shape
from .tools import run

HTTPS = Shape(tls=True, outward=True)
SHAPES = [
    *(Shape(), Shape(workers=2), HTTPS),
    *(Shape("uvicorn"), Shape("uvicorn", workers=2), Shape("uvicorn", tls=True, outward=True)),
    *(Shape("granian"), Shape("granian", workers=2), Shape("granian", tls=True, outward=True)),
]
both = pytest.mark.parametrize("registry_server", [Shape(), HTTPS], indirect=True, ids=str)


@pytest.fixture
def reference(docker: Docker, image: Image, registry_server: Server, repository: str, trust: None) -> str:
    """The image has this name in the engine, and the administrator is logged in; nothing is pushed yet."""
    name = f"{registry_server.address}/{repository}:1"
    assert "Login Succeeded" in docker.login(registry_server.address, ADMIN, PASSWORD).text
    docker("tag", image.name, name)
    return name


@pytest.mark.parametrize("registry_server", SHAPES, indirect=True, ids=str)
def test_push_delete_and_pull_again(
    docker: Docker, image: Image, registry_server: Server, repository: str, reference: str
) -> None:
    pushed = docker("push", reference).text
    digest = registry_server.manifest_digest(repository, "1")
    assert digest is not None
    assert f"1: digest: {digest}" in pushed

    docker("rmi", reference)
    docker("pull", reference)
    assert docker.image_id(reference) == image.id
    assert docker.repo_digest(reference) == digest

    docker("rmi", reference)
    deleted = registry_server.request("DELETE", f"/v2/{repository}/manifests/{digest}")
    assert deleted.status == 202
    assert "manifest unknown" in docker("pull", reference, status=None).text

    docker("tag", image.name, reference)
    docker("push", reference)
    assert registry_server.manifest_digest(repository, "1") == digest
    docker("rmi", reference)
    docker("pull", reference)
    assert docker.image_id(reference) == image.id


@both
def test_pull_by_digest(docker: Docker, image: Image, registry_server: Server, repository: str, reference: str) -> None:
    docker("push", reference)
    by_digest = f"{reference.removesuffix(':1')}@{registry_server.manifest_digest(repository, '1')}"
    docker("rmi", reference)
    docker("pull", by_digest)
    assert docker.image_id(by_digest) == image.id
    docker("rmi", by_digest)


@both
def test_deleted_blobs_are_pushed_again(
    docker: Docker, image: Image, registry_server: Server, repository: str, reference: str
) -> None:
    """The engine remembers where it pushed a layer; it must not be told that a deleted one is still there."""
    docker("push", reference)
    digest = registry_server.manifest_digest(repository, "1")
    manifest = registry_server.request("GET", f"/v2/{repository}/manifests/{digest}").json
    assert registry_server.request("DELETE", f"/v2/{repository}/manifests/{digest}").status == 202
    for layer in manifest["layers"]:
        assert registry_server.request("DELETE", f"/v2/{repository}/blobs/{layer['digest']}").status == 202

    assert "Layer already exists" not in docker("push", reference).text
    docker("rmi", reference)
    docker("pull", reference)
    assert docker.image_id(reference) == image.id


def test_pushing_twice_sends_nothing_again(docker: Docker, reference: str) -> None:
    assert docker("push", reference).text.count("Pushed") == 4
    assert docker("push", reference).text.count("Layer already exists") == 4


def test_layers_are_mounted_from_another_repository(docker: Docker, reference: str) -> None:
    docker("push", reference)
    second = reference.removesuffix(":1") + "/second:1"
    docker("tag", reference, second)
    assert docker("push", second).text.count("Mounted from") == 4


def test_all_tags_of_a_repository(docker: Docker, registry_server: Server, repository: str, reference: str) -> None:
    repository_name = reference.removesuffix(":1")
    docker("tag", reference, f"{repository_name}:2")
    docker("push", "--all-tags", repository_name)
    docker("rmi", reference, f"{repository_name}:2")
    assert registry_server.request("GET", f"/v2/{repository}/tags/list").json == {
        "name": repository,
        "tags": ["1", "2"],
    }
    docker("pull", "--all-tags", repository_name)
    assert docker.image_id(reference) == docker.image_id(f"{repository_name}:2")


@both
def test_an_index_gives_the_image_of_the_engines_platform(
    docker: Docker, registry_server: Server, repository: str, reference: str, tmp_path: Path
) -> None:
    layout = layouts.Layout(tmp_path / "layout")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[docker("info", "--format", "{{.Architecture}}").text.strip()]
    others = [name for name in ("amd64", "arm64", "s390x") if name != machine]
    members = {name: layout.image([layouts.tar({name: b"here"})], name) for name in (*others, machine)}
    for descriptor in members.values():
        registry_server.push_image(repository, descriptor["digest"], layout, descriptor)
    index = layout.index(list(members.values()))
    registry_server.push_manifest(repository, "multi", layout.read(index), layouts.INDEX)

    name = reference.removesuffix("1") + "multi"
    docker("pull", name)
    assert docker.repo_digest(name) == index["digest"]
    assert docker.image_id(name) == json.loads(layout.read(members[machine]))["config"]["digest"]


@both
def test_an_image_of_sha512(
    docker: Docker, registry_server: Server, repository: str, reference: str, tmp_path: Path
) -> None:
    """docker reads sha512 and never makes it: bare HTTP pushes the image, docker pulls it and pushes it on."""
    layout = layouts.Layout(tmp_path / "layout")
    descriptor = layout.image([layouts.tar({"name": repository.encode()})], algorithm="sha512")
    registry_server.push_image(repository, "512", layout, descriptor)
    put = registry_server.push_image(repository, descriptor["digest"], layout, descriptor)
    assert put.headers["Docker-Content-Digest"] == descriptor["digest"]

    name = reference.removesuffix("1") + "512"
    docker("pull", name)
    config = layout.read(json.loads(layout.read(descriptor))["config"])
    assert docker.image_id(name) == layouts.digest(config)
    by_digest = f"{reference.removesuffix(':1')}@{descriptor['digest']}"
    docker("rmi", name)
    docker("pull", by_digest)
    assert docker.image_id(by_digest) == layouts.digest(config)

    further = reference.removesuffix(":1") + "/further:1"
    docker("tag", by_digest, further)
    docker("push", further)


@both
def test_a_wrong_password_prints_our_sentence(docker: Docker, registry_server: Server, trust: None) -> None:
    refused = registry_server.token(ADMIN, "wrong", "repository:any:pull")
    assert refused.status == 401
    printed = docker.login(registry_server.address, ADMIN, "wrong", status=None).text
    assert f"unauthorized: {refused.sentence}" in printed
    assert (
        not (docker.config / "config.json").exists()
        or registry_server.address not in (docker.config / "config.json").read_text()
    )


@both
def test_an_unknown_user_gets_the_same_sentence(docker: Docker, registry_server: Server, trust: None) -> None:
    refused = registry_server.token("nobody-there", "wrong", "repository:any:pull")
    assert refused.sentence in docker.login(registry_server.address, "nobody-here", "wrong", status=None).text


@both
def test_a_refused_push_prints_our_sentence(
    docker: Docker, registry_server: Server, repository: str, reference: str, bob: tuple[str, str]
) -> None:
    docker.login(registry_server.address, *bob)
    printed = docker("push", reference, status=None).text
    refused = registry_server.request("POST", f"/v2/{repository}/blobs/uploads/", name=bob[0], password=bob[1])
    assert refused.status == 403
    assert f"denied: {refused.sentence}" in printed
    assert "bob" in refused.sentence
    assert repository in refused.sentence
    assert registry_server.manifest_digest(repository, "1") is None


def test_a_refused_pull_hides_whether_there_is_something(
    docker: Docker, registry_server: Server, reference: str, bob: tuple[str, str]
) -> None:
    docker("push", reference)
    docker("rmi", reference)
    docker.login(registry_server.address, *bob)
    there = docker("pull", reference, status=None).text
    nowhere = reference.removesuffix(":1") + "-nowhere:1"
    assert docker("pull", nowhere, status=None).text.replace("-nowhere", "") == there


@both
def test_logout(docker: Docker, registry_server: Server, reference: str) -> None:
    docker("push", reference)
    docker("logout", registry_server.address)
    docker("rmi", reference)
    printed = docker("pull", reference, status=None).text
    assert "docker login" in printed or "authentication required" in printed or "no basic auth" in printed
    docker.login(registry_server.address, ADMIN, PASSWORD)
    docker("pull", reference)


@pytest.mark.parametrize("registry_server", [HTTPS], indirect=True, ids=str)
def test_a_stranger_authority_is_not_trusted(docker: Docker, registry_server: Server) -> None:
    printed = docker.login(registry_server.address, ADMIN, PASSWORD, status=None).text
    assert "x509: certificate signed by unknown authority" in printed
    with trusted(registry_server.address, registry_server.authority):
        docker.login(registry_server.address, ADMIN, PASSWORD)


@pytest.mark.parametrize("registry_server", [HTTPS], indirect=True, ids=str)
def test_the_printed_line_makes_docker_trust(docker: Docker, registry_server: Server) -> None:
    with passing(CERTIFICATES / registry_server.address):
        run("/bin/sh", "-c", registry_server.trust_line("docker"))
        docker.login(registry_server.address, ADMIN, PASSWORD)


def test_a_restart_keeps_images_users_and_logins(docker: Docker, image: Image, repository: str, tmp_path: Path) -> None:
    server = Server(Shape(), tmp_path, "127.0.0.1")
    server.start()
    try:
        docker.login(server.address, ADMIN, PASSWORD)
        name = f"{server.address}/{repository}:1"
        docker("tag", image.name, name)
        docker("push", name)
        docker("rmi", name)
        assert server.stop() == 0

        server.start()
        docker("pull", name)
        assert docker.image_id(name) == image.id
    finally:
        assert server.stop() == 0
