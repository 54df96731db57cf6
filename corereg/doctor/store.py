"""Database and storage: whether they answer, how fast, and whether their clocks agree with ours."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import sqlalchemy as sa

from corereg.config import redact
from corereg.doctor.address import CLOCKS
from corereg.findings import Check, Finding, fail, ok, warn
from corereg.registry import Registry
from corereg.store.schema import versions
from corereg.store.storage import KeyMissing, StorageError, blob_key

SLOW = 0.05
"""Seconds a question to the database may take; a push asks a dozen."""
SLOW_STORAGE = 2.0
PROBE = b"corereg doctor was here\n" * 64
NO_BLOB = "sha256:" + "0" * 64
LOOKED_THROUGH = 1000
"""Unfinished uploads among which the probe is looked for, to compare clocks."""
CLOCK = "let both keep time (chrony, systemd-timesyncd): leases and tokens depend on it"


def checks(registry: Registry) -> list[Check]:
    """The two it stands on."""

    async def database() -> list[Finding]:
        return [finding async for finding in _database(registry)]

    async def storage() -> list[Finding]:
        return [finding async for finding in _storage(registry)]

    return [Check("database", database), Check("storage", storage)]


async def _database(registry: Registry) -> AsyncGenerator[Finding]:
    where = registry.database.describe()
    path = getattr(registry.database, "path", None)
    if isinstance(path, Path) and not path.exists():
        yield warn(f"{where} is not there yet", "nothing, if this is before the first start; else restore it")
        return
    await registry.database.open()
    try:
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            await registry.database.rows(sa.select(sa.literal(1)))
            times.append(time.perf_counter() - begun)
        taken = statistics.median(times)
        told = f"{where} answers in {taken * 1000:.1f} ms"
        yield warn(told, "look at the network between, and at its load") if taken > SLOW else ok(told)
        if registry.database.dialect == "postgresql":
            before = time.time()
            row = await registry.database.row(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp())))
            differs = float(row[0]) - (before + time.time()) / 2 if row else 0.0
            yield _clock("the database", differs)
    finally:
        await registry.database.close()


def tables(registry: Registry) -> Check:
    """Whether the tables of core and plugins are up to date; the database is open."""

    async def look() -> Sequence[Finding]:
        found = []
        for each in await versions(registry.database, registry.schemas):
            if each.is_current:
                found.append(ok(f"{each.name} is at {each.current}"))
            else:
                found.append(
                    warn(f"{each.name} is at {each.current or 'nothing'}, the newest is {each.head}",
                         "back up, then start the registry or run corereg db upgrade")
                )  # fmt: skip
        return found

    return Check("tables", look)


async def _storage(registry: Registry) -> AsyncGenerator[Finding]:
    """An upload of its own: begun, written, read, thrown away."""
    storage, where = registry.storage, redact(registry.config.storage_url)
    if not _exists(registry):
        yield warn(f"{where} is not there yet", "nothing, if this is before the first start; else mount it")
        return
    await storage.open()
    try:
        begun = time.perf_counter()
        upload = str(uuid.uuid4())
        state = await storage.begin(upload)
        try:
            writer = await storage.writer(upload, state, 0)
            try:
                await writer.write(PROBE)
            finally:
                state = await writer.close()
            async with aclosing(storage.read_upload(upload, state, len(PROBE))) as pieces:
                read = b"".join([piece async for piece in pieces])
            written = await _written(registry, upload)
        finally:
            await storage.abort(upload, state)
        taken = time.perf_counter() - begun
        if read != PROBE:
            yield fail(
                f"{where} gives back other bytes than were written", "stop the registry and check disk or bucket"
            )
        if await _left(registry, upload, state):
            yield fail(f"{where} does not delete", "allow corereg to delete there, or nothing is ever cleaned up")
        told = f"{where} takes, gives back and deletes in {taken * 1000:.0f} ms"
        yield warn(told, "look at the disk or the network between") if taken > SLOW_STORAGE else ok(told)
        if written is not None:
            yield _clock("the storage", written - time.time())
    finally:
        await storage.close()


def _exists(registry: Registry) -> bool:
    """Whether the folder of a storage on this machine is there; opening it would make it."""
    key = blob_key(NO_BLOB)
    place = registry.storage.path(key)
    return place is None or Path(place).parents[key.count("/")].exists()


async def _written(registry: Registry, upload: str) -> float | None:
    """When the storage says that the probe was written, where it is found among the first."""
    seen = 0
    async with aclosing(registry.storage.uploads()) as uploads:
        async for each in uploads:
            seen += 1
            if each.key == upload:
                return each.modified
            if seen >= LOOKED_THROUGH:
                break
    return None


async def _left(registry: Registry, upload: str, state: object) -> bool:
    try:
        async with aclosing(registry.storage.read_upload(upload, state, len(PROBE))) as pieces:  # type: ignore[arg-type]  # its own
            async for _ in pieces:
                return True
    except KeyMissing:
        return False
    except StorageError:
        return True
    return False


def _clock(whose: str, differs: float) -> Finding:
    if abs(differs) > CLOCKS:
        return warn(f"the clock of {whose} differs by {differs:.0f} s from this machine's", CLOCK)
    return ok(f"the clock of {whose} agrees")
