"""The runner: what one process does for the jobs of its registry.

It claims tasks while it has free slots, keeps their leases, writes down what they tell, stops those that somebody
stopped, fires schedules whose time has come, and says that the process is alive. Every process does all of it; what is
to be done once is claimed in the database. Nobody leads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from corereg.oci.errors import OCIError
from corereg.session import House, Session
from corereg.store.database import DatabaseError
from corereg.store.jobs import CHANNEL, Claimed, Execution, Failed, Job, Lost, Status, Task, Told
from corereg.store.journal import Happening
from corereg.store.nodes import BEAT, Nodes
from corereg.store.storage import StorageError
from corereg.store.work import Stopped

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks for work of other processes; what is started here is begun at once."""
STOP_PATIENCE = 10.0
"""Seconds a handler has to notice that it was stopped; then it is cancelled."""


class Running(msgspec.Struct):
    """A task at work in this process."""

    claimed: Claimed
    task: Task
    job: Job
    work: asyncio.Task[None]
    extended: float
    stopped: float | None = None
    lost: bool = False


class Runner:
    """The jobs' work in this process. `run` until cancelled; then what runs is given back, for others to go on."""

    def __init__(self, house: House, nodes: Nodes, session: Callable[[], Session], *, slots: int) -> None:
        self._house = house
        self._nodes = nodes
        self._session = session
        self._slots = slots
        self._running: dict[int, Running] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    @property
    def busy(self) -> int:
        """How many tasks run here."""
        return len(self._running)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._often, "heartbeat", self._nodes.beat, BEAT)
                if self._slots:
                    await self._house.database.listen(CHANNEL, lambda _: self.wake())
                    group.start_soon(self._often, "jobs", self._claim_all, POLL)
                    group.start_soon(self._often, "job leases", self._look_after, POLL)
                    group.start_soon(self._often, "schedules", self._fire, POLL)
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave()

    async def _often(self, what: str, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await act()
            except (DatabaseError, StorageError, OCIError) as error:
                log.warning("%s will be tried again: %s", what, error)
                await anyio.sleep(pause)
            except Exception:
                log.exception("%s failed, and will be tried again", what)
                await anyio.sleep(pause)
            if act == self._claim_all:
                with anyio.move_on_after(pause):
                    await self._wake.wait()
                self._wake.clear()
            else:
                await anyio.sleep(pause)

    # ---- claim ----

    async def _claim_all(self) -> None:
        while len(self._running) < self._slots and not self._leaving():
            claimed = await self._house.queue.claim(self._house.jobs, self._nodes.id)
            if claimed is None:
                return
            if self._leaving():  # since just now
                await self._house.queue.put_back(claimed, Told(None, ()), after=0, counted=False)
                return
            self._begin(claimed)

    def _begin(self, claimed: Claimed) -> None:
        job = self._house.jobs[claimed.kind]
        task = Task(claimed, self._spawn)
        # A context of its own: the task opens transactions, and must not think that it stands in one of the runner's.
        work = asyncio.create_task(self._work(claimed, task, job), name=f"corereg job {job.kind} {claimed.id}")
        self._running[claimed.id] = Running(claimed, task, job, work, time.monotonic())
        work.add_done_callback(lambda _: self._done(claimed.id))

    def _done(self, task: int) -> None:
        self._running.pop(task, None)
        self.wake()

    async def _spawn(self, execution: int, kind: str, parameters: Any) -> None:
        if kind not in self._house.jobs:
            message = f"there is no job {kind!r} to spawn"
            raise Failed(message, again=False)
        await self._house.queue.spawn(execution, kind, parameters)
        self.wake()

    # ---- one task ----

    async def _work(self, claimed: Claimed, task: Task, job: Job) -> None:
        try:
            result = await self._handled(task, job)
        except asyncio.CancelledError:
            await self._cut(claimed, task)
        except Stopped:
            await self._ended(claimed, task, "Stopped")
        except Failed as error:
            await self._failed(claimed, task, job, str(error), again=error.again)
        except TimeoutError:
            await self._failed(claimed, task, job, f"it took longer than {job.timeout:.0f} s", again=False)
        except Exception as error:
            expected = isinstance(error, DatabaseError | StorageError | OCIError)
            log.log(logging.WARNING if expected else logging.ERROR, "job %s, task %d: %s", job.kind, task.id, error,
                    exc_info=not expected)  # fmt: skip
            message = str(error) if expected else f"{type(error).__name__}: {error}"
            await self._failed(claimed, task, job, message, again=True)
        else:
            await self._ended(claimed, task, "Success", result=result)

    @staticmethod
    async def _handled(task: Task, job: Job) -> Mapping[str, Any] | None:
        await task.check()
        async with asyncio.timeout(job.timeout):
            return await job.handler(task)

    async def _cut(self, claimed: Claimed, task: Task) -> None:
        """The handler was cancelled: because it was stopped and did not notice, lost its lease, or the process ends."""
        running = self._running.get(claimed.id)
        with anyio.CancelScope(shield=True):
            if running is not None and running.lost:
                return
            if task.stopping:
                task.log("stopped, in the middle of its work")
                await self._ended(claimed, task, "Stopped")
                return
            with suppress(Lost, DatabaseError):  # then its lease ends by itself
                await self._house.queue.put_back(claimed, task.take(), after=0, counted=False)

    async def _failed(self, claimed: Claimed, task: Task, job: Job, message: str, *, again: bool) -> None:
        task.log(message)
        if not again or claimed.attempt >= job.attempts or task.stopping:
            await self._ended(claimed, task, "Stopped" if task.stopping else "Error", message=message)
            return
        after = job.pause(claimed.attempt)
        task.log(f"it will be tried again in {after:.0f} s ({claimed.attempt} of {job.attempts} tries failed)")
        told = task.take()
        await self._write(lambda: self._house.queue.put_back(claimed, told, after=after, message=message))

    async def _ended(
        self,
        claimed: Claimed,
        task: Task,
        status: Status,
        *,
        message: str = "",
        result: Mapping[str, Any] | None = None,
    ) -> None:
        task.close()
        told = task.take()
        quiet = self._house.jobs[claimed.kind].quiet

        async def end() -> None:
            house = self._house
            async with house.database.transaction() as tx:
                execution = await house.queue.end(tx, claimed, status, told, message=message, result=result)
                loud = execution is not None and not (quiet and execution.status == "Success")
                if execution is not None and loud:
                    await house.journal.append(tx, _told(execution, result))
            if loud:
                house.journal.committed()

        await self._write(end)

    async def _write(self, act: Callable[[], Awaitable[None]]) -> None:
        """Write down how a task went, while its lease lasts; a database that is away for a moment is waited for."""
        deadline = time.monotonic() + self._house.queue.lease / 1_000_000
        with anyio.CancelScope(shield=True):
            while True:
                try:
                    await act()
                    return
                except Lost:
                    return  # whoever has it now writes how it went
                except DatabaseError as error:
                    if time.monotonic() > deadline:
                        log.warning("how a task went could not be written down, it will be begun again: %s", error)
                        return
                    await anyio.sleep(POLL)

    # ---- look after what runs ----

    async def _look_after(self) -> None:
        if not self._running:
            return
        stopping = await self._house.queue.stopping()
        for running in list(self._running.values()):
            if running.claimed.id in stopping:
                self._stop(running)
            await self._keep(running)

    @staticmethod
    def _stop(running: Running) -> None:
        at = time.monotonic()
        if running.stopped is None:
            running.stopped = at
            running.task.stopping = True
        elif at - running.stopped > STOP_PATIENCE:
            running.work.cancel()

    async def _keep(self, running: Running) -> None:
        """Extend the lease in good time, and write down what the task told."""
        lease = self._house.queue.lease / 1_000_000
        told = running.task.take()
        try:
            if time.monotonic() - running.extended > lease / 3:
                await self._house.queue.extend(running.claimed)
                running.extended = time.monotonic()
            if told:
                await self._house.queue.tell(running.claimed, told)
        except Lost:
            if running.claimed.id in self._running:  # it has not just ended by itself
                running.lost = True
                running.work.cancel()
        except DatabaseError:
            running.task.give_back(told)
            if time.monotonic() - running.extended > lease:
                running.lost = True
                running.work.cancel()  # somebody else may be at it by now
            raise

    # ---- schedules ----

    async def _fire(self) -> None:
        if self._leaving():
            return
        for schedule in await self._house.schedules.due():
            if schedule.kind not in self._house.jobs:
                continue  # of a plugin that is not enabled here
            try:
                started = await self._session().fire_schedule(schedule)
            except OCIError as error:  # a policy, or a registry that is read-only: the others are not to wait for it
                log.warning("the schedule of %s was refused, and waits for its next time: %s", schedule.kind, error)
                async with self._house.database.transaction() as tx:
                    await self._house.schedules.fire(tx, schedule)
                continue
            if started is not None:
                self.wake()

    # ---- end ----

    def _leaving(self) -> bool:
        return self._nodes.draining

    async def drain(self) -> None:
        """Begin nothing any more, and give back what runs: other processes go on with it at once, while this one may
        have requests to answer for a while.
        """
        if self._nodes.draining:
            return
        self._nodes.draining = True
        with suppress(DatabaseError):
            await self._nodes.beat()
        await self._give_back()

    async def _give_back(self) -> None:
        working = [running.work for running in self._running.values()]
        for work in working:
            work.cancel()
        if working:
            await asyncio.wait(working)

    async def _leave(self) -> None:
        self._nodes.draining = True
        await self._give_back()
        with suppress(DatabaseError):
            await self._nodes.leave()


def _told(execution: Execution, result: Mapping[str, Any] | None) -> Happening:
    details: dict[str, Any] = {
        "execution": execution.id,
        "kind": execution.kind,
        "vendor_id": execution.vendor_id,
        "status": execution.status,
    }
    if execution.message:
        details["message"] = execution.message
    if result:
        details["result"] = dict(result)
    return Happening(kind="job.end", actor=execution.operator, subject="system", details=details)
