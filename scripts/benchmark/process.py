"""A server that runs while it is measured, and what Linux tells about it under /proc."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from benchmark.wire import Address, Connection, WireError

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
START = 60.0
"""Seconds a server may take until it answers."""
STOP = 20.0
"""Seconds a server may take to end after SIGTERM."""


class ServerError(Exception):
    """A server did not start; the sentence holds the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children(pid: int) -> list[int]:
    """`pid` and everything it started, as far as it still lives, parents first."""
    found = [pid]
    for each in found:
        try:
            threads = list((PROC / str(each) / "task").iterdir())
            found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
        except OSError:  # ended meanwhile
            continue
    return found


def status(pid: int, field: str) -> int:
    """A field of /proc/PID/status that is given in kB (VmRSS, VmHWM), in bytes; 0 when the process has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)


def command_line(pid: int) -> str:
    """How the process was started."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time the processes have used, user and system."""
    total = 0
    for pid in pids:
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def listens(pid: int, port: int) -> bool:
    """Whether the process holds a socket that listens on `port`."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for descriptor in (PROC / str(pid) / "fd").iterdir():
        try:
            if str(descriptor.readlink()) in sockets:
                return True
        except OSError:  # closed meanwhile
            continue
    return False


class Server:
    """A server process, started with a command and ended by its process id."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """`{port}` and `{dir}` in `command` become a free port and a folder of its own under `folder`."""
        self.name = name
        self.address = Address("127.0.0.1", free_port())
        self.folder = folder / re.sub(r"\W+", "-", name).strip("-")
        self.folder.mkdir(parents=True)
        self.log = folder / f"{self.folder.name}.log"
        places = {"{port}": str(self.address.port), "{dir}": str(self.folder)}
        for mark, value in places.items():
            command = [part.replace(mark, value) for part in command]
        self.command = command
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Start it (again), on the same folder."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is the caller's own
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )

    @property
    def pids(self) -> list[int]:
        """The process and its children."""
        return children(self._process.pid)

    def wait(self) -> None:
        """Until the server answers; raises ServerError when it does not."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with Connection(self.address) as connection:
                    connection.ask("GET", "/v2/", {})
            except (OSError, WireError):
                time.sleep(0.1)
            else:
                return
        ended = self._process.poll()
        said = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        state = "does not answer" if ended is None else f"ended with {ended}"
        self.stop()
        raise ServerError(f"{self.name} {state}: {' '.join(self.command)}\n{said}")

    def stop(self) -> None:
        """End the process, and whatever of its children outlives it."""
        before = {pid: command_line(pid) for pid in self.pids[1:]} if self._process.poll() is None else {}
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid, line in before.items():
            if line and command_line(pid) == line:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
