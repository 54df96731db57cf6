"""Jobs of every kind, their tasks, logs and schedules, and the processes that do them: beyond Harbor's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from corereg import (
    Action,
    BadRequest,
    Created,
    Execution,
    Listed,
    Listing,
    Missing,
    Registry,
    Route,
    Schedule,
    Session,
    TaskRecord,
)
from corereg_management.documents import rfc3339
from corereg_management.job_documents import (
    JobExecution,
    JobLine,
    JobSchedule,
    JobTask,
    NewJob,
    ProcessState,
    ScheduleRequest,
    execution_document,
    form_of,
    process_document,
    task_document,
)

API = "/api/v2.0"
WATCH = Action("jobservice-monitor", "list")
STOP = Action("jobservice-monitor", "stop")
STARTS = {"GARBAGE_COLLECTION": "garbage-collection"}
"""Kinds whose start has a right of its own; the others are started by administrators."""
NEXT_RUNS = 5


class LogListing(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of a log: those after a number, oldest first."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000


class JobRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Sequence[Route]:
        """The table."""
        jobs = f"{API}/jobs"
        # A job of most kinds is started by administrators alone: nobody else can be given this right.
        start = Action("jobservice-monitor", "create")
        return [
            self._route("GET", jobs, self.list_jobs, WATCH, "List what was started, the newest first."),
            self._route("POST", jobs, self.start_job, WATCH, "Start a job.", 404),
            self._route("GET", f"{jobs}/schedules", self.list_job_schedules, WATCH, "List schedules and next runs."),
            self._route("PUT", f"{jobs}/schedules/{{kind}}", self.schedule_job, start, "Choose when a job starts."),
            self._route("GET", f"{jobs}/{{execution_id}}", self.get_job, WATCH, "Get what was started."),
            self._route("POST", f"{jobs}/{{execution_id}}/stop", self.stop_job, STOP, "Stop it."),
            self._route("POST", f"{jobs}/{{execution_id}}/retry", self.retry_job, WATCH, "Start it again.", 412),
            self._route("GET", f"{jobs}/{{execution_id}}/tasks", self.list_job_tasks, WATCH, "List its tasks."),
            self._route(
                "GET", f"{jobs}/{{execution_id}}/tasks/{{task_id}}/log", self.list_job_lines, WATCH,
                "Get lines of a task's log.",
            ),
            self._route("GET", f"{API}/nodes", self.list_nodes, WATCH, "List the processes of the registry."),
        ]  # fmt: skip

    @staticmethod
    def _route(method: str, path: str, handler: object, needs: Action, summary: str, *errors: int) -> Route:
        return Route(method, path, handler, needs, summary, tag="jobs", errors=errors, extension=True)  # type: ignore[arg-type]  # each is a handler

    # ---- executions ----

    async def list_jobs(self, session: Session, query: Listing) -> Listed[JobExecution]:
        """`q` and `sort` know id, vendor_type, vendor_id, status, trigger, operator and the times."""
        executions, total = await self._registry.history.executions(query)
        return Listed(await self._documents(executions), total)

    async def get_job(self, session: Session, execution_id: int) -> JobExecution:
        """One execution."""
        return (await self._documents([await self._execution(execution_id)]))[0]

    async def start_job(self, session: Session, body: NewJob) -> Created[None]:
        """One that may run once at a time and is under way is not started again: the Location is that one's."""
        started = await session.start_job(body.kind, body.parameters, needs=_starting(body.kind))
        return Created(started.execution_id)

    async def stop_job(self, session: Session, execution_id: int) -> None:
        """What waits never begins, what runs ends within seconds. One that has ended stays as it is."""
        await session.stop_job(execution_id)

    async def retry_job(self, session: Session, execution_id: int) -> Created[None]:
        """As a new execution, with the same parameters; the ended one stays in the list."""
        execution = await self._execution(execution_id)
        started = await session.retry_job(execution_id, needs=_starting(execution.kind))
        return Created(started.execution_id, location=f"{API}/jobs/{started.execution_id}")

    async def _documents(self, executions: Sequence[Execution]) -> list[JobExecution]:
        counts = await self._registry.history.counts([each.id for each in executions])
        return [execution_document(each, self._title(each.kind), counts[each.id]) for each in executions]

    async def _execution(self, number: int) -> Execution:
        found = await self._registry.history.execution(number)
        if found is None:
            message = f"there is no execution {number}"
            raise Missing(message)
        return found

    def _title(self, kind: str) -> str:
        job = self._registry.jobs.get(kind)
        return kind if job is None else job.title  # of a plugin that is not enabled any more

    # ---- tasks and logs ----

    async def list_job_tasks(self, session: Session, execution_id: int, query: Listing) -> Listed[JobTask]:
        """In the order they were made."""
        await self._execution(execution_id)
        tasks, total = await self._registry.history.tasks(execution_id, query)
        return Listed([task_document(task) for task in tasks], total)

    async def list_job_lines(
        self, session: Session, execution_id: int, task_id: int, query: LogListing
    ) -> list[JobLine]:
        """Ask again with the last number as `after` to follow it."""
        task: TaskRecord | None = await self._registry.history.task(task_id)
        if task is None or task.execution_id != execution_id:
            message = f"execution {execution_id} has no task {task_id}"
            raise Missing(message)
        lines = await self._registry.history.log(task_id, after=query.after, limit=query.limit)
        return [JobLine(each.number, rfc3339(each.time), each.line) for each in lines]

    # ---- schedules and nodes ----

    async def list_job_schedules(self, session: Session, query: Listing) -> Listed[JobSchedule]:
        """Times are UTC."""
        schedules, total = await self._registry.history.schedules(query)
        return Listed([self._schedule(each) for each in schedules], total)

    async def schedule_job(self, session: Session, kind: str, body: ScheduleRequest) -> None:
        """`None` is never; a time that was chosen here stays, whatever the job's own is."""
        if body.schedule.type == "Manual":
            message = "Manual is no schedule; POST /jobs starts a job now"
            raise BadRequest(message)
        await session.schedule_job(
            kind,
            needs=_starting(kind),
            form=body.schedule.type,
            cron=body.schedule.cron,
            parameters=body.parameters or {},
        )

    def _schedule(self, schedule: Schedule) -> JobSchedule:
        return JobSchedule(
            id=schedule.id,
            vendor_type=schedule.kind,
            vendor_id=schedule.vendor_id,
            title=self._title(schedule.kind),
            schedule=form_of(schedule),
            parameters=schedule.parameters,
            next_runs=[rfc3339(each) for each in schedule.runs(NEXT_RUNS)],
            creation_time=rfc3339(schedule.created_at),
            update_time=rfc3339(schedule.updated_at),
        )

    async def list_nodes(self, session: Session) -> list[ProcessState]:
        """Those that were lost within the last hour, too."""
        return [process_document(node) for node in await self._registry.nodes.all()]


def _starting(kind: str) -> Action:
    return Action(STARTS.get(kind, "jobservice-monitor"), "create")
