"""A page, done as a reader does it: one folder, one registry at a time, block after block."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .blocks import Block

PORT = "8080"
"""The port that pages speak of; a free one stands for it."""
SITE = "site"
"""The folder that what a page installs goes into."""
START = 40
STOP = 30
PATIENCE = 180


HIDES = """
import importlib.metadata as metadata

everything = metadata.entry_points


def entry_points(**which):
    found = everything(**which)
    hidden = [each for each in found if each.value.startswith("corereg_") and each.name not in {shown}]
    return metadata.EntryPoints(each for each in found if each not in hidden)


metadata.entry_points = entry_points
"""
"""An environment in which only some of the first-party plugins are installed; every Python reads it first."""


class Shell(Protocol):
    """Whoever does docker's lines: the lines, the status they end with, what they print."""

    def __call__(self, lines: str, password_of: Callable[[str], str]) -> tuple[int, str]: ...


class Session:
    """One reader. `docker` does docker's lines."""

    def __init__(self, folder: Path, docker: Shell) -> None:
        self.folder = folder
        self.port = _free_port()
        self.printed = ""
        self._docker = docker
        self._server: subprocess.Popen[bytes] | None = None
        self._log = folder.with_name(f"{folder.name}.log")
        self._said = ""
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, block: Block) -> None:
        """Do one block, and check what is said of it.

        Of the first-party plugins the page sees those that it installs, and no others.
        """
        named = re.findall(r"\./plugins/(\w+)", block.text) if "pip install" in block.text else []
        if named:
            self._write(f"{SITE}/sitecustomize.py", HIDES.format(shown=named))
        if block.file is not None:
            self._write(block.file, block.text)
        elif "serve" in block.marks:
            self.serve(block.text)
        elif "install" in block.marks:
            self._install(block)
        elif "docker" in block.marks:
            self._judge(block, *self._docker(self._here(block.text), self.password_of))
        elif block.language == "python" and "run" in block.marks:
            self._judge(block, *self._run([sys.executable, "-X", "dev", "-W", "error", "-c", self._here(block.text)]))
        elif "run" in block.marks:
            self._judge(block, *self._run(["bash", "-euo", "pipefail", "-c", self._here(block.text)]))
        elif "output" in block.marks:
            self._compare(block)

    def close(self) -> None:
        """End the registry, if one runs; it must end well."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.send_signal(signal.SIGTERM)
        try:
            status = server.wait(STOP)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise AssertionError(f"the registry did not end within {STOP} s of SIGTERM:\n{self._log_text()}") from None
        assert status == 0, f"the registry ended with {status}:\n{self._log_text()}"

    def password_of(self, name: str) -> str:
        """The administrator's stands in the first start's output, anybody else's in the file ``<name>-password``."""
        if name != "admin":
            return (self.folder / f"{name}-password").read_text(encoding="utf-8").strip()
        found = re.search(r"was made, with the password (\S+)", self._said + self._log_text())
        assert found is not None, "the first start printed no password"
        return found[1]

    # ---- doing ----

    def _here(self, text: str) -> str:
        return text.replace(PORT, str(self.port))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        """A reader's environment, with corereg on the path and the free port instead of 8080."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COREREG")}
        beside = Path(sys.executable).parent
        return kept | {
            "PATH": f"{beside}{os.pathsep}{kept['PATH']}",
            "COREREG__SERVER__PORT": str(self.port),
            "PYTHONPATH": str(self.folder / SITE),
            "PYTHONUNBUFFERED": "1",
            "no_proxy": "*",
        }

    def _run(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout

    def _install(self, block: Block) -> None:
        """What a page wrote itself is installed into its own folder; the rest is there, or needs a network."""
        for name in re.findall(r"pip install -e '?\./(\w+)", block.text):
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
            self._judge(block, *self._run([*pip, "--target", str(self.folder / SITE), f"./{name}"]))

    def serve(self, text: str) -> None:
        """Start a registry, after the end of the one before."""
        self.close()
        self._said += self._log_text()
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                shlex.split(text, comments=True),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + START
        while "Ready in" not in self._log_text():
            assert self._server.poll() is None, f"{text.strip()} ended with {self._server.poll()}:\n{self._log_text()}"
            assert time.monotonic() < end, f"{text.strip()} is not ready after {START} s:\n{self._log_text()}"
            time.sleep(0.05)
        self.printed = self._log_text()

    def _log_text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    # ---- judging ----

    def _judge(self, block: Block, status: int, printed: str) -> None:
        self.printed = printed
        as_told = status != 0 if "fails" in block.marks else status == 0
        assert as_told, f"line {block.line} ended with {status}\n{block.text}\n{printed}\n{self._log_text()}"

    def _compare(self, block: Block) -> None:
        lines = iter(line.rstrip() for line in self.printed.splitlines())
        for wanted in self._here(block.text).splitlines():
            pattern = ".*".join(re.escape(part) for part in wanted.rstrip().split("…"))
            assert any(re.fullmatch(pattern, line) for line in lines), (
                f"line {block.line}: this was not printed, or not in this order:\n{wanted}\n\nprinted:\n{self.printed}"
            )


def answers(port: int, path: str = "/healthz") -> int | None:
    """The status of a GET on this machine; None when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
