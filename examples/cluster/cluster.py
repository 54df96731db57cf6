"""A cluster on one machine: three nodes behind nginx, on one PostgreSQL and one S3 store. See README.md beside this.

    .venv/bin/python examples/cluster/cluster.py

Everything lies in a temporary folder and goes with Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from corereg.testing.postgres import Server, binaries
from corereg.testing.serving import free_port

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that each part has to start, and to end."""


def nginx_conf(folder: Path, port: int, nodes: Sequence[int]) -> str:
    """The nginx.conf of a proxy on `port` of the loopback address, before the nodes at these ports of it."""
    servers = "\n".join(f"        server 127.0.0.1:{node} fail_timeout=1s;" for node in nodes)
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
{temporary}
    upstream registry {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        include {HERE}/proxy.conf;
    }}
}}
"""


def storage(environment: Mapping[str, str], folder: Path, start: Callable[..., None]) -> str:
    """The URL of the storage: CLUSTER_STORAGE, or moto's S3 server, or (where that is not installed) a folder."""
    if given := environment.get("CLUSTER_STORAGE"):
        return given
    if find_spec("moto") is None or "storage_s3" not in entry_points(group="corereg").names:
        return f"fs:{folder / 'storage'}"
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    start("objects", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    until_answers(f"{endpoint}/moto-api/")
    bucket = urllib.request.Request(f"{endpoint}/corereg", method="PUT")  # noqa: S310 - our own address
    urllib.request.urlopen(bucket, timeout=5).close()  # noqa: S310
    return f"s3://corereg?endpoint={endpoint}&region=us-east-1"


def until_answers(url: str) -> None:
    """Wait until something answers at `url`. Raises SystemExit when nothing does."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own address
            return
        except urllib.error.HTTPError as answer:
            if answer.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer; see the logs above")


class Cluster:
    """The parts, in the order they are started; they end in the reverse order, when the `with` does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.password = secrets.token_urlsafe(18)
        self.port = int(environment.get("CLUSTER_PORT") or free_port())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            self._open(ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def _open(self, ends: ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="corereg-cluster-"))
        ends.callback(shutil.rmtree, self.folder, ignore_errors=True)

        def start(name: str, *command: str, **environment: str) -> None:
            with (self.folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - our own commands
                    command,
                    env={**self.environment, **environment},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C comes to us, and we end them in order
                )
            self.processes[name] = process
            ends.callback(self._end, process)

        programs, nginx = binaries(), shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if programs is None or nginx is None:
            raise SystemExit("needs PostgreSQL and nginx; on Debian: apt install postgresql nginx-light")
        database = Server(programs, fsync="on", full_page_writes="on")
        ends.callback(database.remove)
        database.create()
        shared = {
            "COREREG__DATABASE__URL": database.url,
            "COREREG__STORAGE__URL": storage(self.environment, self.folder, start),
            "COREREG__SERVER__TRUSTED_PROXIES": "127.0.0.1",
            "COREREG_ADMIN_PASSWORD": self.password,
        }
        if "127.0.0.1" in shared["COREREG__STORAGE__URL"]:  # moto believes everybody
            shared |= {"COREREG__STORAGE_S3__ACCESS_KEY": "cluster", "COREREG__STORAGE_S3__SECRET_KEY": "cluster"}
        self.storage = shared["COREREG__STORAGE__URL"]
        self.nodes = [free_port() for _ in range(3)]
        for number, port in enumerate(self.nodes, 1):
            node = [sys.executable, "-m", "corereg", "serve", "--port", str(port)]
            start(f"node{number}", *node, "--data", str(self.folder / f"node{number}"), **shared)
        for port in self.nodes:
            until_answers(f"http://127.0.0.1:{port}/healthz")
        config = self.folder / "nginx.conf"
        config.write_text(nginx_conf(self.folder, self.port, self.nodes))
        start("nginx", nginx, "-c", str(config), "-e", str(self.folder / "nginx.log"))
        until_answers(f"http://127.0.0.1:{self.port}/healthz")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def describe(self) -> str:
        """What runs where, and what to do with it."""
        address = f"localhost:{self.port}"
        nodes = ", ".join(f"{port} (pid {self.processes[f'node{n}'].pid})" for n, port in enumerate(self.nodes, 1))
        return f"""\
Three nodes at the ports {nodes}
  storage    {self.storage.split("?")[0]}
  logs       {self.folder}/*.log
  registry   http://{address}, through nginx
  password   {self.password} (of admin; not shown again)

docker login {address} -u admin
docker tag IMAGE {address}/library/app:1 && docker push {address}/library/app:1
skopeo login --tls-verify=false {address} -u admin
skopeo copy --dest-tls-verify=false oci:LAYOUT:TAG docker://{address}/library/app:1

Kill one node by its pid, and push again. Ctrl-C stops everything and removes it."""


class Stopped(Exception):
    """A signal asked for the end."""


def _stop(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def main() -> None:
    """Start it, say what there is, and wait for a signal."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with Cluster(os.environ) as cluster:
            print(cluster.describe(), flush=True)  # noqa: T201 - for a person
            while True:
                signal.pause()
    except Stopped:
        print("Stopped; nothing is left.", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
