"""`corereg serve` as a process that can be killed, and a client that notices."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2

PASSWORD = "Crash-secret-12345"  # noqa: S105 - of a server in a temporary folder
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One data folder; started and killed many times on one port."""

    def __init__(self, data: Path, log: Path, workers: int = 1) -> None:
        self.data = data
        self.log = log
        self.workers = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--data", str(self.data), "--port", str(self.port), "--workers", str(self.workers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "corereg", "serve", *arguments],
                stderr=log,
                stdout=log,
                env={**os.environ, "COREREG_ADMIN_PASSWORD": PASSWORD, "COREREG__UPLOADS__LEASE": "1s"},
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        until = time.monotonic() + 40
        while time.monotonic() < until:
            try:
                if httpx2.get(f"{self.url}/healthz", timeout=2).status_code == httpx2.codes.OK:
                    return
            except httpx2.HTTPError:
                pass
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """SIGKILL to the process and all of its workers: its own process group, and nobody else."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Client:
    """Pushes and pulls with one token, which outlives every restart: the keys are in the database."""

    def __init__(self, server: Server, repository: str) -> None:
        scope = {"scope": f"repository:{repository}:pull,push,delete"}
        token = httpx2.get(f"{server.url}/service/token", params=scope, auth=("admin", PASSWORD), timeout=20).json()
        bearer = {"Authorization": f"Bearer {token['token']}"}
        self.http = httpx2.Client(base_url=server.url, headers=bearer, timeout=20)
        self.repository = repository

    def close(self) -> None:
        self.http.close()

    def blob(self, data: bytes, pieces: int) -> int:
        """Push a blob in so many PATCHes (0: with the PUT); the last status."""
        start = self.http.post(f"/v2/{self.repository}/blobs/uploads/")
        if start.status_code != httpx2.codes.ACCEPTED:
            return start.status_code
        location, rest = start.headers["location"], data
        step = len(data) // pieces + 1 if pieces else 0
        while step and rest:
            answer = self.http.patch(location, content=rest[:step])
            if answer.status_code != httpx2.codes.ACCEPTED:
                return answer.status_code
            rest = rest[step:]
        return self.http.put(location, params={"digest": digest(data)}, content=rest).status_code

    def manifest(self, tag: str, config: bytes, layers: list[bytes]) -> tuple[int, str]:
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/x", "digest": digest(config), "size": len(config)},
                "layers": [{"mediaType": "application/x", "digest": digest(each), "size": len(each)} for each in layers],
            }
        ).encode()
        answer = self.http.put(
            f"/v2/{self.repository}/manifests/{tag}", content=body, headers={"content-type": MANIFEST}
        )
        return answer.status_code, digest(body)

    def current(self, tag: str) -> str | None:
        """The digest a tag points at."""
        answer = self.http.head(f"/v2/{self.repository}/manifests/{tag}")
        return answer.headers["docker-content-digest"] if answer.status_code == httpx2.codes.OK else None
