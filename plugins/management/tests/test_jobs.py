"""Jobs over the API: Harbor's job service, garbage collection and schedules, and the lists beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import anyio
import msgspec
import pytest
import sqlalchemy as sa

from corereg import Config, Grant, Job, Registry, Task, hookimpl
from corereg.testing.client import Credentials, expect
from corereg.testing.registry import Person

pytestmark = pytest.mark.anyio

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PASSWORD = "a password for tests only"
ENDED = {"Success", "Error", "Stopped"}


def slots(number: int) -> Any:
    """The configuration of a process that does so many tasks at once."""
    return msgspec.structs.replace(Config().jobs, slots=number)


class Works:
    """A plugin with a job that tells of itself, and goes on until it is let go or stopped."""

    name = "works"

    def __init__(self) -> None:
        self.at_work = anyio.Event()
        self.let_go = anyio.Event()

    @hookimpl
    def provide_jobs(self, registry: Registry) -> list[Job]:
        return [Job(kind="WORK", title="Work", handler=self.work, schedule="0 0 3 * * *")]

    async def work(self, task: Task) -> Mapping[str, Any]:
        task.log(f"hello {task.parameters.get('name', 'nobody')}")
        await task.progress("counting", 1, 3, size=7)
        self.at_work.set()
        while not self.let_go.is_set():
            await task.check()
            with anyio.move_on_after(0.05):
                await self.let_go.wait()
        return {"counted": 3}


async def ended(api: Any, execution: int) -> Any:
    """What the API says of it, once it has ended."""
    with anyio.fail_after(60):
        while (found := await api.get(f"/jobs/{execution}"))["status"] not in ENDED:
            await anyio.sleep(0.05)
    return found


async def begun(api: Any, works: Works) -> tuple[int, int]:
    """A running job: its execution and its task."""
    answer = expect(await api.answer("POST", "/jobs", {"kind": "WORK", "parameters": {"name": "world"}}), 201)
    execution = int(answer.headers["location"].removeprefix("/api/v2.0/jobs/"))
    with anyio.fail_after(30):
        await works.at_work.wait()
    (task,) = await api.get(f"/jobs/{execution}/tasks")
    return execution, int(task["id"])


async def lines(api: Any, path: str, wanted: str) -> str:
    """The log, once it holds a line."""
    with anyio.fail_after(30):
        while True:
            answer = expect(await api.answer("GET", path), 200)
            assert answer.headers["content-type"].startswith("text/plain")
            if wanted in answer.text:
                return str(answer.text)
            await anyio.sleep(0.05)


# ---- the job service ----


async def test_a_running_job_is_seen_read_and_stopped(opened: Any) -> None:
    works = Works()
    api = await opened(works)
    execution, task = await begun(api, works)
    (pool,) = await api.get("/jobservice/pools")
    assert pool["concurrency"] == api.registry.config.jobs.slots
    for path in ("all", pool["worker_pool_id"]):
        (worker,) = await api.get(f"/jobservice/pools/{path}/workers")
        assert (worker["job_id"], worker["job_name"]) == (str(task), "WORK")
        assert worker["pool_id"] == pool["worker_pool_id"]
        assert MOMENT.fullmatch(worker["start_at"])
    assert re.fullmatch(rf"{MOMENT.pattern} hello world\n", await lines(api, f"/jobservice/jobs/{task}/log", "hello"))
    await api.call("PUT", f"/jobservice/jobs/{task}")
    assert (await ended(api, execution))["status"] == "Stopped"
    assert await api.get("/jobservice/pools/all/workers") == []
    await api.call("PUT", f"/jobservice/jobs/{task}")  # it has ended, and stays as it is
    assert (await api.get(f"/jobs/{execution}"))["status"] == "Stopped"


async def test_every_running_job_is_stopped(opened: Any) -> None:
    works = Works()
    api = await opened(works)
    first, _ = await begun(api, works)
    second, _ = await begun(api, works)
    with anyio.fail_after(30):
        while len(await api.get("/jobservice/pools/all/workers")) < 2:
            await anyio.sleep(0.05)
    await api.call("PUT", "/jobservice/jobs/all")
    assert [(await ended(api, each))["status"] for each in (first, second)] == ["Stopped", "Stopped"]


@pytest.mark.parametrize("number", ["0", "999999", "9" * 40, "-1", "abc", "%00", "1.0", "%D9%A3"])
async def test_jobs_that_are_not_there(api: Any, number: str) -> None:
    assert (await api.answer("GET", f"/jobservice/jobs/{number}/log")).status_code in {400, 404}
    assert (await api.answer("PUT", f"/jobservice/jobs/{number}")).status_code in {400, 404}
    assert (await api.answer("GET", f"/jobs/{number}")).status_code in {400, 404, 422}


async def test_pools_that_are_not_there(api: Any) -> None:
    await api.get("/jobservice/pools/nothing/workers", 404)


async def test_a_paused_queue_begins_nothing_and_a_resumed_one_does(opened: Any) -> None:
    works = Works()
    works.let_go.set()
    api = await opened(works)
    await api.call("PUT", "/jobservice/queues/WORK", 200, {"action": "pause"})
    answer = await api.answer("POST", "/jobs", {"kind": "WORK"})
    execution = int(answer.headers["location"].rpartition("/")[2])
    queue = await queue_of(api, "WORK")
    assert (queue["count"], queue["paused"]) == (1, True)
    assert queue["latency"] >= 0
    assert (await api.get(f"/jobs/{execution}"))["status"] == "Pending"
    await api.call("PUT", "/jobservice/queues/WORK", 200, {"action": "resume"})
    found = await ended(api, execution)
    assert (found["status"], found["metrics"]) == ("Success", {"task_count": 1, "success_task_count": 1})
    assert (await queue_of(api, "WORK"))["paused"] is False


async def test_what_waits_is_stopped_and_what_runs_is_not(opened: Any) -> None:
    works = Works()
    api = await opened(works, jobs=slots(1))
    running, _ = await begun(api, works)
    waiting = (await api.answer("POST", "/jobs", {"kind": "WORK"})).headers["location"].rpartition("/")[2]
    await api.call("PUT", "/jobservice/queues/WORK", 200, {"action": "stop"})
    assert (await api.get(f"/jobs/{waiting}"))["status"] == "Stopped"
    assert (await api.get(f"/jobs/{running}"))["status"] == "Running"
    works.let_go.set()
    assert (await ended(api, running))["status"] == "Success"


async def test_all_queues_at_once_and_the_schedules_with_them(opened: Any) -> None:
    api = await opened(Works(), jobs=slots(0))
    assert await api.get("/schedules/all/paused") == {"paused": False}
    await api.call("PUT", "/jobservice/queues/all", 200, {"action": "pause"})
    queues = await api.get("/jobservice/queues")
    assert {"WORK", "GARBAGE_COLLECTION", "HOUSEKEEPING", "SCHEDULER"} <= {each["job_type"] for each in queues}
    assert all(each["paused"] for each in queues)
    assert await api.get("/schedules/all/paused") == {"paused": True}
    await api.call("POST", "/jobs", 201, {"kind": "WORK"})
    await api.call("PUT", "/jobservice/queues/all", 200, {"action": "stop"})
    assert (await queue_of(api, "WORK"))["count"] == 0
    await api.call("PUT", "/jobservice/queues/all", 200, {"action": "resume"})
    assert not any(each["paused"] for each in await api.get("/jobservice/queues"))
    await api.call("PUT", "/jobservice/queues/SCHEDULER", 200, {"action": "pause"})
    assert await api.get("/schedules/all/paused") == {"paused": True}
    assert (await queue_of(api, "WORK"))["paused"] is False


async def queue_of(api: Any, kind: str) -> Any:
    return next(each for each in await api.get("/jobservice/queues") if each["job_type"] == kind)


@pytest.mark.parametrize("body", [{"action": "dance"}, {"action": ""}, {}, [], {"action": 1}])
async def test_actions_that_are_none(api: Any, body: Any) -> None:
    await api.call("PUT", "/jobservice/queues/all", 422, body)


async def test_queues_and_schedules_that_are_not_there(api: Any) -> None:
    await api.call("PUT", "/jobservice/queues/NOTHING", 404, {"action": "pause"})
    await api.call("PUT", "/jobservice/queues/NOTHING", 404, {"action": "stop"})
    await api.get("/schedules/NOTHING/paused", 400)
    await api.call("PUT", "/jobs/schedules/NOTHING", 404, {"schedule": {"type": "Daily"}})


# ---- executions ----


async def test_jobs_are_listed_filtered_and_their_logs_followed(opened: Any) -> None:
    works = Works()
    works.let_go.set()
    api = await opened(works)
    execution, task = await begun(api, works)
    found = await ended(api, execution)
    assert (found["vendor_type"], found["title"], found["trigger"], found["operator"]) == (
        "WORK",
        "Work",
        "MANUAL",
        "admin",
    )
    assert found["parameters"] == {"name": "world"}
    assert [each["id"] for each in await api.get("/jobs?q=vendor_type=WORK,status=Success,trigger=MANUAL")] == [
        execution
    ]
    assert await api.get("/jobs?q=vendor_type=WORK,status=Error") == []
    (told,) = await api.get(f"/jobs/{execution}/tasks")
    assert (told["phase"], told["done"], told["total"], told["size"], told["result"]) == (
        "counting",
        1,
        3,
        7,
        {"counted": 3},
    )
    log = f"/jobs/{execution}/tasks/{task}/log"
    ((number, line),) = [(each["number"], each["line"]) for each in await api.get(log)]
    assert (number, line) == (1, "hello world")
    assert await api.get(f"{log}?after=1") == []
    await api.get(f"/jobs/{execution + 1}/tasks/{task}/log", 404)
    await api.get("/jobs/999999/tasks", 404)


async def test_an_ended_job_is_started_again(opened: Any) -> None:
    works = Works()
    api = await opened(works)
    execution, _ = await begun(api, works)
    await api.call("POST", f"/jobs/{execution}/retry", 412)
    works.let_go.set()
    await ended(api, execution)
    answer = expect(await api.answer("POST", f"/jobs/{execution}/retry"), 201)
    again = int(answer.headers["location"].removeprefix("/api/v2.0/jobs/"))
    assert again != execution
    assert (await ended(api, again))["parameters"] == {"name": "world"}
    await api.call("POST", "/jobs/999999/retry", 404)
    await api.call("POST", "/jobs/999999/stop", 404)


async def test_next_runs(opened: Any) -> None:
    api = await opened(Works())
    found = {each["vendor_type"]: each for each in await api.get("/jobs/schedules")}
    assert found["WORK"]["schedule"]["cron"] == "0 0 3 * * *"
    assert [each[11:19] for each in found["WORK"]["next_runs"]] == ["03:00:00"] * 5
    assert len(set(found["WORK"]["next_runs"])) == 5
    assert found["WORK"]["next_runs"][0] == found["WORK"]["schedule"]["next_scheduled_time"]
    weekly = {"schedule": {"type": "Weekly", "cron": "0 0 5 * * 1"}}
    await api.call("PUT", "/jobs/schedules/WORK", 200, weekly)
    (told,) = [each for each in await api.get("/schedules") if each["vendor_type"] == "WORK"]
    assert told["cron"] == "0 0 5 * * 1"
    await api.call("PUT", "/jobs/schedules/WORK", 200, {"schedule": {"type": "None"}})
    found = {each["vendor_type"]: each for each in await api.get("/jobs/schedules")}
    assert found["WORK"]["next_runs"] == []
    await api.call("PUT", "/jobs/schedules/WORK", 400, {"schedule": {"type": "Manual"}})
    await api.call("PUT", "/jobs/schedules/WORK", 400, {"schedule": {"type": "Custom", "cron": "* * *"}})


async def test_nodes_and_health(opened: Any, as_nobody: Any) -> None:
    api = await opened(Works())
    with anyio.fail_after(30):
        while not (mine := [each for each in await api.get("/nodes") if each["id"] == api.registry.nodes.id]):
            await anyio.sleep(0.05)
    (mine,) = mine
    assert (mine["status"], mine["concurrency"]) == ("alive", api.registry.config.jobs.slots)
    health = await as_nobody.get("/health")
    assert all(each["status"] == "alive" for each in health["nodes"])
    assert all(each.keys() == {"id", "status", "heartbeat_at"} for each in health["nodes"]), "operators are told more"


async def test_a_node_that_was_lost(opened: Any) -> None:
    api = await opened()
    with anyio.fail_after(30):
        while not await api.get("/nodes"):
            await anyio.sleep(0.05)
    lost = type(api.registry.nodes)(api.registry.database, version="1", slots=1)
    await lost.beat()
    table = sa.table("nodes", sa.column("id"), sa.column("seen_at", sa.BigInteger))
    long_ago = sa.update(table).where(table.c.id == lost.id).values(seen_at=table.c.seen_at - 60_000_000)
    async with api.registry.database.transaction() as tx:
        await tx.execute(long_ago)
    states = {each["id"]: each["status"] for each in await api.get("/nodes")}
    assert states[lost.id] == "silent"
    health = await api.get("/health")
    assert health["status"] == "healthy", "the others do its work"
    assert {each["id"]: each["status"] for each in health["nodes"]}[lost.id] == "silent"
    assert [each["worker_pool_id"] for each in await api.get("/jobservice/pools")] == [api.registry.nodes.id]


async def test_nobody_does_jobs(opened: Any) -> None:
    api = await opened(jobs=slots(0))
    with anyio.fail_after(30):
        while not await api.get("/nodes"):
            await anyio.sleep(0.05)
    health = await api.get("/health")
    assert health["status"] == "unhealthy"
    assert {"name": "jobservice", "status": "unhealthy", "error": "no process runs jobs"} in health["components"]


# ---- garbage collection ----


async def collected(api: Any, parameters: Mapping[str, Any]) -> Any:
    body = {"schedule": {"type": "Manual"}, "parameters": parameters}
    answer = expect(await api.answer("POST", "/system/gc/schedule", body), 201)
    number = int(answer.headers["location"].removeprefix("/api/v2.0/system/gc/"))
    await ended(api, number)
    return await api.get(f"/system/gc/{number}")


async def test_garbage_is_collected(opened: Any) -> None:
    api = await opened(gc=msgspec.structs.replace(Config().gc, grace=0))
    await api.push("library/app", "v1")
    await api.push("library/app", "v2")
    await api.call("DELETE", api.of("library/app", "v1", "tags", "v1"))
    dry = await collected(api, {"dry_run": True, "delete_untagged": True, "workers": 3})
    assert (dry["job_name"], dry["job_kind"], dry["job_status"]) == ("GARBAGE_COLLECTION", "MANUAL", "Success")
    assert (dry["deleted"], dry["schedule"]) == (False, {"type": "Manual"})
    told = msgspec.json.decode(dry["job_parameters"])
    assert (told["dry_run"], told["delete_untagged"], told["workers"]) == (True, True, 3)
    assert told["purged_manifests"] == 1
    log = await lines(api, f"/system/gc/{dry['id']}/log", "would take")
    assert "would take 1 untagged manifests" in log
    assert len(await api.get("/projects/library/repositories/app/artifacts")) == 2
    real = await collected(api, {"delete_untagged": True})
    assert msgspec.json.decode(real["job_parameters"])["dry_run"] is False
    assert len(await api.get("/projects/library/repositories/app/artifacts")) == 1
    answer = expect(await api.answer("GET", "/system/gc?page_size=1"), 200)
    assert answer.headers["x-total-count"] == "2"
    assert [each["id"] for each in answer.json()] == [real["id"]]
    assert [each["id"] for each in await api.get("/system/gc?q=status=Success&sort=id")] == [dry["id"], real["id"]]


@pytest.mark.parametrize(
    "parameters",
    [
        {"workers": 0},
        {"workers": 11},
        {"workers": "many"},
        {"dry_run": "perhaps"},
        {"dryrun": True},
        {"delete_tag": True},
        {"delete_tag": [False]},
        {"delete_tag": {}},
        {"dry_run": []},
        {"workers": {}},
        {"delete_untagged": [None]},
        {"": []},
    ],
)
async def test_collections_that_make_no_sense(api: Any, parameters: dict[str, Any]) -> None:
    for schedule in ({"type": "Manual"}, {"type": "Daily"}):
        body = {"schedule": schedule, "parameters": parameters}
        await api.call("POST", "/system/gc/schedule", 400, body)
        await api.call("PUT", "/system/gc/schedule", 400, body)
    assert await api.get("/system/gc") == []
    assert await api.get("/system/gc/schedule") == {}


@pytest.mark.parametrize("schedule", [{"type": "Custom", "cron": "0 0 * * *"}, {"type": "Custom"}])
async def test_schedules_that_make_no_sense(api: Any, schedule: dict[str, Any]) -> None:
    await api.call("POST", "/system/gc/schedule", 400, {"schedule": schedule})


@pytest.mark.parametrize("body", [{}, {"schedule": {}}, {"schedule": {"type": "Yearly"}}, {"schedule": None}, []])
async def test_requests_that_are_no_schedule(api: Any, body: Any) -> None:
    await api.call("POST", "/system/gc/schedule", 422, body)


async def test_the_schedule_of_the_collection(api: Any) -> None:
    assert await api.get("/system/gc/schedule") == {}
    body = {"schedule": {"type": "Daily", "cron": "0 0 0 * * *"}, "parameters": {"dry_run": False, "workers": 2}}
    answer = expect(await api.answer("POST", "/system/gc/schedule", body), 201)
    assert answer.headers["location"] == "/api/v2.0/system/gc/schedule"
    found = await api.get("/system/gc/schedule")
    assert MOMENT.fullmatch(found["schedule"].pop("next_scheduled_time"))
    assert found["schedule"] == {"type": "Daily", "cron": "0 0 0 * * *"}
    assert msgspec.json.decode(found["job_parameters"])["workers"] == 2
    await api.call("PUT", "/system/gc/schedule", 200, {"schedule": {"type": "Custom", "cron": "0 30 4 * * 6"}})
    assert (await api.get("/system/gc/schedule"))["schedule"]["cron"] == "0 30 4 * * 6"
    await api.call("PUT", "/system/gc/schedule", 200, {"schedule": {"type": "None"}})
    assert await api.get("/system/gc/schedule") == {}


async def test_a_collection_is_one_of_its_own_kind(opened: Any) -> None:
    """A number of another job is none of a collection: who may stop collections must not stop replications."""
    works = Works()
    api = await opened(works)
    execution, _ = await begun(api, works)
    for method, path in (("GET", ""), ("PUT", ""), ("GET", "/log")):
        await api.call(method, f"/system/gc/{execution}{path}", 404)
    works.let_go.set()
    assert (await ended(api, execution))["status"] == "Success"


# ---- who may ----

MAY: dict[tuple[str, str], list[tuple[str, str, Any]]] = {
    ("jobservice-monitor", "list"): [
        ("GET", "/jobservice/pools", None),
        ("GET", "/jobservice/pools/all/workers", None),
        ("GET", "/jobservice/queues", None),
        ("GET", "/jobservice/jobs/1/log", None),
        ("GET", "/schedules", None),
        ("GET", "/schedules/all/paused", None),
        ("GET", "/jobs", None),
        ("GET", "/jobs/1", None),
        ("GET", "/jobs/1/tasks", None),
        ("GET", "/jobs/1/tasks/1/log", None),
        ("GET", "/jobs/schedules", None),
        ("GET", "/nodes", None),
    ],
    ("jobservice-monitor", "stop"): [
        ("PUT", "/jobservice/jobs/1", None),
        ("PUT", "/jobservice/queues/all", {"action": "resume"}),
        ("POST", "/jobs/1/stop", None),
    ],
    ("garbage-collection", "list"): [("GET", "/system/gc", None)],
    ("garbage-collection", "read"): [
        ("GET", "/system/gc/1", None),
        ("GET", "/system/gc/1/log", None),
        ("GET", "/system/gc/schedule", None),
    ],
    ("garbage-collection", "create"): [("POST", "/system/gc/schedule", {"schedule": {"type": "None"}})],
    ("garbage-collection", "update"): [("PUT", "/system/gc/schedule", {"schedule": {"type": "None"}})],
    ("garbage-collection", "stop"): [("PUT", "/system/gc/1", None)],
}


@pytest.mark.parametrize("right", [None, *MAY], ids=str)
async def test_who_has_one_right_may_that_and_nothing_else(opened: Any, people: Any, right: Any) -> None:
    given = () if right is None else (Grant("system", right[0], frozenset({right[1]})),)
    people["one"] = Person(PASSWORD, grants=given)
    api = await opened(jobs=slots(0))
    async with type(api)(api.registry, Credentials("one", PASSWORD)).client as client:
        for needed, calls in MAY.items():
            for method, path, body in calls:
                content = b"" if body is None else msgspec.json.encode(body)
                answer = await client.request(method, f"/api/v2.0{path}", content=content)
                assert (answer.status_code == 403) is (needed != right), (method, path, answer.status_code)


async def test_jobs_are_started_by_those_who_may_start_that_kind(opened: Any, people: Any) -> None:
    watch = Grant("system", "jobservice-monitor", frozenset({"list", "stop"}))
    people["watcher"] = Person(PASSWORD, grants=(watch,))
    people["collector"] = Person(PASSWORD, grants=(watch, Grant("system", "garbage-collection", frozenset({"create"}))))
    api = await opened(Works(), jobs=slots(0))
    collection, work = {"kind": "GARBAGE_COLLECTION"}, {"kind": "WORK"}
    for who, body, status in (
        ("watcher", collection, 403),
        ("watcher", work, 403),
        ("collector", collection, 201),
        ("collector", work, 403),
    ):
        somebody = type(api)(api.registry, Credentials(who, PASSWORD))
        async with somebody.client:
            await somebody.call("POST", "/jobs", status, body)
    (execution,) = await api.get("/jobs")
    await api.call("POST", f"/jobs/{execution['id']}/stop")
    somebody = type(api)(api.registry, Credentials("watcher", PASSWORD))
    async with somebody.client:
        await somebody.call("POST", f"/jobs/{execution['id']}/retry", 403)
    await api.call("POST", "/jobs", 404, {"kind": "NOTHING"})
    await api.call("POST", "/jobs", 400, {"kind": "GARBAGE_COLLECTION", "parameters": {"dryrun": True}})


async def test_nobody_is_asked_to_sign_in(as_nobody: Any) -> None:
    for calls in MAY.values():
        for method, path, body in calls:
            await as_nobody.call(method, path, 401, body)
