"""PostgreSQL for tests: a server of their own in a temporary folder, and a database for whoever needs one."""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from corereg.store.engines import connect
from corereg.store.schema import CORE, upgrade
from corereg.testing.serving import bound, free_port

STARTS = 60.0
"""Seconds a server has until it answers."""
OWNER = "postgres"
"""Who runs the server where root runs the tests: it refuses to be root's."""
# What survives the death of the server's processes needs no disk.
RELAXED = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "shared_buffers": "64MB"}


def binaries() -> Path | None:
    """The folder of the newest ``initdb`` and ``postgres`` there are: Debian's, or those on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    named = shutil.which("initdb")
    return Path(named).resolve().parent if named else None


class Server:
    """A cluster in a folder of its own, served on one loopback port. Everybody on this machine may enter.

    Names sort by ICU's rules for English, so that a test fails where something relies on the collation of a test's
    machine. `settings` are of postgresql.conf. On Linux it ends with the thread that started it: nothing is left of
    tests that are killed.
    """

    def __init__(self, programs: Path, **settings: str) -> None:
        self._programs = programs
        self._settings = RELAXED | settings
        self._root = os.geteuid() == 0
        self.folder = Path(tempfile.mkdtemp(prefix="corereg-postgres-"))
        self.give(self.folder)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def give(self, path: Path) -> None:
        """Make a file the server's own."""
        if self._root:
            shutil.chown(path, OWNER, OWNER)

    def _run(self, *arguments: str) -> list[str]:
        """A command as the owner of the cluster; it ends with this thread."""
        program = str(self._programs / arguments[0])
        user = OWNER if self._root else pwd.getpwuid(os.geteuid()).pw_name
        guard = bound("QUIT")
        if self._root:
            guard = [*guard, "--init-groups", "--reuid", user, "--regid", user]
        return [*guard, program, *arguments[1:]]

    def create(self) -> None:
        """Make the cluster and start the server."""
        made = subprocess.run(  # noqa: S603 - our own command
            self._run(
                "initdb",
                "-D",
                str(self.folder / "data"),
                "-U",
                OWNER,
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-sync",
                "--locale=C.UTF-8",
                "--locale-provider=icu",
                "--icu-locale=en-US",
            ),
            capture_output=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr.decode()
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ["-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._run("postgres", "-D", str(self.folder / "data"), *arguments),
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl+C is for the tests, which then stop it
            )
        until = time.monotonic() + STARTS
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:  # noqa: S603 - our own command
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends every session in order, SIGQUIT as a crash would (``pg_ctl stop -m immediate``)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop and start it, on the same port."""
        self.stop(how)
        self.start()

    def remove(self) -> None:
        """Stop it; nothing is left."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """The address of the database that is always there."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/postgres"


class Databases:
    """New databases on a server, given by the URL of any database of it whose user may make others."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._prefix = f"corereg_{uuid4().hex[:12]}"
        self._template: str | None = None
        self._by_folder: dict[Path, str] = {}
        self._numbers = itertools.count()
        self._made: list[str] = []

    def empty(self) -> str:
        """The URL of a new database without tables."""
        return self._create(None)

    def fresh(self) -> str:
        """The URL of a new database with the core's tables: a copy, which is quicker than to make them."""
        if self._template is None:
            url = self._create(None)
            _elsewhere(_prepare(url))
            self._template = urlsplit(url).path[1:]
        return self._create(self._template)

    def of(self, folder: Path) -> str:
        """The database that belongs to a data folder: always the same one, new when it is first asked for."""
        folder = folder.resolve()
        if folder not in self._by_folder:
            self._by_folder[folder] = self.fresh()
        return self._by_folder[folder]

    def _create(self, template: str | None) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        like = f" TEMPLATE {template}" if template else ""
        _elsewhere(_execute(self.url, f"CREATE DATABASE {name}{like}"))
        self._made.append(name)
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self) -> None:
        """Drop all that were made; whoever is still connected is thrown out."""
        for name in self._made:
            _elsewhere(_execute(self.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        self._made.clear()


def _elsewhere(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in a loop of its own: fixtures ask from within one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def _execute(url: str, sql: str) -> None:
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        with suppress(Exception):
            await connection.close()


async def _prepare(url: str) -> None:
    database = connect(url)
    await database.open()
    try:
        await upgrade(database, [CORE])
    finally:
        await database.close()
