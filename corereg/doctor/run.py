"""The order of the checks, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec

from corereg.config import Config
from corereg.doctor import address, content, machine, store
from corereg.findings import Check, Finding, Status, fail, warn
from corereg.registry import Registry
from corereg.server.failure import sentence
from corereg.store.database import DatabaseError

PATIENCE = 30.0
"""Seconds one check may take."""
_RANK: dict[Status, int] = {"ok": 0, "warn": 1, "fail": 2}


class Told(msgspec.Struct, frozen=True):
    """One finding with the name of its check."""

    check: str
    status: Status
    found: str
    do: str


def worst(told: Sequence[Told]) -> int:
    """0 when all is well, 1 with a warning, 2 with a failure."""
    return max((_RANK[each.status] for each in told), default=0)


async def diagnose(config: Config) -> list[Told]:
    """Every finding, in the order in which things stand on one another."""
    try:
        registry = Registry(config)
    except Exception as error:  # noqa: BLE001 - whatever it is, that is the finding
        return [_broken("configuration", error)]
    told: list[Told] = []
    for check in [*machine.checks(registry), *address.checks(registry), *store.checks(registry)]:
        told += await _look(check)
    if await _opened(registry):
        try:
            told += await _inside(registry)
        finally:
            await registry.database.close()
    return told


async def _inside(registry: Registry) -> list[Told]:
    """What is only to be seen with the database open. An old one is read no further, and not upgraded."""
    told = await _look(store.tables(registry))
    current = all(each.status == "ok" for each in told)
    plugins = [
        msgspec.structs.replace(check, name=f"{name}: {check.name}")
        for name, check in registry.plugins.checks(registry)
    ]
    for check in [*content.checks(registry), *plugins]:
        if current or not check.tables:
            told += await _look(check)
    return told


async def _opened(registry: Registry) -> bool:
    """Whether there is a database to look into. A file that is not there is not made."""
    path = getattr(registry.database, "path", None)
    if isinstance(path, Path) and not path.exists():
        return False
    with suppress(DatabaseError, OSError):
        await registry.database.open()
        return True
    return False


async def _look(check: Check) -> list[Told]:
    try:
        with anyio.fail_after(PATIENCE):
            findings: Sequence[Finding] = list(await check.look())
    except TimeoutError:
        findings = [fail(f"no answer within {PATIENCE:.0f} s", "see whether what it asks is reachable, and how busy")]
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding
        return [_broken(check.name, error)]
    return [Told(check.name, each.status, each.found, each.do) for each in findings]


def _broken(name: str, error: Exception) -> Told:
    text = sentence(error)
    found = fail(text, "do what it says, then run corereg doctor again") if text else None
    found = found or warn(f"the check itself failed: {type(error).__name__}: {error}", "report this")
    return Told(name, found.status, found.found, found.do)
