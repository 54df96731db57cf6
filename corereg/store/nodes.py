"""The processes that serve one registry: each has a row with a heartbeat. There is no leader among them."""

from __future__ import annotations

import os
import secrets
import socket

import msgspec
import sqlalchemy as sa

from corereg.store.database import Database, now
from corereg.store.schema import nodes

SECOND = 1_000_000
BEAT = 5.0
"""Seconds between two heartbeats."""
SILENT = 30.0
"""A process that was not heard of for so many seconds is taken for dead."""
FORGET = 3600.0
"""Its row goes after so many."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One process: where it runs, since when, when it was last heard of (microseconds since 1970), how many tasks it
    takes at once, and whether it is about to end.
    """

    id: str
    host: str
    process: int
    version: str
    slots: int
    draining: bool
    started_at: int
    seen_at: int

    @property
    def alive(self) -> bool:
        return self.seen_at > now() - int(SILENT * SECOND)


class Nodes:
    """The processes of one registry, this one among them (`id`)."""

    def __init__(self, database: Database, *, version: str, slots: int) -> None:
        self.database = database
        self.id = secrets.token_hex(8)
        self.draining = False
        self._slots = slots
        self._version = version
        self._started = now()

    async def beat(self) -> None:
        """Say that this process is alive, and forget those that were not heard of for long."""
        at = now()
        row = {
            "id": self.id,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "version": self._version,
            "slots": self._slots,
            "draining": int(self.draining),
            "started_at": self._started,
            "seen_at": at,
        }
        async with self.database.transaction(durable=False) as tx:
            insert = tx.insert(nodes).values(**row)
            await tx.execute(
                insert.on_conflict_do_update(
                    index_elements=["id"],
                    set_={"seen_at": insert.excluded.seen_at, "draining": insert.excluded.draining},
                )
            )
            await tx.execute(sa.delete(nodes).where(nodes.c.seen_at < at - int(FORGET * SECOND)))

    async def leave(self) -> None:
        """This process ends."""
        async with self.database.transaction(durable=False) as tx:
            await tx.execute(sa.delete(nodes).where(nodes.c.id == self.id))

    async def all(self) -> list[Node]:
        """Every process, those that were lost within the last hour too, oldest first."""
        rows = await self.database.rows(sa.select(*nodes.c).order_by(nodes.c.started_at, nodes.c.id))
        return [
            Node(
                id=row[0],
                host=row[1],
                process=row[2],
                version=row[3],
                slots=row[4],
                draining=bool(row[5]),
                started_at=row[6],
                seen_at=row[7],
            )
            for row in rows
        ]
