"""What the API says of jobs: Harbor's fields and words, and beside them what Harbor does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from corereg import Execution, Node, Schedule, TaskRecord
from corereg_management.documents import NodeState, rfc3339

Form = Literal["Hourly", "Daily", "Weekly", "Custom", "Manual", "None", "Schedule"]


def _moment(microseconds: int | None) -> str | UnsetType:
    return UNSET if microseconds is None else rfc3339(microseconds)


# ---- Harbor's ----


class WorkerPool(msgspec.Struct, frozen=True, kw_only=True):
    """A process that does jobs, and how many at once."""

    worker_pool_id: str
    pid: int
    host: str
    start_at: str
    heartbeat_at: str
    concurrency: int


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process at work on one task, which is the `job_id`."""

    id: str
    pool_id: str
    job_name: str
    job_id: str
    start_at: str | UnsetType = UNSET
    check_in: str
    checkin_at: str


class JobQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits of a kind: how much, and for how many seconds the oldest has."""

    job_type: str
    count: int
    latency: int
    paused: bool


class QueueAction(msgspec.Struct, frozen=True):
    """What shall happen to a queue."""

    action: Literal["stop", "pause", "resume"]


class ScheduleTask(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, as Harbor lists them."""

    id: int
    vendor_type: str
    vendor_id: int
    cron: str
    update_time: str


class SchedulerStatus(msgspec.Struct, frozen=True):
    """Whether schedules start nothing for now."""

    paused: bool


class ScheduleForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When: a word for it, or ``Custom`` with a cron of six fields in UTC; ``Manual`` is now, ``None`` never."""

    type: Form
    cron: Annotated[str, msgspec.Meta(max_length=200)] = ""
    next_scheduled_time: str | UnsetType = UNSET


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """When a job shall start, and with which parameters."""

    schedule: ScheduleForm
    parameters: dict[str, Any] | None = None


class GCHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A garbage collection. `job_parameters` is JSON in a text: what it was started with, and what it took."""

    id: int
    job_name: str
    job_kind: str
    job_parameters: str
    schedule: ScheduleForm
    job_status: str
    deleted: bool
    creation_time: str
    update_time: str


class GCSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When garbage is collected; empty when it is not by itself."""

    id: int | UnsetType = UNSET
    job_name: str | UnsetType = UNSET
    job_kind: str | UnsetType = UNSET
    job_parameters: str | UnsetType = UNSET
    schedule: ScheduleForm | UnsetType = UNSET
    job_status: str | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    creation_time: str | UnsetType = UNSET
    update_time: str | UnsetType = UNSET


# ---- beyond Harbor ----


class JobExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a job. `metrics` counts its tasks by status; `stopping` says that somebody has stopped it and its
    tasks are ending.
    """

    id: int
    vendor_type: str
    vendor_id: int
    title: str
    status: str
    status_message: str
    stopping: bool
    trigger: str
    operator: str
    parameters: dict[str, Any]
    metrics: dict[str, int]
    start_time: str
    update_time: str
    end_time: str | UnsetType = UNSET


class JobTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task: `done` of `total` (absent: not known) steps of a `phase`, `size` bytes, and what it came to."""

    id: int
    execution_id: int
    vendor_type: str
    status: str
    status_message: str
    run_count: int
    node: str
    phase: str
    done: int
    total: int | UnsetType = UNSET
    size: int
    parameters: dict[str, Any]
    result: dict[str, Any]
    creation_time: str
    update_time: str
    start_time: str | UnsetType = UNSET
    end_time: str | UnsetType = UNSET


class JobLine(msgspec.Struct, frozen=True):
    """A line of a task's log; numbers begin at 1 and have no gap."""

    number: int
    time: str
    line: str


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be started."""

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    parameters: dict[str, Any] = {}


class JobSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule with its next runs; without any when it never comes."""

    id: int
    vendor_type: str
    vendor_id: int
    title: str
    schedule: ScheduleForm
    parameters: dict[str, Any]
    next_runs: list[str]
    creation_time: str
    update_time: str


class ProcessState(NodeState, frozen=True, kw_only=True):
    """The same with what only operators are told."""

    host: str
    pid: int
    version: str
    concurrency: int
    start_at: str


# ---- how they are made ----


def trigger_of(execution: Execution) -> str:
    """Harbor's word for who started it."""
    return execution.started_by.upper()


def execution_document(execution: Execution, title: str, metrics: Mapping[str, int]) -> JobExecution:
    """An execution, with how many of its tasks have which status."""
    counts = {f"{status.lower()}_task_count": count for status, count in sorted(metrics.items())}
    return JobExecution(
        id=execution.id,
        vendor_type=execution.kind,
        vendor_id=execution.vendor_id,
        title=title,
        status=execution.status,
        status_message=execution.message,
        stopping=execution.stopping and not execution.ended,
        trigger=trigger_of(execution),
        operator=execution.operator,
        parameters=execution.parameters,
        metrics={"task_count": sum(metrics.values()), **counts},
        start_time=rfc3339(execution.created_at),
        update_time=rfc3339(execution.updated_at),
        end_time=_moment(execution.ended_at),
    )


def task_document(task: TaskRecord) -> JobTask:
    """A task."""
    return JobTask(
        id=task.id,
        execution_id=task.execution_id,
        vendor_type=task.kind,
        status=task.status,
        status_message=task.message,
        run_count=task.attempts,
        node=(task.owner or "").partition(":")[0],
        phase=task.phase,
        done=task.done,
        total=UNSET if task.total is None else task.total,
        size=task.size,
        parameters=task.parameters,
        result=task.result,
        creation_time=rfc3339(task.created_at),
        update_time=rfc3339(task.updated_at),
        start_time=_moment(task.started_at),
        end_time=_moment(task.ended_at),
    )


def worker_document(task: TaskRecord) -> Worker:
    """A process at work on a task. A claim is called ``<process>:<the claim's own name>``."""
    owner = task.owner or ""
    progress = f"{task.phase} {task.done}" + (f" of {task.total}" if task.total is not None else "")
    return Worker(
        id=owner,
        pool_id=owner.partition(":")[0],
        job_name=task.kind,
        job_id=str(task.id),
        start_at=_moment(task.started_at),
        check_in=progress if task.phase else "",
        checkin_at=rfc3339(task.updated_at),
    )


def form_of(schedule: Schedule) -> ScheduleForm:
    """When a schedule comes."""
    form: Form = schedule.form  # type: ignore[assignment]  # the session lets no other in
    return ScheduleForm(type=form, cron=schedule.cron, next_scheduled_time=_moment(schedule.next_at))


def collection_document(execution: Execution, task: TaskRecord | None) -> GCHistory:
    """A garbage collection; once it has ended with what it freed, in Harbor's words."""
    parameters: dict[str, Any] = {"dry_run": False, "delete_untagged": False, **execution.parameters}
    if task is not None and task.result:
        taken = task.result
        parameters |= {
            "freed_space": taken.get("size", 0),
            "purged_blobs": taken.get("blobs", 0) + taken.get("orphans", 0),
            "purged_manifests": taken.get("manifests", 0),
        }
    return GCHistory(
        id=execution.id,
        job_name=execution.kind,
        job_kind=trigger_of(execution),
        job_parameters=msgspec.json.encode(parameters).decode(),
        schedule=ScheduleForm(type="Schedule" if execution.started_by == "schedule" else "Manual"),
        job_status=execution.status,
        deleted=False,
        creation_time=rfc3339(execution.created_at),
        update_time=rfc3339(execution.updated_at),
    )


def collection_schedule(schedule: Schedule | None) -> GCSchedule:
    """When garbage is collected by itself."""
    if schedule is None or not schedule.cron:
        return GCSchedule()
    return GCSchedule(
        id=schedule.id,
        job_name=schedule.kind,
        job_kind=schedule.form,
        job_parameters=msgspec.json.encode(schedule.parameters).decode(),
        schedule=form_of(schedule),
        job_status="",
        deleted=False,
        creation_time=rfc3339(schedule.created_at),
        update_time=rfc3339(schedule.updated_at),
    )


# ---- processes ----


def status_of(node: Node) -> Literal["alive", "draining", "silent"]:
    """How a process is."""
    return "silent" if not node.alive else "draining" if node.draining else "alive"


def node_document(node: Node) -> NodeState:
    """What everybody is told of a process: no names of hosts, no versions."""
    return NodeState(id=node.id, status=status_of(node), heartbeat_at=rfc3339(node.seen_at))


def process_document(node: Node) -> ProcessState:
    """What operators are told of a process."""
    return ProcessState(
        id=node.id,
        status=status_of(node),
        heartbeat_at=rfc3339(node.seen_at),
        host=node.host,
        pid=node.process,
        version=node.version,
        concurrency=node.slots,
        start_at=rfc3339(node.started_at),
    )
