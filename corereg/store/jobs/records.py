"""Executions, tasks and schedules as their rows tell them. Times are microseconds since 1970, UTC."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from corereg.store.jobs.cron import Cron

Status = Literal["Pending", "Scheduled", "Running", "Success", "Error", "Stopped"]
"""Harbor's words. ``Pending`` waits for a free process, ``Scheduled`` for the next try; the last three are final."""
ENDED: tuple[Status, ...] = ("Success", "Error", "Stopped")

StartedBy = Literal["manual", "schedule", "event"]

SCHEDULER = "SCHEDULER"
"""Pausing this kind pauses every schedule."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a kind of job. `vendor_id` is what of that kind it is for (a policy, a project), 0 the registry.

    `operator` is the name of who started it. `stopping` says that somebody stopped it and its tasks are ending.
    """

    id: int
    kind: str
    vendor_id: int
    started_by: StartedBy
    operator: str
    parameters: dict[str, Any]
    status: Status
    message: str
    stopping: bool
    created_at: int
    updated_at: int
    ended_at: int | None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task of an execution: how often it was begun, how far it came (`done` of `total` steps of `phase`, `size`
    bytes), and what its handler returned. `owner` names the process at work on it.
    """

    id: int
    execution_id: int
    kind: str
    parameters: dict[str, Any]
    status: Status
    attempts: int
    owner: str | None
    phase: str
    done: int
    total: int | None
    size: int
    message: str
    result: dict[str, Any]
    created_at: int
    updated_at: int
    started_at: int | None
    ended_at: int | None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A task that this process may work at until its lease ends."""

    id: int
    execution_id: int
    kind: str
    vendor_id: int
    parameters: dict[str, Any]
    attempt: int
    owner: str
    lines: int


class LogLine(msgspec.Struct, frozen=True):
    """A line of a task's log; numbers begin at 1 and have no gap."""

    number: int
    time: int
    line: str


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a kind of job starts by itself. `form` is how it was chosen (``Hourly``, ``Daily``, ``Weekly``, ``Custom``),
    `cron` what that means; an empty one never fires.
    """

    id: int
    kind: str
    vendor_id: int
    form: str
    cron: str
    parameters: dict[str, Any]
    next_at: int | None
    created_at: int
    updated_at: int

    def runs(self, count: int) -> list[int]:
        """The next `count` times it comes, the one that is due among them; fewer where the cron comes to its end."""
        if self.next_at is None:
            return []
        return [self.next_at, *Cron(self.cron).next(self.next_at, count - 1)]


class QueueState(msgspec.Struct, frozen=True):
    """How many tasks of a kind wait, for how long the oldest one has (microseconds), how many run; paused or not."""

    kind: str
    waiting: int
    latency: int
    running: int
    paused: bool


class Started(msgspec.Struct, frozen=True):
    """What a start came to: the execution, and whether it is new or was under way already."""

    execution_id: int
    new: bool
