"""Registries inside other applications: mounted beside routes, below a prefix, two in one process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from corereg import Config, Registry
from corereg.testing.client import (
    EMPTY,
    Credentials,
    RegistryClient,
    challenges,
    digest,
    error_codes,
    expect,
    image,
    running,
    with_query,
)

from .conftest import EXAMPLES, PASSWORD

Load = Callable[[str], ModuleType]

ADMIN = Credentials("admin", PASSWORD)


# ---- mounted_in_starlette ----


@pytest.mark.anyio
async def test_push_and_pull_beside_another_route(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    example = load("mounted_in_starlette")
    async with running(example.app), RegistryClient(app=example.app, credentials=ADMIN) as client:
        assert expect(await client.request("GET", "/hello"), 200).text == "hello\n"
        expect(await client.request("GET", "/healthz"), 200)
        pushed = await client.push_image("library/app", "1")
        pulled = expect(await client.get_manifest("library/app", "1"), 200)
        assert pulled.content == pushed.body
        assert await client.pull_blob("library/app", EMPTY.digest) == EMPTY.body
        assert error_codes(expect(await client.request("GET", "/no/such/route"), 404)) == ["UNSUPPORTED"]


@pytest.mark.anyio
async def test_below_a_prefix_every_address_has_it(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    app = load("mounted_in_starlette").application(Registry(Config(data=tmp_path / "below")), "/registry")
    manifest = image()
    async with running(app), RegistryClient(app=app, credentials=ADMIN) as client:
        asked = expect(await client.request("GET", "/registry/v2/", headers={"Authorization": "Bearer x.y.z"}), 401)
        assert challenges(asked)[0].parameters["realm"] == "http://registry.test/registry/service/token"

        begun = expect(await client.request("POST", "/registry/v2/library/app/blobs/uploads/"), 202)
        place = begun.headers["location"]
        assert place.startswith("/registry/v2/library/app/blobs/uploads/")
        appended = expect(await client.request("PATCH", place, content=EMPTY.body), 202)
        assert appended.headers["location"] == place
        done = await client.request("PUT", with_query(place, digest=EMPTY.digest))
        assert expect(done, 201).headers["location"] == f"/registry/v2/library/app/blobs/{EMPTY.digest}"

        target = "/registry/v2/library/app/manifests/1"
        put = await client.request("PUT", target, headers={"Content-Type": manifest.media_type}, content=manifest.body)
        place = expect(put, 201).headers["location"]
        assert place == f"/registry/v2/library/app/manifests/{manifest.digest}"
        assert expect(await client.request("GET", place), 200).content == manifest.body

        expect(await client.request("PUT", f"{target}0", headers=put.request.headers, content=manifest.body), 201)
        page = expect(await client.request("GET", "/registry/v2/library/app/tags/list?n=1"), 200)
        assert page.headers["link"] == '</registry/v2/library/app/tags/list?n=1&last=1>; rel="next"'
        expect(await client.request("GET", "/v2/"), 404)


# ---- two_registries ----


@pytest.mark.anyio
async def test_two_registries_share_nothing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "lab's own")
    monkeypatch.setenv("PRODUCTION_PASSWORD", "production's own")
    app = load("two_registries").app
    lab = RegistryClient("http://lab.localhost", app=app, credentials=Credentials("lab", "lab's own"))
    production = RegistryClient(
        "http://production.localhost", app=app, credentials=Credentials("release", "production's own")
    )
    async with running(app), lab, production:
        config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
        described = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(config),
            "size": len(config),
        }
        plain, golden = (
            image(described, annotations={"org.opencontainers.image.base.name": base})
            for base in ("debian:13", "registry.example.com/golden/debian:13")
        )
        for client in (lab, production):
            await client.push_blob("demo/app", config)
        expect(await lab.put_manifest("demo/app", "1", plain), 201)
        expect(await production.get_manifest("demo/app", "1"), 404)
        expect(await production.put_manifest("demo/app", "1", plain), 403, code="DENIED")
        expect(await production.put_manifest("demo/app", "1", golden), 201)

        expect(await lab.request("DELETE", "/v2/demo/app/manifests/1"), 202)
        expect(await production.request("DELETE", "/v2/demo/app/manifests/1"), 403)

        token = await lab.authorization("GET", "/v2/demo/app/manifests/1")
        assert token is not None
        expect(await production.request("GET", "/v2/", headers={"Authorization": token}), 401)
        stranger = Credentials("lab", "lab's own").basic
        expect(await production.request("GET", "/v2/", headers={"Authorization": stranger}), 401)


@pytest.mark.anyio
async def test_without_a_password_in_the_environment_nobody_signs_in(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LAB_PASSWORD", "PRODUCTION_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    app = load("two_registries").app
    async with running(app), RegistryClient("http://lab.localhost", app=app, sign_in="never") as client:
        basic = {"Authorization": Credentials("lab", "").basic}
        expect(await client.request("GET", "/v2/", headers=basic), 401)


# ---- what their docstrings tell ----


@pytest.mark.parametrize(
    ("name", "host", "path"),
    [("mounted_in_starlette", "localhost", "/hello"), ("two_registries", "lab.localhost", "/healthz")],
)
def test_the_docstrings_command_serves_it(name: str, host: str, path: str, tmp_path: Path) -> None:
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    command = re.search(r"hypercorn --bind 127\.0\.0\.1:8080 examples/(\w+\.py:app)$", text, re.MULTILINE)
    assert command is not None, "the docstring says how to run it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", f"{EXAMPLES}/{command[1]}"]
    environment = os.environ | {"COREREG_ADMIN_PASSWORD": PASSWORD}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": f"{host}:8080"})
        assert status(request, process) == 200, (tmp_path / "log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def status(request: urllib.request.Request, process: subprocess.Popen[bytes]) -> int | None:
    """The status, once the server answers; None when it ends, or half a minute is over."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), opener.open(request, timeout=5) as answer:
            return int(answer.status)
        time.sleep(0.1)
    return None
