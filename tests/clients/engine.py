"""A Docker engine of the tests' own: its data, sockets and pid file lie in one short folder, and go with it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .tools import Outcome, clean_environment, missing, require, require_root, run

START = 30  # seconds until the engine answers
STOP = 20  # seconds until it has ended
CERTIFICATES = Path("/etc/docker/certs.d")  # compiled into dockerd; there is no option


class Docker:
    """The docker command line of one person: a config folder (the logins) of its own."""

    def __init__(self, socket: Path, config: Path) -> None:
        self.config = config
        self.environment = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(config)}

    def __call__(self, *arguments: str | Path, status: int | None = 0, stdin: str | None = None) -> Outcome:
        return run(require("docker"), *arguments, status=status, env=self.environment, stdin=stdin)

    def login(self, address: str, name: str, password: str, status: int | None = 0) -> Outcome:
        return self("login", "-u", name, "--password-stdin", address, status=status, stdin=password)

    def image_id(self, reference: str) -> str:
        return self("image", "inspect", "--format", "{{.Id}}", reference).text.strip()

    def repo_digest(self, reference: str) -> str:
        """The digest under which the engine last pushed or pulled a reference."""
        repository = reference.rpartition(":")[0]
        found: list[str] = json.loads(self("image", "inspect", "--format", "{{json .RepoDigests}}", reference).text)
        return next(name.partition("@")[2] for name in found if name.startswith(f"{repository}@"))


class Engine:
    """One dockerd. `overlay2` where the kernel has it, else `vfs`; no bridge, no iptables: nothing is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "d.sock"
        self.log = folder / "dockerd.log"
        self.process: subprocess.Popen[bytes] | None = None

    def docker(self, config: Path) -> Docker:
        return Docker(self.socket, config)

    def start(self) -> bool:
        """Whether the engine answers; False with the reason in its log."""
        return any(self._start(driver) for driver in ("overlay2", "vfs"))

    def _start(self, driver: str) -> bool:
        (self.folder / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(self.folder / "key.json")}))
        command = [
            *(require("dockerd"), "--config-file", f"{self.folder}/daemon.json"),
            *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/run"),
            *("--pidfile", f"{self.folder}/pid", "--host", f"unix://{self.socket}", "--storage-driver", driver),
            *("--bridge=none", "--iptables=false", "--ip6tables=false"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                start_new_session=True,
            )
        if self._answers():
            return True
        self.stop()
        return False

    def _answers(self) -> bool:
        ask = self.docker(self.folder / "config")
        end = time.monotonic() + START
        while time.monotonic() < end:
            if self.process is None or self.process.poll() is not None:
                return False
            with suppress(AssertionError):
                ask("version")
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """End this engine, by the pid of the process that was started here, and no other."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextmanager
def engine() -> Iterator[Engine]:
    """A running engine; a skip (with CI=true a failure) where none can run."""
    require_root()
    require("docker")
    folder = Path(tempfile.mkdtemp(prefix="ce-", dir="/tmp"))  # short: a unix socket's path holds 107 bytes
    made = Engine(folder)
    try:
        if not made.start():
            last = made.log.read_text(errors="replace").strip().splitlines()[-1:]
            missing(f"dockerd does not start here: {''.join(last)}")
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def trusted(address: str, authority: Path) -> Iterator[None]:
    """The engine trusts this authority for `address` (host:port), for as long as this lasts."""
    with passing(CERTIFICATES / address) as folder:
        folder.mkdir(parents=True)
        shutil.copy(authority, folder / "ca.crt")
        yield


@contextmanager
def passing(folder: Path) -> Iterator[Path]:
    """Whatever is put into `folder` goes afterwards, with the folders above it that were not there before."""
    grounds = [place for place in (folder.parent, folder.parent.parent) if not place.exists()]
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for place in grounds:
            with suppress(OSError):  # it was never made, or somebody else put something there meanwhile
                place.rmdir()


@contextmanager
def outward_address() -> Iterator[str]:
    """An address of this machine that is no loopback address to docker, yet leads nowhere else.

    docker takes every registry of 127.0.0.0/8 as insecure: it neither checks a certificate there nor minds plain HTTP.
    So an address of the block for documentation (RFC 5737, TEST-NET-2) is put on the loopback interface meanwhile.
    """
    require_root()
    tool = require("ip")
    address = str(ipaddress.ip_address("198.51.100.1") + os.getpid() % 250)
    held = f" {address}/" in run(tool, "-oneline", "address", "show", "dev", "lo").text
    if not held:
        run(tool, "address", "add", f"{address}/32", "dev", "lo")
    try:
        yield address
    finally:
        if not held:
            run(tool, "address", "delete", f"{address}/32", "dev", "lo")
