"""``/metrics``: what the workers have counted, and what the database knows of the whole registry."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import anyio
import sqlalchemy as sa

from corereg.access import Action
from corereg.http.gate import Gate
from corereg.messages import Request, Response
from corereg.metrics import CONTENT_TYPE, Numbers, render
from corereg.metrics.registry import gauge
from corereg.oci.errors import MethodNotAllowed, NotFound
from corereg.registry import Registry
from corereg.store.database import DatabaseError
from corereg.store.schema import job_tasks, uploads

READ = Action("metrics", "read")
"""What a caller without the token must be allowed; administrators are."""
PATIENCE = 5.0
"""Seconds the database has to answer before its part is left out: Prometheus waits for ten."""


async def get_metrics(gate: Gate, request: Request) -> Response:
    """For whoever brings ``[metrics] token``, and for administrators."""
    config = gate.registry.config.metrics
    if not config.enabled:
        raise NotFound
    if request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(["GET", "HEAD"])
    if config.token is None or not _same(request.header(b"authorization") or "", f"Bearer {config.token}"):
        session = await gate.session(request)
        request.caller = session.identity.name
        await session.require(READ)
    body = await scrape(gate.registry)
    return Response(200, [("content-type", CONTENT_TYPE), ("content-length", str(len(body)))], body)


def _same(given: str, wanted: str) -> bool:
    """In a time that tells nothing of what is wanted, its length included."""
    return hmac.compare_digest(
        *(hashlib.sha256(text.encode("latin-1", "replace")).digest() for text in (given, wanted))
    )


async def scrape(registry: Registry) -> bytes:
    """The text. A database that is away makes it shorter, and says so."""
    looked_up: Sequence[Numbers] = []
    up = 0.0
    try:
        with anyio.move_on_after(PATIENCE):
            looked_up = await look_up(registry)
            up = 1.0
    except DatabaseError:
        up = 0.0
    told = gauge("corereg_database_up", "Whether the database answered this look.", (), {(): up})
    return render(registry.metrics.numbers([*looked_up, told]))


async def look_up(registry: Registry) -> Sequence[Numbers]:
    """What is true of the registry as a whole, whoever is asked."""
    rows = registry.database.rows
    found = [
        gauge("corereg_uploads_open", "Uploads that were begun and have not ended.", (),
              {(): (await rows(sa.select(sa.func.count()).select_from(uploads)))[0][0]}),
        gauge("corereg_job_tasks", "Tasks that are remembered, by kind and status.", ("kind", "status"),
              {(kind, status): count for kind, status, count in await rows(
                  sa.select(job_tasks.c.kind, job_tasks.c.status, sa.func.count())
                  .group_by(job_tasks.c.kind, job_tasks.c.status))}),
        gauge("corereg_nodes", "Processes that serve this registry and were heard of lately.", (),
              {(): sum(node.alive for node in await registry.nodes.all())}),
        *await _journal(registry),
    ]  # fmt: skip
    pool = {(state,): count for state, count in registry.database.pool().items()}
    told = "Connections of the worker that answered, by what they do."
    return [*found, gauge("corereg_database_connections", told, ("state",), pool)]


async def _journal(registry: Registry) -> Sequence[Numbers]:
    behind = await registry.journal.behind()
    events = {(reader,): count for reader, (count, _) in behind.items()}
    ages = {(reader,): age for reader, (_, age) in behind.items()}
    return [
        gauge("corereg_journal_behind_events", "Serials between a reader and the newest event.", ("reader",), events),
        gauge("corereg_journal_behind_seconds", "Age of the first event a reader has not seen.", ("reader",), ages),
    ]
