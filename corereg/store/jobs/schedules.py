"""Schedules: one for each kind and what of that kind it is for; fired once, however many nodes look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.database import Database, Query, Row, Transaction, now
from corereg.store.jobs.cron import Cron
from corereg.store.jobs.kinds import Job
from corereg.store.jobs.records import SCHEDULER, Schedule
from corereg.store.schema import job_pauses, job_schedules

DUE = Query(
    sa.select(*job_schedules.c)
    .where(
        job_schedules.c.next_at <= bindparam("at"),
        ~sa.exists().where(job_pauses.c.kind == SCHEDULER),
    )
    .order_by(job_schedules.c.next_at)
    .limit(100)
)
FIRE = Query(
    sa.update(job_schedules)
    .where(job_schedules.c.id == bindparam("schedule"), job_schedules.c.next_at == bindparam("seen"))
    .values(next_at=bindparam("following"))
)


class Schedules:
    """The schedules of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def declare(self, jobs: Iterable[Job]) -> None:
        """Give each job that wants one its schedule, unless somebody has chosen another time, or none."""
        for job in jobs:
            if job.schedule is None or await self.find(job.kind) is not None:
                continue
            async with self.database.transaction() as tx:
                await tx.execute(
                    self.database.insert(job_schedules)
                    .values(**_values(job.kind, 0, "Custom", Cron(job.schedule), {}), created_at=now())
                    .on_conflict_do_nothing(index_elements=["kind", "vendor_id"])
                )

    async def find(self, kind: str, vendor_id: int = 0) -> Schedule | None:
        row = await self.database.row(
            sa.select(*job_schedules.c).where(job_schedules.c.kind == kind, job_schedules.c.vendor_id == vendor_id)
        )
        return schedule_of(row) if row is not None else None

    async def put(
        self,
        tx: Transaction,
        kind: str,
        vendor_id: int,
        *,
        form: str,
        cron: Cron | None,
        parameters: Mapping[str, Any],
    ) -> int:
        """Inside `tx`: set the schedule, or with no `cron` one that never fires; its id."""
        values = _values(kind, vendor_id, form, cron, parameters)
        insert = tx.insert(job_schedules).values(**values, created_at=now())
        rows = await tx.rows(
            insert.on_conflict_do_update(
                index_elements=["kind", "vendor_id"],
                set_={name: insert.excluded[name] for name in values if name not in {"kind", "vendor_id"}},
            ).returning(job_schedules.c.id)
        )
        return int(rows[0][0])

    async def remove(self, tx: Transaction, kind: str, vendor_id: int) -> bool:
        """Inside `tx`: forget the schedule of a thing that is no more; whether there was one."""
        return bool(
            await tx.execute(
                sa.delete(job_schedules).where(job_schedules.c.kind == kind, job_schedules.c.vendor_id == vendor_id)
            )
        )

    async def due(self) -> list[Schedule]:
        """Those whose time has come, the most overdue first; none while all are paused."""
        return [schedule_of(row) for row in await self.database.rows(DUE, at=now())]

    async def fire(self, tx: Transaction, schedule: Schedule) -> bool:
        """Inside `tx`: set the schedule to its next time after now; False when another node was first.

        What was missed while nobody was there is made up for once.
        """
        following = Cron(schedule.cron).after(now()) if schedule.cron else None
        return bool(await tx.execute(FIRE, schedule=schedule.id, seen=schedule.next_at, following=following))


def _values(kind: str, vendor_id: int, form: str, cron: Cron | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    at = now()
    return {
        "kind": kind,
        "vendor_id": vendor_id,
        "form": form,
        "cron": cron.text if cron else "",
        "parameters": msgspec.json.encode(parameters).decode(),
        "next_at": cron.after(at) if cron else None,
        "updated_at": at,
    }


def schedule_of(row: Row) -> Schedule:
    """A row of ``job_schedules``, all its columns in their order."""
    id_, kind, vendor_id, form, cron, parameters, next_at, created, updated = row
    return Schedule(
        id=id_,
        kind=kind,
        vendor_id=vendor_id,
        form=form,
        cron=cron,
        parameters=msgspec.json.decode(parameters),
        next_at=next_at,
        created_at=created,
        updated_at=updated,
    )
