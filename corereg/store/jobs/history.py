"""What is asked about jobs: lists, logs, queues; and how the history is kept bounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa

from corereg.store.database import Database, Row, now
from corereg.store.jobs.kinds import Job
from corereg.store.jobs.queue import execution_of
from corereg.store.jobs.records import ENDED, Execution, LogLine, QueueState, Schedule, TaskRecord
from corereg.store.jobs.schedules import schedule_of
from corereg.store.listing import Fields, Listing, page
from corereg.store.schema import job_executions, job_logs, job_pauses, job_schedules, job_tasks

EXECUTION_FIELDS: Fields = {
    "id": job_executions.c.id,
    "kind": job_executions.c.kind,
    "vendor_type": job_executions.c.kind,
    "vendor_id": job_executions.c.vendor_id,
    "status": job_executions.c.status,
    "trigger": sa.func.upper(job_executions.c.started_by),
    "operator": job_executions.c.operator,
    "creation_time": job_executions.c.created_at,
    "update_time": job_executions.c.updated_at,
    "start_time": job_executions.c.created_at,
    "end_time": job_executions.c.ended_at,
}
TASK_FIELDS: Fields = {
    "id": job_tasks.c.id,
    "status": job_tasks.c.status,
    "creation_time": job_tasks.c.created_at,
    "start_time": job_tasks.c.started_at,
    "end_time": job_tasks.c.ended_at,
}
_TASK = (
    job_tasks.c.id,
    job_tasks.c.execution_id,
    job_tasks.c.kind,
    job_tasks.c.parameters,
    job_tasks.c.status,
    job_tasks.c.attempts,
    job_tasks.c.owner,
    job_tasks.c.phase,
    job_tasks.c.done,
    job_tasks.c.total,
    job_tasks.c.size,
    job_tasks.c.message,
    job_tasks.c.result,
    job_tasks.c.created_at,
    job_tasks.c.updated_at,
    job_tasks.c.started_at,
    job_tasks.c.ended_at,
)


class History:
    """The jobs of one registry, read."""

    def __init__(self, database: Database, *, keep: int = 50) -> None:
        self.database = database
        self._keep = keep

    async def execution(self, execution: int) -> Execution | None:
        row = await self.database.row(sa.select(*job_executions.c).where(job_executions.c.id == execution))
        return execution_of(row) if row is not None else None

    async def executions(
        self, listing: Listing, *, kind: str | None = None, vendor_id: int | None = None
    ) -> tuple[list[Execution], int]:
        """One page, newest first, and how many there are."""
        select = sa.select(*job_executions.c)
        if kind is not None:
            select = select.where(job_executions.c.kind == kind)
        if vendor_id is not None:
            select = select.where(job_executions.c.vendor_id == vendor_id)
        rows, total = await page(self.database, select, listing, EXECUTION_FIELDS, job_executions.c.id.desc())
        return [execution_of(row) for row in rows], total

    async def task(self, task: int) -> TaskRecord | None:
        row = await self.database.row(sa.select(*_TASK).where(job_tasks.c.id == task))
        return _task(row) if row is not None else None

    async def tasks(self, execution: int, listing: Listing) -> tuple[list[TaskRecord], int]:
        """One page of an execution's tasks, in the order they were made, and how many there are."""
        select = sa.select(*_TASK).where(job_tasks.c.execution_id == execution)
        rows, total = await page(self.database, select, listing, TASK_FIELDS, job_tasks.c.id)
        return [_task(row) for row in rows], total

    async def first_tasks(self, executions: Collection[int]) -> dict[int, TaskRecord]:
        """The first task of each execution: of most kinds the only one."""
        firsts = (
            sa.select(sa.func.min(job_tasks.c.id))
            .where(job_tasks.c.execution_id.in_(executions))
            .group_by(job_tasks.c.execution_id)
        )
        rows = await self.database.rows(sa.select(*_TASK).where(job_tasks.c.id.in_(firsts))) if executions else []
        return {task.execution_id: task for task in map(_task, rows)}

    async def running(self) -> list[TaskRecord]:
        """Every task that a process is at work on."""
        rows = await self.database.rows(
            sa.select(*_TASK).where(job_tasks.c.status == "Running").order_by(job_tasks.c.id)
        )
        return [_task(row) for row in rows]

    async def counts(self, executions: Collection[int]) -> dict[int, dict[str, int]]:
        """How many tasks of each execution have which status."""
        found: dict[int, dict[str, int]] = {execution: {} for execution in executions}
        select = (
            sa.select(job_tasks.c.execution_id, job_tasks.c.status, sa.func.count())
            .where(job_tasks.c.execution_id.in_(executions))
            .group_by(job_tasks.c.execution_id, job_tasks.c.status)
        )
        for execution, status, count in await self.database.rows(select) if executions else []:
            found[execution][status] = int(count)
        return found

    async def log(self, task: int, *, after: int = 0, limit: int = 1000) -> list[LogLine]:
        """Lines of a task's log with a number above `after`, oldest first."""
        rows = await self.database.rows(
            sa.select(job_logs.c.number, job_logs.c.time, job_logs.c.line)
            .where(job_logs.c.task_id == task, job_logs.c.number > after)
            .order_by(job_logs.c.number)
            .limit(limit)
        )
        return [LogLine(*row) for row in rows]

    async def queues(self, jobs: Mapping[str, Job]) -> list[QueueState]:
        """How each kind stands, the declared ones and those that still have something waiting."""
        at = now()
        waiting = {
            row[0]: (int(row[1]), max(at - int(row[2]), 0))
            for row in await self.database.rows(
                sa.select(job_tasks.c.kind, sa.func.count(), sa.func.min(job_tasks.c.created_at))
                .where(job_tasks.c.status.in_(("Pending", "Scheduled")))
                .group_by(job_tasks.c.kind)
            )
        }
        running = {
            row[0]: int(row[1])
            for row in await self.database.rows(
                sa.select(job_tasks.c.kind, sa.func.count())
                .where(job_tasks.c.status == "Running")
                .group_by(job_tasks.c.kind)
            )
        }
        paused = {row[0] for row in await self.database.rows(sa.select(job_pauses.c.kind))}
        return [
            QueueState(kind, *waiting.get(kind, (0, 0)), running.get(kind, 0), kind in paused)
            for kind in sorted({*jobs, *waiting, *running})
        ]

    async def schedules(self, listing: Listing) -> tuple[list[Schedule], int]:
        """One page of the schedules, and how many there are."""
        fields: Fields = {
            "id": job_schedules.c.id,
            "vendor_type": job_schedules.c.kind,
            "vendor_id": job_schedules.c.vendor_id,
            "cron": job_schedules.c.cron,
        }
        rows, total = await page(self.database, sa.select(*job_schedules.c), listing, fields, job_schedules.c.id)
        return [schedule_of(row) for row in rows], total

    async def prune(self, jobs: Mapping[str, Job]) -> int:
        """Forget the oldest ended executions beyond those that each kind keeps for each thing; how many."""
        dropped = 0
        newest = sa.func.row_number().over(
            partition_by=(job_executions.c.kind, job_executions.c.vendor_id), order_by=job_executions.c.id.desc()
        )
        ranked = sa.select(
            job_executions.c.id, job_executions.c.kind, job_executions.c.status, newest.label("place")
        ).subquery()
        kinds = [row[0] for row in await self.database.rows(sa.select(job_executions.c.kind).distinct())]
        for kind in kinds:
            declared = jobs.get(kind)
            keep = self._keep if declared is None or declared.keep is None else declared.keep
            old = (
                sa.select(ranked.c.id)
                .where(ranked.c.kind == kind, ranked.c.place > keep, ranked.c.status.in_(ENDED))
                .limit(1000)
            )
            async with self.database.transaction(durable=False) as tx:
                dropped += await tx.execute(sa.delete(job_executions).where(job_executions.c.id.in_(old)))
        return dropped


def _task(row: Row) -> TaskRecord:
    (
        id_, execution, kind, parameters, status, attempts, owner, phase, done, total, size, message, result,
        created, updated, started, ended,
    ) = row  # fmt: skip
    return TaskRecord(
        id=id_,
        execution_id=execution,
        kind=kind,
        parameters=msgspec.json.decode(parameters),
        status=status,
        attempts=attempts,
        owner=owner,
        phase=phase,
        done=done,
        total=total,
        size=size,
        message=message,
        result=msgspec.json.decode(result),
        created_at=created,
        updated_at=updated,
        started_at=started,
        ended_at=ended,
    )
