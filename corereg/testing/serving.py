"""`corereg serve` as a process of its own, for tests that need a real socket, signals, or a server that dies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import httpx2

ADMINISTRATOR = "admin"
PASSWORD = "Served-secret-12345"
STARTS = 40.0
"""Seconds a server has until it is ready."""


def bound(name: str) -> list[str]:
    """What stands before a command so that it gets that signal when the thread that starts it ends: nothing is left of
    tests that are killed. Empty where there is no setpriv(1).
    """
    return ["setpriv", "--pdeathsig", name] if shutil.which("setpriv") else []


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """One data folder, served again and again on one port. `environment` holds further ``COREREG__`` variables.

    It keeps everything in the data folder, unless a function of `elsewhere` gives further plugins and variables for
    that folder (as ``--corereg-database`` and ``--corereg-storage`` do). `plugins` are those that are enabled: by
    default storage and local users alone, so that anything can be pushed.
    """

    elsewhere: ClassVar[tuple[Callable[[Path], tuple[Sequence[str], Mapping[str, str]]], ...]] = ()

    def __init__(
        self,
        data: Path,
        log: Path,
        *,
        kind: str = "hypercorn",
        workers: int = 1,
        plugins: Sequence[str] = ("storage_fs", "accounts"),
        environment: Mapping[str, str] = {},
    ) -> None:
        self.data = data
        self.log = log
        self.kind = kind
        self.workers = workers
        self.environment = {**self.places(data, plugins), **environment}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def places(cls, data: Path, plugins: Sequence[str]) -> dict[str, str]:
        """Variables that say which plugins are enabled, and where what belongs to a data folder is kept."""
        variables: dict[str, str] = {}
        for place in cls.elsewhere:
            more, there = place(data)
            plugins = list(dict.fromkeys((*plugins, *more)))
            variables |= there
        return {"COREREG__PLUGINS": ",".join(plugins), **variables}

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        arguments = ["--data", str(self.data), "--port", str(self.port)]
        arguments += ["--workers", str(self.workers), "--server", self.kind]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "corereg", "serve", *arguments],
                stderr=log,
                stdout=log,
                env={**os.environ, "COREREG_ADMIN_PASSWORD": PASSWORD, **self.environment},
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        """Wait until ``/healthz`` answers; AssertionError with the log when it does not."""
        until = time.monotonic() + STARTS
        while time.monotonic() < until:
            try:
                if httpx2.get(f"{self.url}/healthz", timeout=2).status_code == httpx2.codes.OK:
                    return
            except httpx2.HTTPError:
                pass
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """SIGKILL to the process and all of its workers: its own process group, and nobody else."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
