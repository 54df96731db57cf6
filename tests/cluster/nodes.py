"""Three real nodes behind nginx, on one PostgreSQL and one storage: started, killed and started again by their pids."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from corereg import Config, Registry
from corereg.config import DatabaseConfig, JobsConfig, StorageConfig
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served, free_port
from corereg.testing.storages import KEYS
from examples.cluster.cluster import nginx_conf

PLUGINS = ("storage_fs", "storage_s3", "accounts")
WORKS = Path(__file__).with_name("works.py")


class Proxy:
    """nginx as the example sets it up, in front of these ports."""

    def __init__(self, folder: Path, program: str, ports: list[int]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(nginx_conf(folder, self.port, ports))
        self._log = folder / "nginx.log"
        self._process = subprocess.Popen([program, "-c", str(config), "-e", str(self._log)])
        until = time.monotonic() + 20
        while True:
            try:
                httpx2.get(f"{self.url}/healthz", timeout=2)
                return
            except httpx2.TransportError:
                assert time.monotonic() < until, self._log.read_text()
                assert self._process.poll() is None, self._log.read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Cluster:
    """Nodes of one registry. `nodes` are served one by one, `proxy` stands before them all."""

    def __init__(
        self, folder: Path, database: str, storage: str, *, count: int = 3, environment: Mapping[str, str] = {}
    ) -> None:
        self.folder = folder
        self.database = database
        self.storage = storage
        shared = {
            "COREREG__DATABASE__URL": database,
            "COREREG__STORAGE__URL": storage,
            "COREREG__WORKS__FOLDER": str(folder),
            "COREREG__SERVER__TRUSTED_PROXIES": "127.0.0.1",
            "COREREG__SERVER__SHUTDOWN_TIMEOUT": "20s",
            "COREREG__UPLOADS__LEASE": "2s",
            "COREREG__JOBS__LEASE": "3s",
            **{f"COREREG__STORAGE_S3__{name.upper()}": value for name, value in KEYS.items()},
            **environment,
        }
        self.nodes = [
            Served(
                folder / f"node{number}",
                folder / f"node{number}.log",
                plugins=(*PLUGINS, str(WORKS)),
                environment=shared,
            )
            for number in range(1, count + 1)
        ]
        self._turns = itertools.cycle(self.nodes)
        self.proxy: Proxy | None = None

    @property
    def url(self) -> str:
        """Where clients find the registry: nginx."""
        assert self.proxy is not None
        return self.proxy.url

    def start(self, nginx: str | None = None) -> None:
        """Start every node at the same moment, and wait until all are ready; then the proxy, if there is one."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            for started in [pool.submit(node.start) for node in self.nodes]:
                started.result()
        if nginx is not None:
            self.proxy = Proxy(self.folder / "proxy", nginx, [node.port for node in self.nodes])

    def turn(self) -> Served:
        """The next node."""
        return next(self._turns)

    def stop(self) -> None:
        """End everything; what was on its way has its time."""
        if self.proxy is not None:
            self.proxy.stop()
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            node.stop()

    def logs(self) -> str:
        return "\n".join(f"== {node.log.name}\n{node.log.read_text()}" for node in self.nodes if node.log.exists())

    def watching(self) -> Registry:
        """The same registry in this process, which does no jobs."""
        return Registry(
            Config(
                data=self.folder / "watching",
                tables={
                    "works": {"folder": str(self.folder)},
                    "storage_s3": KEYS,
                },
                database=DatabaseConfig(url=self.database, pool_size=2),  # type: ignore[arg-type]  # as it is read
                storage=StorageConfig(url=self.storage),  # type: ignore[arg-type]
                jobs=JobsConfig(slots=0),
            ),
            plugins=[*PLUGINS, str(WORKS)],
        )


def token(url: str, *scopes: str, user: str = ADMINISTRATOR, password: str = PASSWORD) -> str:
    """A bearer token as docker gets one."""
    answer = httpx2.get(
        f"{url}/service/token", params={"scope": list(scopes)}, auth=(user, password), timeout=20
    ).raise_for_status()
    return str(answer.json()["token"])


def client(url: str, bearer: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {bearer}"}, timeout=30, follow_redirects=True)
