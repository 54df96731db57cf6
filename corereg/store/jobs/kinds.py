"""A kind of job as its owner declares it, and the task its handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from corereg.store.database import now, plain
from corereg.store.jobs.cron import Cron
from corereg.store.jobs.records import Claimed
from corereg.store.work import Stopped

LINES_KEPT = 10_000
"""Lines of one task's log; what comes after is counted, and said at the end."""
LONGEST_LINE = 4_000
LONGEST_PAUSE = 3600.0
"""Seconds between two tries of a task."""

Handler: TypeAlias = "Callable[[Task], Awaitable[Mapping[str, Any] | None]]"
Spawn = Callable[[int, str, Sequence[Mapping[str, Any]]], Awaitable[None]]


class Failed(Exception):
    """The task failed; `str()` is a sentence for whoever reads of it. Without `again` it is not tried once more."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of job: its name (words in capitals, ``TAG_RETENTION``; Harbor's where it has one), what people read, and
    who does it.

    A task that fails is tried again, `attempts` times in all, after `backoff` seconds, twice as many the next time, and
    so on; `timeout` seconds are the longest a try may take. `concurrency` bounds how many tasks of the kind run at
    once, over all nodes. `single` makes two starts for one `vendor_id` the same while the first goes on. `schedule` (a
    cron of six fields, UTC) is when it starts by itself where nobody chose another time. `keep` bounds the executions
    remembered for each `vendor_id`; None is the configuration's ``[jobs] keep``. A `quiet` job is bookkeeping: the
    journal hears nothing of it when its schedule starts it and all goes well. `parameters` is the Struct that the
    parameters of a start or a schedule must make; None takes whatever is given, for a job that only code starts.
    """

    kind: str
    title: str
    handler: Handler
    attempts: int = 3
    backoff: float = 10.0
    timeout: float = 86400.0
    concurrency: int | None = None
    single: bool = False
    schedule: str | None = None
    keep: int | None = None
    quiet: bool = False
    parameters: type[msgspec.Struct] | None = None

    def __post_init__(self) -> None:
        if self.schedule is not None:
            Cron(self.schedule)

    def checked(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters as the job's own Struct has them. Raises ValueError with a sentence.

        One that is not known is refused: who mistypes `dry_run` must not be understood as having left it out.
        """
        if self.parameters is None:
            return parameters
        known = self.parameters.__struct_fields__
        strange = sorted(str(name)[:60] for name in set(parameters) - set(known))
        if strange:
            message = f"{self.kind} has no parameter {', '.join(strange)}; it has {', '.join(known) or 'none'}"
            raise ValueError(message)
        try:
            found = msgspec.convert(parameters, self.parameters, strict=False)
        except msgspec.ValidationError as error:
            message = f"parameters of {self.kind}: {error}"
            raise ValueError(message) from None
        made: dict[str, Any] = msgspec.to_builtins(found)
        return {name: value for name, value in made.items() if value is not None}

    def pause(self, attempts: int) -> float:
        """Seconds to wait after the given number of tries."""
        return float(min(self.backoff * 2 ** max(attempts - 1, 0), LONGEST_PAUSE))


class Task:
    """A task at work: what it is about, and how it tells of itself (a `corereg.store.work.Work`).

    What it tells is kept here and written by the process's own round, every second or two.
    """

    def __init__(self, claimed: Claimed, spawn: Spawn) -> None:
        self.id = claimed.id
        self.execution_id = claimed.execution_id
        self.kind = claimed.kind
        self.vendor_id = claimed.vendor_id
        self.parameters = claimed.parameters
        self.attempt = claimed.attempt
        self._lines = claimed.lines
        self._spawn = spawn
        self._left_out = 0
        self._log: list[tuple[int, int, str]] = []
        self._progress: tuple[str, int, int | None, int] | None = None
        self.stopping = False

    async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
        """`done` of `total` (None: not known) steps of this phase; `size` bytes so far."""
        self._progress = (plain(phase), done, total, size)

    def log(self, line: str) -> None:
        """One line for whoever reads of the task later; lines beyond ten thousand are counted only."""
        if self._lines >= LINES_KEPT:
            self._left_out += 1
            return
        self._lines += 1
        self._log.append((self._lines, now(), plain(line[:LONGEST_LINE])))

    async def check(self) -> None:
        """Raises Stopped when somebody stopped the execution; call it between two batches."""
        if self.stopping:
            raise Stopped

    async def spawn(self, parameters: Sequence[Mapping[str, Any]], *, kind: str | None = None) -> None:
        """Add tasks to the execution: each with its parameters, of this kind or another."""
        await self._spawn(self.execution_id, kind or self.kind, parameters)

    def take(self) -> Told:
        """What was told since the last time; for whoever writes it down."""
        told = Told(self._progress, tuple(self._log))
        self._progress, self._log = None, []
        return told

    def give_back(self, told: Told) -> None:
        """It could not be written: keep it for the next time."""
        self._progress = self._progress or told.progress
        self._log = [*told.lines, *self._log]

    def close(self) -> None:
        """No more is told: say how many lines were left out."""
        if self._left_out:
            self._lines += 1
            self._log.append((self._lines, now(), f"{self._left_out} more lines were left out"))
            self._left_out = 0


class Told(msgspec.Struct, frozen=True):
    """What a task told: its progress, and (number, time, line) of its log."""

    progress: tuple[str, int, int | None, int] | None
    lines: tuple[tuple[int, int, str], ...]

    def __bool__(self) -> bool:
        return self.progress is not None or bool(self.lines)
