"""`corereg serve` as a process of its own, in the shapes that people run it, and plain HTTP to look at what it did."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from corereg.testing.serving import Served

from .layouts import Descriptor, Layout
from .tools import clean_environment, run

ADMIN = "admin"
PASSWORD = "Correct horse, battery 9"
PLUGINS = ("storage_fs", "accounts")  # the core's own affairs, wherever one pushes to
START = 60  # seconds until /healthz answers, on a machine that is busy
STOP = 20  # seconds until SIGTERM has ended it
MANIFESTS = ", ".join(
    [
        *("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"),
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


class Shape(NamedTuple):
    """How a server is run. `outward`: on an address that docker does not take for a loopback one."""

    kind: str = "hypercorn"
    workers: int = 1
    tls: bool = False
    outward: bool = False

    def __str__(self) -> str:
        return "-".join([self.kind, str(self.workers), "https" if self.tls else "http"])


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def sentence(self) -> str:
        """What the first error of an OCI error envelope says to a person."""
        message = self.json["errors"][0]["message"]
        assert isinstance(message, str)
        return message


class Server:
    """One running corereg with data of its own in `folder`."""

    def __init__(self, shape: Shape, folder: Path, host: str) -> None:
        self.shape = shape
        self.folder = folder
        self.host = host
        self.port = free_port(host)
        self.log_file = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.terminated = False
        self.users: set[str] = set()
        self.environment = Served.places(self.data, PLUGINS)

    @property
    def address(self) -> str:
        """host:port, as a client is told it; `localhost` where that is where the server listens."""
        return f"{'localhost' if self.host == '127.0.0.1' else self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.shape.tls else 'http'}://{self.address}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that `--tls self-signed` made: what a client has to trust."""
        return self.data / "tls" / "ca.crt"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def start(self) -> None:
        shape = self.shape
        self.terminated = False
        command = [
            *(*corereg(), "serve", "--data", str(self.data), "--host", self.host, "--port", str(self.port)),
            *("--workers", str(shape.workers), "--server", shape.kind),
            *(("--tls", "self-signed") if shape.tls else ()),
        ]
        environment = {"COREREG_ADMIN_PASSWORD": PASSWORD, "PYTHONUNBUFFERED": "1", **self.environment}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + START
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, f"corereg ended with {self.process.returncode} at start:\n{self.log}"
            with suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/healthz", name=None).status == 200:
                    return
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"no answer from {self.url}/healthz within {START} s:\n{self.log}")

    def terminate(self) -> None:
        """SIGTERM, once: a second one would cut the transfers off."""
        if self.process is not None and not self.terminated:
            self.terminated = True
            self.process.terminate()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process is None:
            return 0
        self.terminate()
        process, self.process = self.process, None
        try:
            return process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"corereg did not end within {STOP} s of SIGTERM:\n{self.log}") from None

    def trust_line(self, client: str) -> str:
        """The command that start-up prints for `client`, as root would type it."""
        line = next(line for line in self.log.splitlines() if line.strip().startswith(f"{client} "))
        return line.strip().removeprefix(client).replace("sudo ", "").strip()

    def add_user(self, name: str, password: str) -> None:
        """A local user who has been given nothing; made once."""
        if name in self.users:
            return
        words = ("user", "create", name, "--password-stdin", "--data", self.data)
        run(*corereg(), *words, env=self.environment, stdin=password)
        self.users.add(name)

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = ADMIN,
        password: str = PASSWORD,
    ) -> Reply:
        """One request with Basic credentials (none if `name` is None); `target` is a path or a whole URL."""
        sent = {"Accept": MANIFESTS} | dict(headers or {})
        if name is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        parts = urlsplit(target)
        connection = self._connection()
        try:
            connection.request(method, f"{parts.path}?{parts.query}".rstrip("?"), body, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())  # type: ignore[arg-type]  # an email.Message
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self.shape.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=START)
        if not self.authority.exists():
            raise ConnectionRefusedError(self.authority)  # the server has not come so far
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection(self.host, self.port, timeout=START, context=context)

    def token(self, name: str, password: str, scope: str) -> Reply:
        """What docker asks of the token endpoint."""
        query = urlencode({"account": name, "service": "corereg", "scope": scope})
        return self.request("GET", f"/service/token?{query}", name=name, password=password)

    def manifest_digest(self, repository: str, reference: str) -> str | None:
        """The digest a tag has here, or None."""
        reply = self.request("HEAD", f"/v2/{repository}/manifests/{reference}")
        return reply.headers["Docker-Content-Digest"] if reply.status == 200 else None

    def push_blob(self, repository: str, data: bytes, digest: str) -> None:
        """POST and PUT, as the specification's simplest client does."""
        begun = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert begun.status == 202, begun
        place = begun.headers["Location"]
        place += f"{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
        done = self.request("PUT", place, body=data, headers={"Content-Type": "application/octet-stream"})
        assert done.status == 201, done

    def push_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> Reply:
        target = f"/v2/{repository}/manifests/{reference}"
        done = self.request("PUT", target, body=body, headers={"Content-Type": media_type})
        assert done.status == 201, done
        return done

    def push_image(self, repository: str, reference: str, layout: Layout, image: Descriptor) -> Reply:
        """The config, the layers and the manifest of an image of the layout, under the digests they have there."""
        manifest = layout.read(image)
        document = json.loads(manifest)
        for blob in (document["config"], *document["layers"]):
            self.push_blob(repository, layout.read(blob), blob["digest"])
        return self.push_manifest(repository, reference, manifest, image["mediaType"])


def corereg() -> tuple[str, ...]:
    """The command that stands beside this Python."""
    return (str(Path(sys.executable).with_name("corereg")),)


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
