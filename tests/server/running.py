"""`corereg serve` as a process of its own, and a client that does nothing by itself."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START = 30.0
STOP = 30.0
KIB, MIB = 1024, 1024 * 1024
SIGNED_IN = "Basic " + base64.b64encode(b"admin:secret").decode()

POLICY = """
import asyncio
import os
import time

from corereg import EVERYTHING, OPEN, Identity, Route, hookimpl


@hookimpl
async def check_password(name, password):
    if (name, password) == ("admin", "secret"):
        return Identity(name="admin", subject="user:admin", administrator=True)


@hookimpl
async def grants(identity):
    return None if identity.anonymous else [EVERYTHING]


@hookimpl
def provide_routes(registry):
    async def process(session):
        return {"process": os.getpid()}

    async def hang(session):
        time.sleep(600)

    async def rest(session):
        await asyncio.sleep(600)

    return [
        Route("GET", "/process", process, needs=OPEN),
        Route("GET", "/hang", hang, needs=OPEN),
        Route("GET", "/rest", rest, needs=OPEN),
    ]
"""
CONFIG = 'plugins = ["storage_fs", "./policy.py"]\n'


def make_house(folder: Path, config: str = "", policy: str = POLICY) -> Path:
    """A folder with a configuration and a plugin that lets admin in; the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.py").write_text(policy)
    file = folder / "corereg.toml"
    file.write_text(CONFIG + config)
    return file


def _hang_up_as_usual() -> None:
    """Whoever runs the tests may ignore SIGHUP (nohup does), and children inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Running:
    """One `corereg serve`; `said` is what it wrote to standard error so far."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        config: str = "",
        policy: str = POLICY,
        port: int = 0,
        python: str = sys.executable,
        environment: Mapping[str, str] = {},
    ) -> None:
        file = make_house(folder, config, policy)
        self.folder = folder
        self.log = folder / "stderr"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COREREG")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "-m", "corereg", "serve", "--config", str(file), "--port", str(port), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, **environment},
                start_new_session=True,
                preexec_fn=_hang_up_as_usual,  # noqa: PLW1509 - it only resets a signal, and these tests start no threads
            )
        self.pid = self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> Running:
        self.wait_for("Ready in")
        return self

    def wait_for(self, words: str, seconds: float = START) -> None:
        end = time.monotonic() + seconds
        while words not in self.said:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
            assert time.monotonic() < end, f"{words!r} was not said in {seconds} s:\n{self.said}"
            time.sleep(0.02)

    @property
    def port(self) -> int:
        found = re.search(r"registry +https?://\S+:(\d+)/v2/", self.said)
        assert found is not None, self.said
        return int(found[1])

    @property
    def authority(self) -> Path:
        return self.folder / "corereg-data" / "tls" / "ca.crt"

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds: float = STOP) -> int:
        """The exit status, once it has ended by itself."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    # ---- a client ----

    def connect(self, *, secure: bool = False, protocols: Sequence[str] = (), buffer: int = 0) -> socket.socket:
        connection = socket.socket()
        connection.settimeout(20)
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect(("127.0.0.1", self.port))
        if not secure:
            return connection
        context = ssl.create_default_context(cafile=str(self.authority))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context.wrap_socket(connection, server_hostname="localhost")

    def request(
        self, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] = {}
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, {"Authorization": SIGNED_IN, **headers})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()

    def refuses(self) -> bool:
        """Whether nobody listens any more."""
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def wait_refuses(self) -> None:
        end = time.monotonic() + 10
        while not self.refuses():
            assert time.monotonic() < end, "it still listens"
            time.sleep(0.02)

    def push(self, content: bytes, repository: str = "demo/app") -> str:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        status, headers, said = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, said
        place = headers["location"]
        status, _, said = self.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content)
        assert status == 201, said
        return f"/v2/{repository}/blobs/{digest}"


@contextmanager
def running(folder: Path, *arguments: str, **how) -> Iterator[Running]:
    """A server that answers, and is gone afterwards whatever happens."""
    server = Running(folder, *arguments, **how)
    try:
        yield server.wait_ready()
    finally:
        server.kill()


def head(method: str, path: str, *more: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: {SIGNED_IN}", *more, "", ""]).encode()


def read_head(connection: socket.socket) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers, and what of the body came along."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(4096)
        assert piece, f"ended after {got!r}"
        got += piece
    lines, _, rest = got.partition(b"\r\n\r\n")
    first, *others = lines.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in others)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, rest


def read_all(connection: socket.socket, pause: float = 0.0, piece: int = 64 * KIB) -> bytes:
    """To the end of the connection."""
    got = bytearray()
    while True:
        if pause:
            time.sleep(pause)
        part = connection.recv(piece)
        if not part:
            return bytes(got)
        got += part


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that live."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]
