"""Work that takes long: queued in the database, claimed by lease, done by whichever process is free.

An *execution* is one start of a kind of job (by a person, a schedule or an event); it is made of *tasks*, each run by
one process at a time. A task is run **at least once**: a process that dies leaves its lease behind, and when that has
ended another one begins the task again. Handlers are therefore idempotent.

The same tables serve SQLite on a laptop and PostgreSQL under many nodes. Here is what is kept; who may do what is the
Session's part (`corereg.session.jobs`), and `corereg.runner` does the work.
"""

from __future__ import annotations

from corereg.store.jobs.cron import Cron
from corereg.store.jobs.history import History
from corereg.store.jobs.kinds import Failed, Job, Task, Told
from corereg.store.jobs.queue import CHANNEL, Lost, Queue
from corereg.store.jobs.records import (
    ENDED,
    SCHEDULER,
    Claimed,
    Execution,
    LogLine,
    QueueState,
    Schedule,
    Started,
    StartedBy,
    Status,
    TaskRecord,
)
from corereg.store.jobs.schedules import Schedules

__all__ = [
    "CHANNEL",
    "ENDED",
    "SCHEDULER",
    "Claimed",
    "Cron",
    "Execution",
    "Failed",
    "History",
    "Job",
    "LogLine",
    "Lost",
    "Queue",
    "QueueState",
    "Schedule",
    "Schedules",
    "Started",
    "StartedBy",
    "Status",
    "Task",
    "TaskRecord",
    "Told",
]
