"""Debian's docker-registry fills a folder or a bucket; corereg takes it over and serves it, the other still can."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from corereg.testing.storages import KEYS, ObjectStore
from tests.clients import layouts
from tests.clients.layouts import Layout
from tests.clients.server import ADMIN, PASSWORD, Server, Shape, corereg, free_port
from tests.clients.tools import missing, require, run

pytestmark = pytest.mark.corereg_files

HOST = "127.0.0.1"
START = 60


@contextmanager
def docker_registry(driver: str, folder: Path) -> Iterator[str]:
    """CNCF Distribution with that `driver` (a section of its configuration); its host and port."""
    program = shutil.which("docker-registry", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        missing("docker-registry is not installed (on Debian, as root: scripts/servers)")
    port = free_port(HOST)
    config = folder / "config.yml"
    config.write_text(f"version: 0.1\nstorage:\n  {driver}\nhttp:\n  addr: {HOST}:{port}\n")
    with (folder / "docker-registry.log").open("ab") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log, env=environment)
    try:
        end = time.monotonic() + START
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError((folder / "docker-registry.log").read_text())
            time.sleep(0.05)
        yield f"{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(START)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=START)
    with closing(connection), suppress(OSError):
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    return False


def manifests(layout: Layout) -> dict[str, str]:
    """What skopeo pushes into the old registry: digest by tag."""
    base = layouts.tar({"base": layouts.filler(100_000, "base")})
    one = layout.image([base, layouts.tar({"hello": b"one"})])
    other = layout.image([base, layouts.tar({"hello": b"two"})], "arm64")
    both = layout.index([one, other])
    empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}")
    chart = layout.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"a chart")
    document = (
        f'{{"schemaVersion":2,"mediaType":"{layouts.MANIFEST}","artifactType":"application/x.chart",'
        f'"config":{layouts.json.dumps(empty)},"layers":[{layouts.json.dumps(chart)}]}}'
    )
    artifact = layout.blob(layouts.MANIFEST, document.encode())
    for each, tag in ((one, "single"), (both, "multi"), (artifact, "artifact")):
        layout.name(each, tag)
    return {"single": one["digest"], "multi": both["digest"], "artifact": artifact["digest"]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(Shape(), tmp_path / "corereg", HOST)
    made.folder.mkdir()
    yield made
    made.stop()


@pytest.fixture(params=["folder", "bucket"])
def driver(request: pytest.FixtureRequest, server: Server) -> str:
    """Where the old registry keeps its bytes, as a section of its configuration; `server` keeps its own there, too."""
    if request.param == "folder":
        storage = server.data / "storage"
        storage.mkdir(parents=True)
        return f"filesystem: {{rootdirectory: {storage}}}"
    store: ObjectStore = request.getfixturevalue("object_store")
    prefix = uuid4().hex
    server.environment |= {
        "COREREG__PLUGINS": "storage_s3,accounts",
        "COREREG__STORAGE__URL": f"s3://{store.bucket}/{prefix}?endpoint={store.url}&region=us-east-1",
        **{f"COREREG__STORAGE_S3__{name}".upper(): value for name, value in KEYS.items()},
    }
    return (
        f"s3: {{accesskey: {KEYS['access_key']}, secretkey: {KEYS['secret_key']}, secure: false, region: us-east-1, "
        f"regionendpoint: '{store.url}', bucket: {store.bucket}, rootdirectory: /{prefix}}}"
    )


def test_what_docker_registry_holds_is_taken_over(server: Server, driver: str, tmp_path: Path) -> None:
    skopeo = require("skopeo")
    layout = Layout(tmp_path / "layout")
    digests = manifests(layout)
    with docker_registry(driver, tmp_path) as old:
        for tag in digests:
            for repository in ("team/app", "alone"):
                place = f"docker://{old}/{repository}:{tag}"
                run(skopeo, "copy", "--all", "--dest-tls-verify=false", f"oci:{layout.path}:{tag}", place)
        # Docker's own type of manifest, which is not in the layout.
        converted = f"docker://{old}/team/docker:1"
        run(skopeo, "copy", "-f", "v2s2", "--dest-tls-verify=false", f"oci:{layout.path}:single", converted)
        docker = run(skopeo, "inspect", "--tls-verify=false", "-f", "{{.Digest}}", converted).text.strip()

    environment = {**server.environment, "COREREG_ADMIN_PASSWORD": PASSWORD}
    done = run(*corereg(), "adopt", "--data", server.data, env=environment)
    assert "Took over 9 manifests, 7 tags" in done.text

    server.start()
    sign_in = f"{ADMIN}:{PASSWORD}"
    wanted = [(repository, tag, digests[tag]) for repository in ("team/app", "alone") for tag in digests]
    for number, (repository, tag, digest) in enumerate([*wanted, ("team/docker", "1", docker)]):
        assert server.manifest_digest(repository, tag) == digest
        place = f"docker://{server.address}/{repository}:{tag}"
        back = f"oci:{tmp_path / f'back{number}'}:back" if digest != docker else f"dir:{tmp_path / 'docker'}"
        options = ("--src-tls-verify=false", f"--src-creds={sign_in}", "--preserve-digests")
        run(skopeo, "copy", "--all", *options, place, back)
    new = layout.image([layouts.tar({"hello": b"new"})])
    place = f"docker://{server.address}/team/app:new"
    options = ("--dest-tls-verify=false", f"--dest-creds={sign_in}")
    run(skopeo, "copy", *options, layout.name(new, "new"), place)
    assert server.manifest_digest("team/app", "new") == new["digest"]
    server.stop()

    with docker_registry(driver, tmp_path) as old:
        for repository, tag, digest in wanted:
            place = f"docker://{old}/{repository}:{tag}"
            assert layouts.digest(run(skopeo, "inspect", "--tls-verify=false", "--raw", place).text.encode()) == digest
            back = f"dir:{tmp_path / repository.replace('/', '-')}-{tag}"
            run(skopeo, "copy", "--all", "--src-tls-verify=false", place, back)
