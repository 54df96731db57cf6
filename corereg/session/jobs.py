"""Jobs: start, stop, pause, schedule. What runs, runs without anybody waiting (`corereg.runner`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from corereg.access import Action
from corereg.errors import BadRequest, Missing, Precondition
from corereg.session.door import Change, Door
from corereg.store.jobs import SCHEDULER, Cron, Job, Started, StartedBy
from corereg.store.jobs.cron import FORMS
from corereg.store.jobs.records import Schedule

WATCH = Action("jobservice-monitor", "list")
STOP = Action("jobservice-monitor", "stop")


class Running(Door):
    """What a session does with jobs. `needs` is the right the caller asks for where it is not the job service's own."""

    __slots__ = ()

    def job(self, kind: str) -> Job:
        """The declared job of that kind. Raises Missing."""
        found = self._house.jobs.get(kind)
        if found is None:
            message = f"there is no job {kind[:60]!r} here; there are {', '.join(sorted(self._house.jobs))}"
            raise Missing(message)
        return found

    async def start_job(
        self,
        kind: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        needs: Action,
        vendor_id: int = 0,
        started_by: StartedBy = "manual",
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> Started:
        """Start a job: one task with `parameters`, or one for each of `tasks`. One that is `single` and under way is
        not started again: then the answer is not `new`. Raises BadRequest for parameters that the job does not take.
        """
        await self.require(needs)
        job = self.job(kind)
        parameters = _checked(job, parameters)
        async with self._job_change("job.start", kind, vendor_id) as change:
            started = await self._start(change, job, parameters, vendor_id, started_by, tasks)
        self._house.queue.wake()
        return started

    async def _start(
        self,
        change: Change,
        job: Job,
        parameters: Mapping[str, Any],
        vendor_id: int,
        started_by: StartedBy,
        tasks: Sequence[Mapping[str, Any]] | None = None,
    ) -> Started:
        started = await self._house.queue.start(
            change.tx,
            job,
            vendor_id=vendor_id,
            started_by=started_by,
            operator=self.identity.name,
            parameters=parameters,
            tasks=tasks,
        )
        change.details.update(execution=started.execution_id, started_by=started_by, new=started.new)
        return started

    def _job_change(self, what: str, kind: str, vendor_id: int = 0, **details: Any) -> Any:
        return self.change(self.operation(what, details={"kind": kind, "vendor_id": vendor_id, **details}))

    async def fire_schedule(self, schedule: Schedule) -> Started | None:
        """Start what a schedule is for, if its time has come and no other node was first."""
        job = self.job(schedule.kind)
        if job.quiet:
            return await self._fire_quietly(job, schedule)
        try:
            async with self._job_change("job.start", schedule.kind, schedule.vendor_id) as change:
                if not await self._house.schedules.fire(change.tx, schedule):
                    raise _Elsewhere
                return await self._start(change, job, schedule.parameters, schedule.vendor_id, "schedule")
        except _Elsewhere:
            return None

    async def _fire_quietly(self, job: Job, schedule: Schedule) -> Started | None:
        house = self._house
        async with house.database.transaction() as tx:
            if not await house.schedules.fire(tx, schedule):
                return None
            return await house.queue.start(
                tx, job, vendor_id=schedule.vendor_id, started_by="schedule", parameters=schedule.parameters
            )

    async def stop_job(self, execution: int, *, needs: Action = STOP) -> None:
        """Stop an execution: what waits never begins, what runs ends within seconds. One that has ended stays as it is.

        Raises Missing for one that is not there.
        """
        await self.require(needs)
        found = await self._house.history.execution(execution)
        if found is None:
            message = f"there is no execution {execution}"
            raise Missing(message)
        async with self._job_change("job.stop", found.kind, found.vendor_id, execution=execution) as change:
            change.details["was_running"] = await self._house.queue.stop(change.tx, execution)

    async def retry_job(self, execution: int, *, needs: Action) -> Started:
        """Start once more what an ended execution was for, as a new one."""
        await self.require(needs)
        found = await self._house.history.execution(execution)
        if found is None:
            message = f"there is no execution {execution}"
            raise Missing(message)
        if not found.ended:
            message = f"execution {execution} goes on; stop it first"
            raise Precondition(message)
        job = self.job(found.kind)
        async with self._job_change("job.start", found.kind, found.vendor_id, retry_of=execution) as change:
            started = await self._start(change, job, found.parameters, found.vendor_id, "manual")
        self._house.queue.wake()
        return started

    async def pause_jobs(self, kind: str, *, paused: bool) -> None:
        """Begin no task of a kind any more (what runs goes on), or begin them again. `SCHEDULER` is all schedules."""
        await self.require(STOP)
        if kind != SCHEDULER:
            self.job(kind)
        async with self._job_change("job.pause" if paused else "job.resume", kind) as change:
            await (self._house.queue.pause if paused else self._house.queue.resume)(change.tx, kind)
        self._house.queue.wake()

    async def stop_waiting_jobs(self, kind: str) -> int:
        """Stop every execution of a kind that has not begun; how many."""
        await self.require(STOP)
        self.job(kind)
        async with self._job_change("job.stop", kind) as change:
            stopped = await self._house.queue.stop_waiting(change.tx, kind)
            change.details["stopped"] = stopped
        return stopped

    async def schedule_job(
        self,
        kind: str,
        *,
        needs: Action,
        form: str = "Custom",
        cron: str = "",
        vendor_id: int = 0,
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """Let a job start by itself: ``Hourly``, ``Daily``, ``Weekly``, or ``Custom`` with a `cron` of six fields in
        UTC; ``None`` for not at all. A `cron` given beside the first three is what counts: Harbor's clients send both.
        The schedule's id. Raises BadRequest for a cron that cannot be read, and parameters the job does not take.
        """
        await self.require(needs)
        job = self.job(kind)
        when = _cron(form, cron)
        parameters = {} if when is None else _checked(job, parameters)
        async with self._job_change(
            "schedule.update", kind, vendor_id, cron=when.text if when else "", form=form
        ) as change:
            return await self._house.schedules.put(
                change.tx, kind, vendor_id, form=form, cron=when, parameters=parameters
            )


def _checked(job: Job, parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    try:
        return job.checked(parameters or {})
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _cron(form: str, cron: str) -> Cron | None:
    if form == "None":
        return None
    text = cron or FORMS.get(form, "")
    if form not in FORMS and form not in {"Custom", "Schedule"}:
        message = f"a schedule is one of {', '.join(FORMS)}, Custom or None, not {form[:40]!r}"
        raise BadRequest(message)
    try:
        return Cron(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None


class _Elsewhere(Exception):
    """Another node fired the schedule."""
