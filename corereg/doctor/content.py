"""What the database tells of how the registry runs: keys, nodes, readers of the journal, uploads."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from corereg.findings import Check, Finding, fail, ok, warn
from corereg.registry import Registry
from corereg.store.condemned import LONGEST, LONGEST_HOLD, MARGIN
from corereg.store.database import now
from corereg.store.schema import collector_holds, condemned, job_tasks, signing_keys, uploads

SECOND = 1_000_000
HOUR = 3600 * SECOND
FAR_BEHIND = 10_000
"""Events a reader of the journal may be behind."""


def checks(registry: Registry) -> list[Check]:
    """What needs tables that are up to date."""

    async def keys() -> Sequence[Finding]:
        return await _keys(registry)

    async def nodes() -> Sequence[Finding]:
        return await _nodes(registry)

    async def readers() -> Sequence[Finding]:
        return await _readers(registry)

    async def expired() -> Sequence[Finding]:
        return await _expired(registry)

    async def leases() -> Sequence[Finding]:
        return await _leases(registry)

    return [
        Check("signing keys", keys, tables=True),
        Check("nodes", nodes, tables=True),
        Check("journal", readers, tables=True),
        Check("uploads", expired, tables=True),
        Check("leases", leases, tables=True),
    ]


async def _keys(registry: Registry) -> Sequence[Finding]:
    rows = await registry.database.rows(sa.select(signing_keys.c.created_at).where(signing_keys.c.retired_at.is_(None)))
    if not rows:
        return [warn("there is none", "nothing: the next start makes one")]
    age = (now() - max(row[0] for row in rows)) // SECOND
    if age > 2 * registry.config.tokens.rotate:
        return [
            warn(f"the newest is {age // 86400} days old", "corereg keys rotate; see why the job HOUSEKEEPING does not")
        ]
    return [ok(f"the newest is {age // 86400} days old")]


async def _nodes(registry: Registry) -> Sequence[Finding]:
    found = await registry.nodes.all()
    living = [node for node in found if node.alive]
    lost = [node for node in found if not node.alive]
    told = [ok(f"{len(living)} processes serve: {', '.join(sorted({node.host for node in living}))}")] if living else []
    versions = {node.version for node in living}
    if len(versions) > 1:
        told.append(warn(f"they run different versions: {', '.join(sorted(versions))}", "finish the upgrade"))
    if lost:
        who = ", ".join(f"{node.host} (process {node.process})" for node in lost[:5])
        told.append(warn(f"within the last hour {len(lost)} ended without a word: {who}", "look into their logs"))
    if living and not any(node.slots for node in living):
        told.append(fail("none of them runs jobs", "set [jobs] slots on at least one node"))
    return told


async def _readers(registry: Registry) -> Sequence[Finding]:
    behind = await registry.journal.behind()
    here = registry.plugins.observers()
    told = []
    for reader, (events, _) in behind.items():
        if reader not in here:
            told.append(
                warn(
                    f"{reader} is not enabled, and events are kept for it",
                    "enable it, or delete its journal_cursors row",
                )
            )
        elif events > FAR_BEHIND:
            told.append(warn(f"{reader} is {events} events behind", "the log tells why it fails"))
    return told or [ok(f"{len(behind)} readers, none is far behind")]


async def _expired(registry: Registry) -> Sequence[Finding]:
    old = now() - registry.config.uploads.expire * SECOND - 2 * HOUR
    row = await registry.database.row(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(uploads.c.received), 0)).where(
            uploads.c.updated_at < old
        )
    )
    count, size = (int(row[0]), int(row[1])) if row else (0, 0)
    if count:
        return [
            warn(f"{count} expired ones with {size} bytes are still there", "see why the job HOUSEKEEPING does not run")
        ]
    return [ok("none is overdue")]


async def _leases(registry: Registry) -> Sequence[Finding]:
    """Those that were written while a clock was ahead count as ended; whose clock it was, nobody knows."""
    at, told = now(), []
    for what, time, longest in (
        ("deletions of bytes", condemned.c.leased_until, LONGEST),
        ("holds of the collection", collector_holds.c.until, LONGEST_HOLD + MARGIN),
        ("tasks of jobs", job_tasks.c.due_at, registry.queue.furthest),
    ):
        row = await registry.database.row(sa.select(sa.func.count(), sa.func.max(time)).where(time > at + longest))
        if row is not None and row[0]:
            told.append(
                warn(
                    f"{row[0]} {what} were written while a clock was up to {(row[1] - at) // HOUR} hours ahead",
                    "let all machines keep time (chrony, systemd-timesyncd); these count as ended",
                )
            )
    return told or [ok("none lies further ahead than it may")]
