"""The queue: enqueue, claim, keep alive, end; every step one transaction.

A claimed task carries its claim's own name (`Claimed.owner`). Whoever was overtaken (its lease ended, another process
went on) finds that name gone, writes nothing, and hears `Lost`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.database import Database, Query, Row, Transaction, now, plain
from corereg.store.jobs.kinds import LONGEST_PAUSE, Job, Told
from corereg.store.jobs.records import ENDED, Claimed, Execution, Started, StartedBy, Status
from corereg.store.schema import job_executions, job_logs, job_pauses, job_tasks

SECOND = 1_000_000
CHANNEL = "corereg jobs"
"""Where nodes hear that there may be something to do."""
LOST_AT_MOST = 10
"""A task may be begun so many times more than its tries, for processes that died under it."""

CLOCKS = 60 * SECOND
"""How far the clocks of nodes may differ."""

_due = sa.or_(job_tasks.c.due_at <= bindparam("at"), job_tasks.c.due_at > bindparam("furthest"))
DUE = Query(sa.select(job_tasks.c.id).where(_due).limit(1))
PAUSED = Query(sa.select(job_pauses.c.kind))
BUSY = Query(
    sa.select(job_tasks.c.kind, sa.func.count())
    .where(job_tasks.c.status == "Running", ~_due)
    .group_by(job_tasks.c.kind)
)
EXECUTION = Query(sa.select(*job_executions.c).where(job_executions.c.id == bindparam("execution_id")))
UNDER_WAY = Query(sa.select(job_tasks.c.execution_id).where(job_tasks.c.unique_key == bindparam("key")))
LINES = Query(
    sa.select(sa.func.coalesce(sa.func.max(job_logs.c.number), 0)).where(job_logs.c.task_id == bindparam("task_id"))
)
ADD_LINE = Query(
    sa.insert(job_logs).values(
        task_id=bindparam("task_id"), number=bindparam("number"), time=bindparam("time"), line=bindparam("line")
    )
)
_mine = sa.and_(
    job_tasks.c.id == bindparam("task"), job_tasks.c.owner == bindparam("mine"), job_tasks.c.status == "Running"
)
EXTEND = Query(sa.update(job_tasks).where(_mine).values(due_at=bindparam("until"), updated_at=bindparam("at")))
TELL = Query(
    sa.update(job_tasks)
    .where(_mine)
    .values(
        phase=bindparam("new_phase"),
        done=bindparam("new_done"),
        total=bindparam("new_total"),
        size=bindparam("new_size"),
        updated_at=bindparam("at"),
    )
)
STOPPING = Query(
    sa.select(job_tasks.c.id)
    .join(job_executions, job_executions.c.id == job_tasks.c.execution_id)
    .where(job_executions.c.stopping == 1, job_tasks.c.status == "Running")
)


class Lost(Exception):
    """Another process has the task now, or it is gone."""


class Queue:
    """The tasks of one registry."""

    def __init__(self, database: Database, *, lease: float = 30.0) -> None:
        self.database = database
        self.lease = int(lease * SECOND)
        self.furthest = max(self.lease, int(LONGEST_PAUSE * SECOND)) + CLOCKS
        """No lease and no pause lies further ahead, in microseconds. What does was written while a clock was wrong, and
        is due: it would wait for as long as that clock was ahead.
        """
        self.wake: Callable[[], None] = lambda: None
        """Called when there may be something to do for this process."""

    # ---- start, inside the transaction of a session ----

    async def start(
        self,
        tx: Transaction,
        job: Job,
        *,
        vendor_id: int = 0,
        started_by: StartedBy = "manual",
        operator: str = "system",
        parameters: Mapping[str, Any] | None = None,
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> Started:
        """A new execution of `tasks` (parameters of each; None: one, with those of the execution). A `single` job that
        is under way already is not started again.
        """
        key = f"{job.kind} {vendor_id}" if job.single else None
        if key is not None:
            await self.database.lock(tx, f"corereg job {key}")
            found = await tx.row(UNDER_WAY, key=key)
            if found is not None:
                return Started(found[0], new=False)
        at = now()
        rows = await tx.rows(
            sa.insert(job_executions)
            .values(
                kind=job.kind,
                vendor_id=vendor_id,
                started_by=started_by,
                operator=operator,
                parameters=_encode(parameters or {}),
                status="Pending",
                message="",
                stopping=0,
                created_at=at,
                updated_at=at,
            )
            .returning(job_executions.c.id)
        )
        execution = int(rows[0][0])
        await self._insert(tx, execution, job.kind, [parameters or {}] if tasks is None else tasks, key)
        if tasks is not None and not tasks:
            await self._conclude(tx, execution)
        await self.database.notify(CHANNEL, tx=tx)
        return Started(execution, new=True)

    async def spawn(self, execution: int, kind: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks to an execution that goes on; to one that is being stopped nothing is added."""
        async with self.database.transaction() as tx:
            await self._alone(tx, execution)
            row = await tx.row(EXECUTION, execution_id=execution)
            if row is not None and not execution_of(row).stopping:
                await self._insert(tx, execution, kind, tasks, None)
                await self.database.notify(CHANNEL, tx=tx)

    async def _insert(
        self, tx: Transaction, execution: int, kind: str, tasks: Sequence[Mapping[str, Any]], key: str | None
    ) -> None:
        at = now()
        await tx.execute_many(
            sa.insert(job_tasks),
            [
                {
                    "execution_id": execution,
                    "kind": kind,
                    "unique_key": key,
                    "parameters": _encode(each),
                    "status": "Pending",
                    "due_at": at,
                    "attempts": 0,
                    "phase": "",
                    "done": 0,
                    "size": 0,
                    "message": "",
                    "result": "{}",
                    "created_at": at,
                    "updated_at": at,
                }
                for each in tasks
            ],
        )

    async def stop(self, tx: Transaction, execution: int) -> bool:
        """Stop an execution: what waits is stopped now, what runs hears of it within seconds; whether it was going on.

        Raises LookupError for one that is not there.
        """
        await self._alone(tx, execution)
        row = await tx.row(EXECUTION, execution_id=execution)
        if row is None:
            raise LookupError(execution)
        if execution_of(row).ended:
            return False
        at = now()
        await tx.execute(
            sa.update(job_executions).where(job_executions.c.id == execution).values(stopping=1, updated_at=at)
        )
        await self._stop_waiting(tx, job_tasks.c.execution_id == execution, at)
        await self._conclude(tx, execution)
        return True

    async def stop_waiting(self, tx: Transaction, kind: str) -> int:
        """Stop every execution of a kind that waits for its first try; how many."""
        waiting = sa.select(job_executions.c.id).where(
            job_executions.c.kind == kind, job_executions.c.status == "Pending"
        )
        found = [row[0] for row in await tx.rows(waiting)]
        for execution in found:
            await self.stop(tx, execution)
        return len(found)

    @staticmethod
    async def _stop_waiting(tx: Transaction, which: sa.ColumnElement[bool], at: int) -> None:
        await tx.execute(
            sa.update(job_tasks)
            .where(which, job_tasks.c.status.in_(("Pending", "Scheduled")))
            .values(status="Stopped", due_at=None, unique_key=None, updated_at=at, ended_at=at)
        )

    async def pause(self, tx: Transaction, kind: str) -> bool:
        """Begin no task of the kind any more; whether that is new."""
        insert = tx.insert(job_pauses).values(kind=kind, paused_at=now())
        return bool(await tx.execute(insert.on_conflict_do_nothing(index_elements=["kind"])))

    async def resume(self, tx: Transaction, kind: str) -> bool:
        """Begin tasks of the kind again; whether it was paused."""
        return bool(await tx.execute(sa.delete(job_pauses).where(job_pauses.c.kind == kind)))

    async def paused(self) -> frozenset[str]:
        """The paused kinds."""
        return frozenset(row[0] for row in await self.database.rows(PAUSED))

    # ---- work ----

    async def due(self) -> bool:
        """Whether any task waits for somebody; cheap, and no promise that this process may have it."""
        return await self.database.row(DUE, **self._times()) is not None

    def _times(self) -> dict[str, int]:
        """What `_due` compares with."""
        at = now()
        return {"at": at, "furthest": at + self.furthest}

    async def claim(self, kinds: Mapping[str, Job], node: str) -> Claimed | None:
        """The task that is due longest, of one of `kinds` that is not paused and has not as many running as it may."""
        if not kinds or not await self.due():
            return None
        async with self.database.transaction(durable=False) as tx:
            await self.database.lock(tx, "corereg jobs")
            free = await self._free(tx, kinds)
            while True:
                row: Any = await tx.row(self._next(free), **self._times())
                if row is None:
                    return None
                claimed = await self._take(tx, row, kinds[row.kind], node)
                if claimed is not None:
                    return claimed

    async def _free(self, tx: Transaction, kinds: Mapping[str, Job]) -> list[str]:
        paused = {row[0] for row in await tx.rows(PAUSED)}
        busy = {row[0]: int(row[1]) for row in await tx.rows(BUSY, **self._times())}
        return [
            kind
            for kind, job in kinds.items()
            if kind not in paused and (job.concurrency is None or busy.get(kind, 0) < job.concurrency)
        ]

    @staticmethod
    def _next(kinds: Iterable[str]) -> sa.Select[Any]:
        return (
            sa.select(
                job_tasks.c.id,
                job_tasks.c.execution_id,
                job_tasks.c.kind,
                job_tasks.c.parameters,
                job_tasks.c.status,
                job_tasks.c.attempts,
                job_tasks.c.due_at,
                job_executions.c.vendor_id,
                job_executions.c.stopping,
            )
            .join(job_executions, job_executions.c.id == job_tasks.c.execution_id)
            .where(_due, job_tasks.c.kind.in_(list(kinds)))
            .order_by(job_tasks.c.due_at, job_tasks.c.id)
            .limit(1)
        )

    async def _take(self, tx: Transaction, row: Any, job: Job, node: str) -> Claimed | None:
        """Claim the task; None when there is nothing left to do but to end it, or its owner was just still alive."""
        lost = row.status == "Running"
        if row.stopping or (lost and row.attempts >= job.attempts + LOST_AT_MOST):
            message = "" if row.stopping else f"the processes that ran it died, {row.attempts} times in all"
            await self._end_row(tx, row.id, "Stopped" if row.stopping else "Error", message, {})
            await self._alone(tx, row.execution_id)
            await self._conclude(tx, row.execution_id)
            return None
        at = now()
        owner = f"{node}:{secrets.token_hex(4)}"
        taken = await tx.execute(
            sa.update(job_tasks)
            .where(job_tasks.c.id == row.id, job_tasks.c.due_at == row.due_at, job_tasks.c.status == row.status)
            .values(
                status="Running",
                owner=owner,
                due_at=at + self.lease,
                attempts=job_tasks.c.attempts + 1,
                started_at=sa.func.coalesce(job_tasks.c.started_at, at),
                updated_at=at,
            )
        )
        if not taken:
            return None
        await tx.execute(
            sa.update(job_executions)
            .where(job_executions.c.id == row.execution_id, job_executions.c.status == "Pending")
            .values(status="Running", updated_at=at)
        )
        lines = await tx.row(LINES, task_id=row.id)
        return Claimed(
            id=row.id,
            execution_id=row.execution_id,
            kind=row.kind,
            vendor_id=row.vendor_id,
            parameters=msgspec.json.decode(row.parameters),
            attempt=row.attempts + 1,
            owner=owner,
            lines=int(lines[0]) if lines else 0,
        )

    async def stopping(self) -> frozenset[int]:
        """The running tasks whose execution somebody stopped."""
        return frozenset(row[0] for row in await self.database.rows(STOPPING))

    async def extend(self, claimed: Claimed) -> None:
        """Keep the task for another lease. Raises Lost."""
        at = now()
        if not await self.database.execute(EXTEND, task=claimed.id, mine=claimed.owner, at=at, until=at + self.lease):
            raise Lost

    async def tell(self, claimed: Claimed, told: Told) -> None:
        """Write down how far the task has come, and its log. Raises Lost."""
        async with self.database.transaction(durable=False) as tx:
            await self._tell(tx, claimed, told)

    async def _tell(self, tx: Transaction, claimed: Claimed, told: Told) -> None:
        at = now()
        if told.progress is not None:
            phase, done, total, size = told.progress
            if not await tx.execute(
                TELL, task=claimed.id, mine=claimed.owner, at=at, new_phase=phase, new_done=done, new_total=total,
                new_size=size,
            ):  # fmt: skip
                raise Lost
        elif await tx.row(sa.select(job_tasks.c.id).where(job_tasks.c.id == claimed.id,
                                                          job_tasks.c.owner == claimed.owner)) is None:  # fmt: skip
            raise Lost
        await tx.execute_many(
            ADD_LINE,
            [
                {"task_id": claimed.id, "number": number, "time": time, "line": line}
                for number, time, line in told.lines
            ],
        )

    async def end(
        self,
        tx: Transaction,
        claimed: Claimed,
        status: Status,
        told: Told,
        *,
        message: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> Execution | None:
        """The task has ended; its execution, when that has ended with it. Raises Lost."""
        await self._alone(tx, claimed.execution_id)
        await self._tell(tx, claimed, told)
        if not await self._end_row(tx, claimed.id, status, message, result or {}, owner=claimed.owner):
            raise Lost
        return await self._conclude(tx, claimed.execution_id)

    async def put_back(
        self, claimed: Claimed, told: Told, *, after: float, message: str = "", counted: bool = True
    ) -> None:
        """Let the task be begun again in `after` seconds, by anybody; not `counted` is no try of it. Raises Lost."""
        at = now()
        async with self.database.transaction(durable=False) as tx:
            await self._tell(tx, claimed, told)
            put = await tx.execute(
                sa.update(job_tasks)
                .where(
                    job_tasks.c.id == claimed.id, job_tasks.c.owner == claimed.owner, job_tasks.c.status == "Running"
                )
                .values(
                    status="Scheduled" if after else "Pending",
                    due_at=at + int(after * SECOND),
                    owner=None,
                    message=plain(message),
                    attempts=job_tasks.c.attempts if counted else job_tasks.c.attempts - 1,
                    updated_at=at,
                )
            )
            if not put:
                raise Lost
            if not after:
                await self.database.notify(CHANNEL, tx=tx)

    @staticmethod
    async def _end_row(
        tx: Transaction,
        task: int,
        status: Status,
        message: str,
        result: Mapping[str, Any],
        *,
        owner: str | None = None,
    ) -> bool:
        at = now()
        mine = sa.true() if owner is None else sa.and_(job_tasks.c.owner == owner, job_tasks.c.status == "Running")
        return bool(
            await tx.execute(
                sa.update(job_tasks)
                .where(job_tasks.c.id == task, mine)
                .values(
                    status=status,
                    message=plain(message),
                    result=_encode(result),
                    unique_key=None,
                    due_at=None,
                    owner=None,
                    updated_at=at,
                    ended_at=at,
                )
            )
        )

    async def _alone(self, tx: Transaction, execution: int) -> None:
        """Two tasks that end at once must not each think that the other one goes on."""
        await self.database.lock(tx, f"corereg execution {execution}")

    @staticmethod
    async def _conclude(tx: Transaction, execution: int) -> Execution | None:
        """End the execution when no task of it goes on."""
        counts: dict[str, int] = {
            row[0]: row[1]
            for row in await tx.rows(
                sa.select(job_tasks.c.status, sa.func.count())
                .where(job_tasks.c.execution_id == execution)
                .group_by(job_tasks.c.status)
            )
        }
        if any(status not in ENDED for status in counts):
            return None
        status: Status = "Error" if counts.get("Error") else "Stopped" if counts.get("Stopped") else "Success"
        failed = await tx.row(
            sa.select(job_tasks.c.message)
            .where(job_tasks.c.execution_id == execution, job_tasks.c.status == "Error")
            .order_by(job_tasks.c.id)
            .limit(1)
        )
        at = now()
        await tx.execute(
            sa.update(job_executions)
            .where(job_executions.c.id == execution)
            .values(status=status, message=failed[0] if failed else "", updated_at=at, ended_at=at)
        )
        row = await tx.row(EXECUTION, execution_id=execution)
        return execution_of(row) if row is not None else None


def _encode(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def execution_of(row: Row) -> Execution:
    """A row of ``job_executions``, all its columns in their order."""
    id_, kind, vendor_id, started_by, operator, parameters, status, message, stopping, created, updated, ended = row
    return Execution(
        id=id_,
        kind=kind,
        vendor_id=vendor_id,
        started_by=started_by,
        operator=operator,
        parameters=msgspec.json.decode(parameters),
        status=status,
        message=message,
        stopping=bool(stopping),
        created_at=created,
        updated_at=updated,
        ended_at=ended,
    )
