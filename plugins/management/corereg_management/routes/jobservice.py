"""Harbor's job service: pools are processes, workers are what they are at work on, queues are kinds of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from corereg import Action, BadRequest, Listed, Listing, Missing, Registry, Response, Route, Session, TaskRecord
from corereg_management.documents import rfc3339
from corereg_management.job_documents import (
    JobQueue,
    QueueAction,
    SchedulerStatus,
    ScheduleTask,
    Worker,
    WorkerPool,
    worker_document,
)
from corereg_management.job_logs import log_of

API = "/api/v2.0"
ALL = "all"
SCHEDULER = "SCHEDULER"
"""The queue that stands for every schedule: pausing it pauses them all."""
WATCH = Action("jobservice-monitor", "list")
STOP = Action("jobservice-monitor", "stop")


class JobServiceRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Sequence[Route]:
        """The table."""
        service = f"{API}/jobservice"
        return [
            Route("GET", f"{service}/pools", self.get_worker_pools, WATCH, "Get worker pools.", tag="jobservice"),
            Route(
                "GET", f"{service}/pools/{{pool_id}}/workers", self.get_workers, WATCH,
                "Get what is being worked at; `all` is every pool.", tag="jobservice",
            ),
            Route(
                "PUT", f"{service}/jobs/{{job_id}}", self.stop_running_job, STOP,
                "Stop a running job; `all` is every one.", tag="jobservice",
            ),
            Route(
                "GET", f"{service}/jobs/{{job_id}}/log", self.action_get_job_log, WATCH, "Get the log of a job.",
                tag="jobservice", produces="text/plain",
            ),
            Route("GET", f"{service}/queues", self.list_job_queues, WATCH, "List the queues.", tag="jobservice"),
            Route(
                "PUT", f"{service}/queues/{{job_type}}", self.action_pending_jobs, STOP,
                "Stop what waits in a queue, pause or resume it; `all` is every queue.", tag="jobservice",
            ),
            Route("GET", f"{API}/schedules", self.list_schedules, WATCH, "List the schedules.", tag="schedule"),
            Route(
                "GET", f"{API}/schedules/{{job_type}}/paused", self.get_schedule_paused, WATCH,
                "Say whether schedules are paused.", tag="schedule",
            ),
        ]  # fmt: skip

    # ---- pools and workers ----

    async def get_worker_pools(self, session: Session) -> list[WorkerPool]:
        """The processes that take jobs and were heard of within half a minute."""
        return [
            WorkerPool(
                worker_pool_id=node.id,
                pid=node.process,
                host=node.host,
                start_at=rfc3339(node.started_at),
                heartbeat_at=rfc3339(node.seen_at),
                concurrency=node.slots,
            )
            for node in await self._registry.nodes.all()
            if node.alive and node.slots
        ]

    async def get_workers(self, session: Session, pool_id: str) -> list[Worker]:
        """One worker for each task that runs there."""
        workers = [worker_document(task) for task in await self._registry.history.running()]
        if pool_id == ALL:
            return workers
        if pool_id not in {node.id for node in await self._registry.nodes.all()}:
            message = f"there is no worker pool {pool_id[:60]!r}"
            raise Missing(message)
        return [worker for worker in workers if worker.pool_id == pool_id]

    # ---- one job ----

    async def stop_running_job(self, session: Session, job_id: str) -> None:
        """With it stops the whole execution that it is a part of. One that has ended stays as it is."""
        if job_id == ALL:
            tasks = await self._registry.history.running()
        else:
            tasks = [await self._task(job_id)]
        for execution in dict.fromkeys(task.execution_id for task in tasks):
            await session.stop_job(execution)

    async def action_get_job_log(self, session: Session, job_id: str) -> Response:
        """Every line with its time."""
        return log_of(self._registry, [(await self._task(job_id)).id])

    async def _task(self, job_id: str) -> TaskRecord:
        number = int(job_id) if job_id.isascii() and job_id.isdigit() and len(job_id) <= 18 else 0
        task = await self._registry.history.task(number)
        if task is None:
            message = f"there is no job {job_id[:60]!r}"
            raise Missing(message)
        return task

    # ---- queues ----

    async def list_job_queues(self, session: Session) -> list[JobQueue]:
        """Every kind of job, and the schedules as `SCHEDULER`."""
        registry = self._registry
        queues = [
            JobQueue(job_type=each.kind, count=each.waiting, latency=each.latency // 1_000_000, paused=each.paused)
            for each in await registry.history.queues(registry.jobs)
        ]
        paused = SCHEDULER in await registry.queue.paused()
        scheduler = JobQueue(job_type=SCHEDULER, count=0, latency=0, paused=paused)
        return sorted([*queues, scheduler], key=lambda queue: queue.job_type)

    async def action_pending_jobs(self, session: Session, job_type: str, body: QueueAction) -> None:
        """`stop` ends what has not begun; what runs goes on, as it does while the queue is paused."""
        kinds = sorted(self._registry.jobs) if job_type == ALL else [job_type]
        if body.action == "stop":
            for kind in kinds:
                if kind != SCHEDULER:  # nothing waits there
                    await session.stop_waiting_jobs(kind)
            return
        for kind in [*kinds, SCHEDULER] if job_type == ALL else kinds:
            await session.pause_jobs(kind, paused=body.action == "pause")

    # ---- schedules ----

    async def list_schedules(self, session: Session, query: Listing) -> Listed[ScheduleTask]:
        """Those that somebody has taken away are told with an empty cron."""
        schedules, total = await self._registry.history.schedules(query)
        items = [
            ScheduleTask(
                id=each.id,
                vendor_type=each.kind,
                vendor_id=each.vendor_id,
                cron=each.cron,
                update_time=rfc3339(each.updated_at),
            )
            for each in schedules
        ]
        return Listed(items, total)

    async def get_schedule_paused(self, session: Session, job_type: str) -> SchedulerStatus:
        """For `all`, as in Harbor: schedules are paused together."""
        if job_type != ALL:
            message = f"schedules are paused together; ask for {ALL!r}, not {job_type[:60]!r}"
            raise BadRequest(message)
        return SchedulerStatus(SCHEDULER in await self._registry.queue.paused())
