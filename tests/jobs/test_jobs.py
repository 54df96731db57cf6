"""Jobs from start to end: claimed once, tried again, stopped, given back, taken over, scheduled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from corereg import Action, Failed, Job, Operation, Refusal, Registry, StorageUnavailable, Task, hookimpl, now
from corereg.config import JobsConfig
from corereg.errors import BadRequest, Missing, Precondition
from corereg.oci.errors import Denied
from corereg.plugins import PluginError
from corereg.store.jobs import ENDED, Cron, Execution, TaskRecord
from corereg.store.listing import Listing
from corereg.store.schema import job_executions, job_schedules, job_tasks
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

START = Action("garbage-collection", "create")
ALL = Listing(page_size=0)


class Works:
    """A plugin with one job, whose handler a test chooses."""

    name = "works"

    def __init__(self, handler: Any, **more: Any) -> None:
        self.jobs = [Job(kind="WORK", title="Work", handler=handler, **{"backoff": 0.01, **more})]

    @hookimpl
    def provide_jobs(self, registry: Registry) -> list[Job]:
        return self.jobs


@asynccontextmanager
async def working(
    folder: Path, handler: Any, *, lease: int = 30, slots: int = 4, **more: Any
) -> AsyncIterator[Registry]:
    async with scratch(folder, Works(handler, **more), jobs=JobsConfig(slots=slots, lease=lease)) as registry:
        yield registry


async def ended(registry: Registry, execution: int) -> Execution:
    """The execution, once it has ended."""
    with anyio.fail_after(30):
        while True:
            found = await registry.history.execution(execution)
            assert found is not None
            if found.ended:
                return found
            await anyio.sleep(0.01)


async def only_task(registry: Registry, execution: int) -> TaskRecord:
    ((task,), _) = await registry.history.tasks(execution, ALL)
    return task


async def start(registry: Registry, parameters: Mapping[str, Any] | None = None, **more: Any) -> int:
    return (await registry.session().start_job("WORK", parameters, needs=START, **more)).execution_id


async def test_a_job_runs_tells_and_ends(tmp_path: Path) -> None:
    async def work(task: Task) -> Mapping[str, Any]:
        await task.progress("counting", 2, 3, size=10)
        task.log(f"hello {task.parameters['name']}")
        return {"counted": 3}

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry, {"name": "world"}, vendor_id=7))
        assert (execution.status, execution.kind, execution.vendor_id) == ("Success", "WORK", 7)
        assert (execution.started_by, execution.operator) == ("manual", "system")
        task = await only_task(registry, execution.id)
        assert (task.phase, task.done, task.total, task.size) == ("counting", 2, 3, 10)
        assert (task.result, task.attempts, task.owner) == ({"counted": 3}, 1, None)
        assert [line.line for line in await registry.history.log(task.id)] == ["hello world"]
        kinds = {event.kind: event for event in await registry.journal.events()}
        assert kinds["job.start"].details["execution"] == execution.id
        assert kinds["job.end"].details["status"] == "Success"
        assert kinds["job.end"].details["result"] == {"counted": 3}


async def test_a_task_that_fails_is_tried_again_and_no_more_often_than_it_may(tmp_path: Path) -> None:
    tries: list[int] = []

    async def work(task: Task) -> None:
        tries.append(task.attempt)
        if len(tries) < task.parameters["works_at"]:
            message = "the other side is away"
            raise Failed(message)

    async with working(tmp_path, work, attempts=3) as registry:
        good = await ended(registry, await start(registry, {"works_at": 3}))
        assert (good.status, tries) == ("Success", [1, 2, 3])
        tries.clear()
        bad = await ended(registry, await start(registry, {"works_at": 9}))
        assert (bad.status, bad.message, tries) == ("Error", "the other side is away", [1, 2, 3])
        task = await only_task(registry, bad.id)
        assert len([line for line in await registry.history.log(task.id) if "tried again" in line.line]) == 2


async def test_what_makes_no_sense_to_repeat_is_not_repeated(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        message = "the policy is gone"
        raise Failed(message, again=False)

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry))
        assert (execution.status, (await only_task(registry, execution.id)).attempts) == ("Error", 1)


async def test_a_programming_error_ends_as_an_error_with_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(task: Task) -> None:
        raise KeyError(task.parameters["missing"])

    async with working(tmp_path, work, attempts=1) as registry:
        execution = await ended(registry, await start(registry))
        assert (execution.status, execution.message) == ("Error", "KeyError: 'missing'")
    assert "Traceback" in caplog.text


@pytest.mark.usefixtures("every_database")
async def test_a_task_fails_in_words_that_no_database_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "corereg.runner")  # pytest cannot pass half a character on either

    async def work(task: Task) -> None:
        await task.progress("a\0b\ud800", 1)
        task.log("c\0d\ud800")
        message = "the other side said e\0f\ud800"
        raise ValueError(message)

    async with working(tmp_path, work, attempts=2) as registry:
        execution = await ended(registry, await start(registry))
        assert (execution.status, execution.message) == ("Error", "ValueError: the other side said ef?")
        task = await only_task(registry, execution.id)
        assert (task.attempts, task.phase, task.message) == (2, "ab?", execution.message)


async def test_an_execution_of_many_tasks_fails_when_one_does(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        if task.parameters["n"] == 3:
            message = "three does not work"
            raise Failed(message, again=False)

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry, tasks=[{"n": n} for n in range(10)]))
        assert (execution.status, execution.message) == ("Error", "three does not work")
        assert await registry.history.counts([execution.id]) == {execution.id: {"Success": 9, "Error": 1}}
        assert len([e for e in await registry.journal.events() if e.kind == "job.end"]) == 1


async def test_an_execution_without_tasks_has_succeeded(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work) as registry:
        assert (await ended(registry, await start(registry, tasks=[]))).status == "Success"


async def test_tasks_may_add_tasks(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        if "split" in task.parameters:
            await task.spawn([{"n": n} for n in range(task.parameters["split"])])

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry, {"split": 5}))
        assert execution.status == "Success"
        assert await registry.history.counts([execution.id]) == {execution.id: {"Success": 6}}


# ---- stop ----


async def test_stop_stops_what_runs_and_what_waits(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def work(task: Task) -> None:
        begun.set()
        while True:
            await task.check()
            await anyio.sleep(0.01)

    async with working(tmp_path, work, slots=1) as registry:
        execution = await start(registry, tasks=[{}, {}, {}])
        await begun.wait()
        await registry.session().stop_job(execution)
        found = await ended(registry, execution)
        assert (found.status, found.stopping) == ("Stopped", True)
        assert await registry.history.counts([execution]) == {execution: {"Stopped": 3}}
        assert "job.stop" in {event.kind for event in await registry.journal.events()}


async def test_stop_really_stops_a_handler_that_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corereg.runner.STOP_PATIENCE", 0.05)
    begun = asyncio.Event()

    async def work(task: Task) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with working(tmp_path, work) as registry:
        execution = await start(registry)
        await begun.wait()
        await registry.session().stop_job(execution)
        assert (await ended(registry, execution)).status == "Stopped"


async def test_stopping_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry))
        await registry.session().stop_job(execution.id)
        assert await registry.history.execution(execution.id) == execution
        with pytest.raises(Missing, match="no execution 4711"):
            await registry.session().stop_job(4711)


async def test_a_task_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        await anyio.sleep_forever()

    async with working(tmp_path, work, timeout=0.05) as registry:
        execution = await ended(registry, await start(registry))
        assert execution.status == "Error"
        assert "longer than" in execution.message


# ---- one at a time ----


async def test_two_starts_of_a_single_job_are_one(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def work(task: Task) -> None:
        await go.wait()

    async with working(tmp_path, work, single=True) as registry:
        session = registry.session()
        first = await session.start_job("WORK", needs=START)
        second = await session.start_job("WORK", needs=START)
        other = await session.start_job("WORK", needs=START, vendor_id=2)
        assert (first.new, second.new, other.new) == (True, False, True)
        assert first.execution_id == second.execution_id != other.execution_id
        go.set()
        await ended(registry, first.execution_id)
        assert (await session.start_job("WORK", needs=START)).new


async def test_no_more_run_at_once_than_the_kind_may(tmp_path: Path) -> None:
    running = most = 0

    async def work(task: Task) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.01)
        running -= 1

    async with (
        working(tmp_path, work, concurrency=2, slots=4) as registry,
        working(tmp_path, work, concurrency=2, slots=4),
    ):
        execution = await ended(registry, await start(registry, tasks=[{}] * 12))
        assert (execution.status, most) == ("Success", 2)


async def test_a_paused_kind_waits_and_goes_on(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work) as registry:
        session = registry.session()
        await session.pause_jobs("WORK", paused=True)
        execution = await start(registry)
        for _ in range(3):
            assert await registry.queue.claim(registry.jobs, "somebody") is None
        (state,) = [each for each in await registry.history.queues(registry.jobs) if each.kind == "WORK"]
        assert (state.waiting, state.paused) == (1, True)
        await session.pause_jobs("WORK", paused=False)
        assert (await ended(registry, execution)).status == "Success"


async def test_what_waits_of_a_kind_can_be_stopped_together(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        executions = [await start(registry) for _ in range(3)]
        assert await registry.session().stop_waiting_jobs("WORK") == 3
        assert {(await ended(registry, each)).status for each in executions} == {"Stopped"}


# ---- processes that end and die ----


async def test_a_process_that_ends_gives_its_task_back(tmp_path: Path) -> None:
    begun = asyncio.Event()
    attempts: list[int] = []

    async def waits(task: Task) -> None:
        attempts.append(task.attempt)
        task.log("begun")
        begun.set()
        await anyio.sleep_forever()

    async def works(task: Task) -> None:
        attempts.append(task.attempt)
        task.log("done")

    async with working(tmp_path, waits) as registry:
        execution = await start(registry)
        await begun.wait()
    async with working(tmp_path, works) as registry:
        assert (await ended(registry, execution)).status == "Success"
        assert attempts == [1, 1]
        task = await only_task(registry, execution)
        assert [line.line for line in await registry.history.log(task.id)] == ["begun", "done"]


async def test_the_task_of_a_process_that_died_is_taken_over_when_its_lease_ends(tmp_path: Path) -> None:
    async def work(task: Task) -> Mapping[str, Any]:
        return {"attempt": task.attempt}

    async with working(tmp_path, work, slots=0) as registry:
        execution = await start(registry)
        dead = await registry.queue.claim(registry.jobs, "dead")
        assert dead is not None
        assert await registry.queue.claim(registry.jobs, "other") is None
        await _let_leases_end(registry)
        taken = await registry.queue.claim(registry.jobs, "other")
        assert taken is not None
        assert (taken.id, taken.attempt) == (dead.id, 2)
        assert taken.owner != dead.owner
        assert not (await registry.history.execution(execution)).ended  # type: ignore[union-attr]


@pytest.mark.parametrize("status", ["Pending", "Running"])
async def test_a_task_of_a_wrong_clock_is_due(tmp_path: Path, status: str) -> None:
    """It was started, or claimed by a process that died, while a clock was a year ahead."""

    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0, single=True, concurrency=1) as registry:
        await start(registry)
        if status == "Running":
            assert await registry.queue.claim(registry.jobs, "dead") is not None
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(job_tasks).values(due_at=now() + 365 * 86_400_000_000))
        taken = await registry.queue.claim(registry.jobs, "other")
        assert taken is not None
        assert await registry.queue.claim(registry.jobs, "third") is None


async def test_the_longest_pause_of_a_task_is_kept(tmp_path: Path) -> None:
    from corereg.store.jobs.kinds import LONGEST_PAUSE, Told  # noqa: PLC0415 - of this test alone

    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        await start(registry)
        claimed = await registry.queue.claim(registry.jobs, "fails")
        assert claimed is not None
        await registry.queue.put_back(claimed, Told(None, ()), after=LONGEST_PAUSE)
        assert await registry.queue.claim(registry.jobs, "early") is None


async def test_whoever_was_overtaken_writes_nothing(tmp_path: Path) -> None:
    from corereg.store.jobs import Lost  # noqa: PLC0415 - of this test alone
    from corereg.store.jobs.kinds import Told  # noqa: PLC0415

    async def work(task: Task) -> None:
        pass

    told = Told(("late", 1, 1, 1), ((1, 1, "too late"),))
    async with working(tmp_path, work, slots=0) as registry:
        await start(registry)
        queue = registry.queue
        late = await queue.claim(registry.jobs, "late")
        await _let_leases_end(registry)
        mine = await queue.claim(registry.jobs, "mine")
        assert late is not None
        assert mine is not None
        with pytest.raises(Lost):
            await queue.extend(late)
        with pytest.raises(Lost):
            await queue.tell(late, told)
        with pytest.raises(Lost):
            await queue.tell(late, Told(None, told.lines))
        with pytest.raises(Lost):
            await queue.put_back(late, Told(None, ()), after=0)
        with pytest.raises(Lost):
            async with registry.database.transaction() as tx:
                await queue.end(tx, late, "Success", Told(None, ()))
        assert await registry.history.log(mine.id) == []
        assert (await registry.history.task(mine.id)).status == "Running"  # type: ignore[union-attr]


async def test_a_task_that_kills_its_process_each_time_ends_as_an_error(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0, attempts=1) as registry:
        execution = await start(registry)
        for _ in range(50):
            if await registry.queue.claim(registry.jobs, "dies") is None:
                break
            await _let_leases_end(registry)
        found = await ended(registry, execution)
        assert found.status == "Error"
        assert "died" in found.message


async def test_a_lost_lease_cuts_the_handler_and_the_other_one_ends_it(tmp_path: Path) -> None:
    cut = asyncio.Event()
    begun = asyncio.Event()

    async def work(task: Task) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cut.set()

    async with working(tmp_path, work, slots=1, lease=3) as registry:
        execution = await start(registry)
        await begun.wait()
        task = await only_task(registry, execution)
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(job_tasks).where(job_tasks.c.id == task.id).values(owner="other:1"))
        with anyio.fail_after(20):
            await cut.wait()
        assert (await only_task(registry, execution)).owner == "other:1"


async def test_a_stopped_task_of_a_dead_process_is_stopped(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        execution = await start(registry)
        await registry.queue.claim(registry.jobs, "dead")
        await registry.session().stop_job(execution)
        assert not (await registry.history.execution(execution)).ended  # type: ignore[union-attr]
        await _let_leases_end(registry)
        assert await registry.queue.claim(registry.jobs, "other") is None
        assert (await ended(registry, execution)).status == "Stopped"


async def _let_leases_end(registry: Registry) -> None:
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(job_tasks).where(job_tasks.c.status == "Running").values(due_at=now() - 1))


# ---- schedules ----


async def _make_due(registry: Registry, kind: str = "WORK") -> None:
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(job_schedules).where(job_schedules.c.kind == kind).values(next_at=now() - 1))


async def test_a_schedule_starts_the_job_once_however_many_look(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work) as registry, working(tmp_path, work):
        await registry.session().schedule_job("WORK", needs=START, form="Daily", parameters={"a": 1})
        await _make_due(registry)
        with anyio.fail_after(20):
            while not (await registry.history.executions(ALL, kind="WORK"))[1]:
                await anyio.sleep(0.05)
        found, total = await registry.history.executions(ALL, kind="WORK")
        execution = await ended(registry, found[0].id)
        assert (total, execution.started_by, execution.parameters) == (1, "schedule", {"a": 1})
        schedule = await registry.schedules.find("WORK")
        assert schedule is not None
        assert schedule.next_at is not None
        assert schedule.next_at > now()


async def test_two_nodes_cannot_fire_one_moment_twice(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        session = registry.session()
        await session.schedule_job("WORK", needs=START, form="Hourly")
        await _make_due(registry)
        (due,) = [each for each in await registry.schedules.due() if each.kind == "WORK"]
        first, second = await session.fire_schedule(due), await session.fire_schedule(due)
        assert first is not None
        assert second is None
        assert (await registry.history.executions(ALL, kind="WORK"))[1] == 1


class ReadOnly:
    """Refuses that a kind of job is started."""

    name = "read_only"

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        refused = operation.kind == "job.start" and operation.details["kind"] == "WORK"
        return Refusal("nothing is changed today") if refused else None


async def test_a_schedule_that_is_refused_waits_for_its_next_time_and_holds_up_no_other(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with scratch(tmp_path, ReadOnly(), Works(work), jobs=JobsConfig(slots=2)) as registry:
        session = registry.session()
        await session.schedule_job("WORK", needs=START, form="Daily")
        await session.schedule_job("GARBAGE_COLLECTION", needs=START, form="Daily")
        async with registry.database.transaction() as tx:
            for kind, ago in (("WORK", 2), ("GARBAGE_COLLECTION", 1)):
                due = sa.update(job_schedules).where(job_schedules.c.kind == kind)
                await tx.execute(due.values(next_at=now() - ago))
        with anyio.fail_after(20):
            while not (await registry.history.executions(ALL, kind="GARBAGE_COLLECTION"))[1]:
                await anyio.sleep(0.05)
        assert (await registry.history.executions(ALL, kind="WORK"))[1] == 0
        refused = await registry.schedules.find("WORK")
        assert refused is not None
        assert refused.next_at is not None
        assert refused.next_at > now()


async def test_paused_schedules_do_not_fire(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        session = registry.session()
        await session.schedule_job("WORK", needs=START, form="Hourly")
        await _make_due(registry)
        await session.pause_jobs("SCHEDULER", paused=True)
        assert await registry.schedules.due() == []
        await session.pause_jobs("SCHEDULER", paused=False)
        assert [each.kind for each in await registry.schedules.due()] == ["WORK"]


async def test_a_declared_schedule_gives_way_to_a_chosen_one(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, schedule="0 0 3 * * *") as registry:
        declared = await registry.schedules.find("WORK")
        assert declared is not None
        assert declared.cron == "0 0 3 * * *"
        await registry.session().schedule_job("WORK", needs=START, form="None")
    async with working(tmp_path, work, schedule="0 0 3 * * *") as registry:
        chosen = await registry.schedules.find("WORK")
        assert chosen is not None
        assert (chosen.cron, chosen.next_at) == ("", None)


@pytest.mark.parametrize(
    ("form", "cron"),
    [("Custom", "* * * * *"), ("Custom", "0 0 0 31 2 *"), ("Custom", "nonsense"), ("Custom", ""), ("Yearly", "")],
)
async def test_schedules_that_make_no_sense_are_refused(tmp_path: Path, form: str, cron: str) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        with pytest.raises(BadRequest):
            await registry.session().schedule_job("WORK", needs=START, form=form, cron=cron)


class Options(msgspec.Struct):
    dry_run: bool = False
    workers: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None


async def test_parameters_are_checked_before_anything_starts(tmp_path: Path) -> None:
    """Above all one that is mistyped: `dryrun` is no reason to do it in earnest."""

    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0, parameters=Options) as registry:
        session = registry.session()
        for wrong in ({"dryrun": True}, {"dry_run": "perhaps"}, {"workers": 11}, {"workers": 0}):
            with pytest.raises(BadRequest):
                await session.start_job("WORK", wrong, needs=START)
            with pytest.raises(BadRequest):
                await session.schedule_job("WORK", needs=START, form="Daily", parameters=wrong)
        assert (await registry.history.executions(ALL, kind="WORK"))[1] == 0
        assert await registry.schedules.find("WORK") is None
        started = await session.start_job("WORK", {"dry_run": "true"}, needs=START)
        found = await registry.history.execution(started.execution_id)
        assert found is not None
        assert found.parameters == {"dry_run": True}


async def test_a_cron_beside_the_name_of_a_form_is_what_counts(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        await registry.session().schedule_job("WORK", needs=START, form="Daily", cron="0 30 2 * * *")
        found = await registry.schedules.find("WORK")
        assert found is not None
        assert (found.form, found.cron) == ("Daily", "0 30 2 * * *")


def test_cron_knows_six_fields_in_utc() -> None:
    day = 86400 * 1_000_000
    assert Cron("0 30 3 * * *").next(0, 2) == [12600 * 1_000_000, 12600 * 1_000_000 + day]
    assert Cron("@daily").after(0) == day
    assert Cron("0 0 0 ? * 0").after(0) == 3 * day  # 1970 began on a Thursday


# ---- rights, history ----


async def test_starting_and_stopping_want_a_right(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        execution = await start(registry)
        from corereg import Identity  # noqa: PLC0415 - of this test alone

        nobody = registry.session(Identity(name="nobody", subject="user:9"))
        with pytest.raises(Denied):
            await nobody.start_job("WORK", needs=START)
        with pytest.raises(Denied):
            await nobody.stop_job(execution)
        with pytest.raises(Denied):
            await nobody.pause_jobs("WORK", paused=True)
        with pytest.raises(Denied):
            await nobody.schedule_job("WORK", needs=START)
        with pytest.raises(Missing, match="no job 'NONE'"):
            await registry.session().start_job("NONE", needs=START)


async def test_an_ended_execution_can_be_started_once_more(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0) as registry:
        session = registry.session()
        first = await start(registry, {"a": 1}, vendor_id=3)
        with pytest.raises(Precondition, match="goes on"):
            await session.retry_job(first, needs=START)
        await session.stop_job(first)
        again = await session.retry_job(first, needs=START)
        execution = await registry.history.execution(again.execution_id)
        assert execution is not None
        assert (execution.parameters, execution.vendor_id, execution.id != first) == ({"a": 1}, 3, True)


async def test_the_history_is_bounded_and_keeps_what_goes_on(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=0, keep=2) as registry:
        session = registry.session()
        going = await start(registry)
        old = [await start(registry) for _ in range(4)]
        other = await start(registry, vendor_id=1)
        for each in (*old, other):
            await session.stop_job(each)
        assert await registry.history.prune(registry.jobs) == 2
        rows = await registry.database.rows(sa.select(job_executions.c.id).order_by(job_executions.c.id))
        assert [row[0] for row in rows] == [going, *old[2:], other]
        left = await registry.database.rows(sa.select(job_tasks.c.execution_id).distinct())
        assert sorted(row[0] for row in left) == [going, *old[2:], other]


async def test_a_log_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corereg.store.jobs.kinds.LINES_KEPT", 5)

    async def work(task: Task) -> None:
        for number in range(20):
            task.log(f"line {number}")

    async with working(tmp_path, work) as registry:
        execution = await ended(registry, await start(registry))
        task = await only_task(registry, execution.id)
        lines = [line.line for line in await registry.history.log(task.id)]
        assert lines == [*(f"line {number}" for number in range(5)), "15 more lines were left out"]
        assert [line.number for line in await registry.history.log(task.id, after=4)] == [5, 6]


def test_two_jobs_of_one_kind_are_an_error(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    class Others(Works):
        name = "others"

    with pytest.raises(PluginError, match=r"works and others both declare a job WORK"):
        scratch(tmp_path, Works(work), Others(work))


async def test_processes_say_that_they_are_alive(tmp_path: Path) -> None:
    async def work(task: Task) -> None:
        pass

    async with working(tmp_path, work, slots=3) as registry:
        with anyio.fail_after(20):
            while not (found := await registry.nodes.all()):
                await anyio.sleep(0.01)
        (node,) = found
        assert (node.id, node.slots, node.alive, node.draining) == (registry.nodes.id, 3, True, False)
    async with working(tmp_path, work, slots=0) as registry:
        assert node.id not in {each.id for each in await registry.nodes.all()}


def test_the_words_of_an_end_are_harbors() -> None:
    assert ENDED == ("Success", "Error", "Stopped")


async def test_housekeeping_goes_on_with_the_rest_when_a_part_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with scratch(tmp_path) as registry:
        job = registry.jobs["HOUSEKEEPING"]
        monkeypatch.setitem(registry.jobs, "HOUSEKEEPING", msgspec.structs.replace(job, attempts=1))

        async def away() -> None:
            message = "the store is away"
            raise StorageUnavailable(message)

        async def broken(_jobs: Any) -> None:
            raise KeyError("kind")

        async def due() -> bool:
            return True

        monkeypatch.setattr(registry.uploads, "purge", away)
        monkeypatch.setattr(registry.history, "prune", broken)
        monkeypatch.setattr(registry.keys, "due", due)
        started = await registry.session().start_job("HOUSEKEEPING", None, needs=START)
        execution = await ended(registry, started.execution_id)
        assert (execution.status, execution.message) == (
            "Error",
            "uploads: the store is away; executions: KeyError: 'kind'",
        )
        lines = [line.line for line in await registry.history.log((await only_task(registry, execution.id)).id)]
        assert "tokens are signed with a new key from now on" in lines
        assert "dropped what had expired: 0 events" in lines
    assert "housekeeping, uploads: the store is away" in caplog.text
    assert "Traceback" in caplog.text
