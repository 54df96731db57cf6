"""Nodes are killed, drained and cut off from their database: nothing acknowledged is lost, and everything goes on."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import httpx2
import pytest

from corereg import Action, Registry
from corereg.session import CollectOptions
from corereg.store.jobs import ENDED
from corereg.store.listing import Listing
from corereg.store.work import Silent
from corereg.testing.postgres import Server
from tests.collector.pushing import check_clean, check_whole, keys_of
from tests.crash.client import digest

from .faults import Faults, Mood
from .nodes import Cluster, token
from .pushing import Pusher

pytestmark = pytest.mark.anyio

START = Action("garbage-collection", "create")
WRITERS = 6


@asynccontextmanager
async def pushers(cluster: Cluster, namespace: str) -> AsyncIterator[list[Pusher]]:
    names = [f"{namespace}/writer{number}" for number in range(WRITERS)]
    bearer = token(cluster.url, *(f"repository:{name}:pull,push" for name in names))
    headers = {"Authorization": f"Bearer {bearer}"}
    async with httpx2.AsyncClient(base_url=cluster.url, headers=headers, timeout=30, follow_redirects=True) as http:
        yield [Pusher(http, name, seed) for seed, name in enumerate(names)]


async def push_all(writers: list[Pusher], count: int, enough: anyio.Event) -> None:
    """Push `count` images, and then on until it is `enough`."""

    async def go_on(writer: Pusher) -> None:
        while len(writer.tags) < count // len(writers) or not enough.is_set():
            await writer.push(f"t{len(writer.tags)}")
            await anyio.sleep(writer.random.uniform(0.0, 0.6))  # others work on this machine, too

    async with anyio.create_task_group() as group:
        for writer in writers:
            group.start_soon(go_on, writer)


async def collect_all(registry: Registry) -> None:
    """Everything that nothing needs goes, however young it is."""
    registry.uploads._expire = 0
    await registry.uploads.purge(orphan_age=-1.0)
    await registry.session().collect(Silent(), CollectOptions(grace=0))


async def check_all(cluster: Cluster, writers: list[Pusher], *, full: bool) -> None:
    """What was acknowledged is on every node (else: what one writer wrote, on one of them)."""
    for turn, writer in enumerate(writers):
        for node in cluster.nodes if full else [cluster.nodes[turn % len(cluster.nodes)]]:
            await writer.check(node.url)


async def test_nodes_are_killed_during_pushes_and_jobs(cluster: Cluster, full: bool) -> None:
    """kill -9 of a node every few seconds. What was told to be there is there, on every node; every job has ended once;
    what was left of interrupted uploads goes with the next collection.
    """
    pushes, jobs, kills = (300, 20, 15) if full else (24, 4, 3)
    chance = random.Random()
    enough = anyio.Event()
    async with pushers(cluster, "killed") as writers, cluster.watching() as watching:
        session = watching.session()
        # What other tests have left in the cluster and its repositories need: it stays, and nothing else does.
        await collect_all(watching)
        before = await keys_of(watching)
        started = [
            (await session.start_job("WORK", needs=START, parameters={"n": n})).execution_id for n in range(jobs)
        ]
        async with anyio.create_task_group() as group:
            group.start_soon(push_all, writers, pushes, enough)
            done = 0
            # On a quiet machine requests are short, and a few kills may meet none: then there are more of them.
            while done < kills or (done < 10 * kills and not any(writer.interruptions for writer in writers)):
                done += 1
                await anyio.sleep(chance.uniform(0.2, 1.5))
                node = chance.choice(cluster.nodes)
                await anyio.to_thread.run_sync(node.kill)
                await anyio.sleep(chance.uniform(0.0, 0.5))
                await anyio.to_thread.run_sync(node.start)
            enough.set()
        reasons = sum((writer.interruptions for writer in writers), Counter())
        pushed = sum(len(writer.tags) for writer in writers)
        print(f"{pushed} pushes, {done} kills, tried again: {dict(reasons)}")  # noqa: T201 - for who reads the run
        assert reasons, "no kill met a request: the test means nothing"
        await check_all(cluster, writers, full=full)
        with anyio.fail_after(60):
            while True:
                executions = [await watching.history.execution(each) for each in started]
                if all(each is not None and each.status in ENDED for each in executions):
                    break
                await anyio.sleep(0.2)
        told = Counter(
            event.details["execution"]
            for event in await watching.journal.events(limit=10_000)
            if event.kind == "job.end" and event.details["kind"] == "WORK"
        )
        assert told == dict.fromkeys(started, 1), "each has ended exactly once"
        print(f"jobs: {dict(Counter(each.status for each in executions if each is not None))}")  # noqa: T201 - as above
        for each in started:
            tasks, _ = await watching.history.tasks(each, Listing(page_size=0))
            assert all(task.status in ENDED for task in tasks)
        await anyio.sleep(2.1)  # the uploads' leases of the dead
        await collect_all(watching)
        await check_whole(watching)
        await check_clean(watching, *(data for writer in writers for data in writer.blobs.values()), before=before)


async def test_a_node_that_is_told_to_stop_ends_its_transfer_and_gives_its_job_away(cluster: Cluster) -> None:
    """SIGTERM during a push through nginx: the push ends well, and the job is begun elsewhere before it does."""
    data = b"d" * 3_000_000
    bearer = token(cluster.url, "repository:drain/app:pull,push")
    headers = {"Authorization": f"Bearer {bearer}"}
    ran = cluster.folder / "wait"
    (cluster.folder / "go").unlink(missing_ok=True)
    ran.write_text("")
    async with (
        cluster.watching() as watching,
        httpx2.AsyncClient(headers=headers, timeout=60, follow_redirects=True) as http,
    ):
        started = await watching.session().start_job("WAIT", needs=START)
        with anyio.fail_after(20):
            while not (begun := ran.read_text().split()):
                await anyio.sleep(0.05)
        [node] = [each for each in cluster.nodes if each.process is not None and str(each.process.pid) == begun[0]]
        assert node.process is not None
        # An upload that is under way on that node; nginx would choose one, so we begin with it by its own port.
        location = (await http.post(f"{node.url}/v2/drain/app/blobs/uploads/")).headers["location"]
        going, moved = anyio.Event(), anyio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield data[:1_000_000]
            going.set()
            await moved.wait()
            yield data[1_000_000:]

        statuses: list[int] = []

        async def push() -> None:
            answer = await http.put(f"{node.url}{location}", params={"digest": digest(data)}, content=slowly())
            statuses.append(answer.status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(push)
            await going.wait()
            node.process.terminate()
            with anyio.fail_after(20):
                while len(ran.read_text().split()) < 2:
                    await anyio.sleep(0.05)
            assert node.process.poll() is None, "the push is under way, the node is there for it"
            assert ran.read_text().split()[1] != begun[0]
            # Meanwhile nobody who comes through nginx meets the node that is leaving.
            for _ in range(6):
                assert (await http.get(f"{cluster.url}/v2/")).status_code == 200
            states = {each.process: each.draining for each in await watching.nodes.all()}
            assert states[node.process.pid]
            moved.set()
        assert statuses == [201]
        assert await anyio.to_thread.run_sync(node.process.wait, 20) == 0
        (cluster.folder / "go").touch()
        with anyio.fail_after(20):
            while (
                ended := await watching.history.execution(started.execution_id)
            ) is None or ended.status not in ENDED:
                await anyio.sleep(0.05)
        assert ended.status == "Success"
        got = await http.get(f"{cluster.url}/v2/drain/app/blobs/{digest(data)}")
        assert got.content == data
    await anyio.to_thread.run_sync(node.start)


async def test_postgresql_is_restarted_under_load(cluster: Cluster, postgres: Server, full: bool) -> None:
    """As after a crash of the server, twice: clients hear 503 with a sentence, or wait; then all is well."""
    enough = anyio.Event()
    async with pushers(cluster, "restarted") as writers:
        async with anyio.create_task_group() as group:
            group.start_soon(push_all, writers, 120 if full else 12, enough)
            for _ in range(2):
                await anyio.sleep(0.7)
                await anyio.to_thread.run_sync(postgres.stop, signal.SIGQUIT)
                await anyio.sleep(0.7)
                postgres.start()  # it would end with a worker thread
            await anyio.sleep(0.5)
            enough.set()
        reasons = sum((writer.interruptions for writer in writers), Counter())
        print(f"tried again: {dict(reasons)}")  # noqa: T201 - for who reads the run
        assert reasons, "nobody noticed: the test means nothing"
        await check_all(cluster, writers, full=full)
    async with cluster.watching() as watching:
        before = {each.id for each in (await watching.history.executions(Listing(page_size=0), kind="TICK"))[0]}
        with anyio.fail_after(20):  # jobs go on, too
            while True:
                found = {each.id for each in (await watching.history.executions(Listing(page_size=0), kind="TICK"))[0]}
                if found - before:
                    return
                await anyio.sleep(0.2)


@pytest.mark.parametrize("mood", ["failing", "slow", "cutting"])
async def test_the_store_has_a_bad_day(cluster: Cluster, objects: Faults, mood: Mood) -> None:
    """S3 answers 500, slowly, or hangs up midway: clients hear 503 with a sentence, or wait; then all is well."""
    if objects.url not in cluster.storage:
        pytest.skip("needs the S3 server of these tests")
    enough = anyio.Event()
    met = objects.met
    async with pushers(cluster, f"bad/{mood}") as writers:
        async with anyio.create_task_group() as group:
            group.start_soon(push_all, writers[:3], 6, enough)
            await anyio.sleep(0.5)
            objects.mood = mood
            with anyio.move_on_after(3):
                await enough.wait()
            objects.mood = "well"
            await anyio.sleep(0.5)
            enough.set()
        reasons = sum((writer.interruptions for writer in writers), Counter())
        print(f"{mood}: {objects.met - met} times, tried again: {dict(reasons)}")  # noqa: T201 - for who reads the run
        assert objects.met > met, "nobody noticed: the test means nothing"
        await check_all(cluster, writers[:3], full=False)
