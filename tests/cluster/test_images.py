"""Many real clients at once through nginx: every image goes in whole, and comes out with the same digest."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from corereg.testing.serving import ADMINISTRATOR, PASSWORD
from tests.clients.engine import engine
from tests.clients.layouts import Layout, docker_archive, filler, tar
from tests.clients.tools import require, run

from .nodes import Cluster


def layers(number: int) -> list[bytes]:
    """One that all images share, and two of its own."""
    return [
        tar({"base": filler(1 << 20, "base")}),
        tar({"big": filler(2 << 20, f"big {number}")}),
        tar({"small": filler(3000, f"small {number}")}),
    ]


def test_skopeo_pushes_and_pulls_many_images_at_once(cluster: Cluster, full: bool, tmp_path: Path) -> None:
    program, count = require("skopeo"), 50 if full else 8
    address = cluster.url.removeprefix("http://")
    layout = Layout(tmp_path / "images")
    sources = [layout.name(layout.image(layers(number)), f"i{number}") for number in range(count)]
    auth = tmp_path / "auth.json"
    auth.write_text("{}")
    run(program, "login", "--authfile", auth, "--tls-verify=false", "-u", ADMINISTRATOR, "--password-stdin", address,
        stdin=PASSWORD)  # fmt: skip

    def push(number: int) -> None:
        target = f"docker://{address}/images/app{number % 10}:t{number}"
        run(program, "copy", "--quiet", "--authfile", auth, "--dest-tls-verify=false", sources[number], target)

    def pull(number: int) -> str:
        source, target = f"docker://{address}/images/app{number % 10}:t{number}", tmp_path / f"pulled{number}"
        run(program, "copy", "--quiet", "--authfile", auth, "--src-tls-verify=false", source, f"dir:{target}")
        for file in target.iterdir():
            if len(file.name) == 64:
                assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
        return f"sha256:{hashlib.sha256((target / 'manifest.json').read_bytes()).hexdigest()}"

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(push, range(count)))
        found = list(pool.map(pull, range(count)))
    assert found == [named["digest"] for named in layout.named]
    assert len(set(found)) == count


def test_docker_pushes_and_pulls_images_at_once(cluster: Cluster, full: bool, tmp_path: Path) -> None:
    count = 50 if full else 2
    address = f"localhost:{cluster.url.rpartition(':')[2]}"
    with engine() as started:
        docker = started.docker(tmp_path / "docker")
        docker.login(address, ADMINISTRATOR, PASSWORD)
        names = [f"{address}/docker/app{number}:1" for number in range(count)]
        ids = []
        for number, name in enumerate(names):
            docker("load", "--input", docker_archive(tmp_path / f"{number}.tar", name, layers(100 + number)))
            ids.append(docker.image_id(name))
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda name: docker("push", name), names))
            docker("rmi", "--force", *ids)
            list(pool.map(lambda name: docker("pull", name), names))
        assert [docker.image_id(name) for name in names] == ids
