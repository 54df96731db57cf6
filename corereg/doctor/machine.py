"""The configuration, the plugins and the machine."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import anyio
import anyio.to_thread

from corereg.findings import Check, Finding, fail, ok, warn
from corereg.registry import Registry
from corereg.store.sqlite import SQLiteDatabase

GIB, MIB = 1024**3, 1024**2
FEW_FILES = 4096
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"})
"""Kinds of file systems on which SQLite's locks and shared memory are not to be relied on."""


def checks(registry: Registry) -> list[Check]:
    """What needs no network and no database."""

    async def configuration() -> list[Finding]:
        file = registry.config.file
        return [ok(f"read from {file}" if file else "no file: defaults, environment and options"), *_jobs(registry)]

    async def plugins() -> list[Finding]:
        return [ok(", ".join(_named(each.name) for each in registry.plugins) or "none")]

    async def folder() -> Iterable[Finding]:
        return await anyio.to_thread.run_sync(data_folder, registry.config.data)

    async def limits() -> list[Finding]:
        return _limits()

    async def database_file() -> Sequence[Finding]:
        return await anyio.to_thread.run_sync(_file_system, registry)

    return [
        Check("configuration", configuration),
        Check("plugins", plugins),
        Check("data folder", folder),
        Check("file system", database_file),
        Check("open files", limits),
    ]


def _jobs(registry: Registry) -> Iterable[Finding]:
    if registry.config.jobs.slots == 0:
        yield warn("this node runs no jobs ([jobs] slots = 0)", "see that another node does, or nothing is cleaned up")


def _named(name: str) -> str:
    try:
        return f"{name} {version('corereg-' + name.replace('_', '-'))}"
    except PackageNotFoundError:
        return name


def data_folder(place: Path) -> list[Finding]:
    """Whose it is, who else may read it, and how much room there is."""
    if not place.exists():
        return [
            warn(f"{place} is not there yet", "nothing, if this is before the first start; else mount or restore it")
        ]
    found = place.stat()
    findings = []
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        findings.append(
            fail(f"{place} belongs to user {found.st_uid}, and this runs as {os.geteuid()}",
                 "run corereg doctor as the registry's user; if you did: chown the folder")
        )  # fmt: skip
    if stat.S_IMODE(found.st_mode) & 0o077:
        findings.append(
            warn(f"others may look into {place} (mode {stat.S_IMODE(found.st_mode):03o})",
                 f"chmod 700 {place}: password hashes and signing keys lie there")
        )  # fmt: skip
    disk = shutil.disk_usage(place)
    free = f"{disk.free / GIB:.1f} GiB of {disk.total / GIB:.1f} free at {place}"
    if disk.free < 100 * MIB:
        findings.append(fail(free, "make room now: pushes are about to be refused"))
    elif disk.free < min(5 * GIB, disk.total // 10):
        findings.append(warn(free, "make room, collect garbage, or enlarge the disk"))
    else:
        findings.append(ok(free))
    return findings


def _file_system(registry: Registry) -> list[Finding]:
    database = registry.database
    if not isinstance(database, SQLiteDatabase) or database.path is None:
        return []
    kind = kind_of(database.path, _mounts())
    if kind is None:
        return []
    if kind in NETWORK:
        return [
            fail(f"the SQLite database {database.path} lies on a network file system ({kind})",
                 "keep it on a local disk, or use PostgreSQL: its locks and its log do not work there")
        ]  # fmt: skip
    return [ok(f"{database.path} lies on {kind}")]


def _mounts() -> list[tuple[str, str]]:
    """Place and kind of what is mounted; nothing where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [(parts[1].replace("\\040", " "), parts[2]) for line in lines if len(parts := line.split()) > 2]


def kind_of(place: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """The kind of file system that a path lies on: that of the longest mount above it, and of those the last."""
    here = place.resolve()
    found = [(len(where), number, kind) for number, (where, kind) in enumerate(mounts) if here.is_relative_to(where)]
    return max(found)[2] if found else None


def _limits() -> list[Finding]:
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= FEW_FILES:
        return [ok(f"{'any number' if hard == resource.RLIM_INFINITY else hard} permitted")]
    return [warn(f"{hard} permitted", "raise the limit: LimitNOFILE=65536 in the unit, or ulimit -Hn")]
