"""``/metrics`` of a registry in this process: who may read it, and what it counts."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from corereg import FsspecStorage, KeyMissing, Registry, Storage, StorageUnavailable, asgi, hookimpl
from corereg.config import LogConfig, MetricsConfig
from corereg.http import metrics
from corereg.metrics import Metrics
from corereg.store.database import DatabaseUnavailable
from corereg.store.jobs import Job, Task
from corereg.store.measured import measure
from corereg.testing.client import AppTransport
from corereg.testing.registry import Person, scratch
from corereg.tracing import OFF

from .test_families import samples

pytestmark = pytest.mark.anyio

TOKEN = "a token for tests only"
ADMIN = ("admin", "a password for tests only")
PEOPLE = {"admin": Person(ADMIN[1]), "bob": Person("another password", grants=())}


class Work:
    """A plugin with a job that ends at once, and one that fails."""

    name = "work"

    @hookimpl
    def provide_jobs(self) -> list[Job]:
        async def work(task: Task) -> None:
            if task.parameters.get("fail"):
                raise ValueError("as it was told to")

        return [Job(kind="WORK", title="Work", handler=work, attempts=1)]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    config = {"metrics": MetricsConfig(token=TOKEN), "log": LogConfig(access=True)}
    async with scratch(tmp_path, Work(), people=PEOPLE, **config) as registry:
        yield registry


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx2.AsyncClient]:
    transport = AppTransport(asgi(registry))
    async with httpx2.AsyncClient(transport=transport, base_url="http://registry", auth=ADMIN) as client:
        yield client


async def scraped(client: httpx2.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.content)


async def push(client: httpx2.AsyncClient, content: bytes, digest: str | None = None) -> httpx2.Response:
    place = (await client.post("/v2/demo/app/blobs/uploads/")).headers["location"]
    mark = "&" if "?" in place else "?"
    digest = digest or f"sha256:{hashlib.sha256(content).hexdigest()}"
    return await client.put(f"{place}{mark}digest={digest}", content=content)


@pytest.mark.parametrize(
    ("auth", "headers", "status"),
    [
        (None, {}, 401),
        (None, {"Authorization": "Bearer wrong"}, 401),
        (None, {"Authorization": f"Bearer {TOKEN}x"}, 401),
        (None, {"Authorization": f"Bearer {TOKEN}"}, 200),
        (("bob", "another password"), {}, 403),
        (ADMIN, {}, 200),
    ],
)
async def test_who_may_read_it(registry, auth, headers, status) -> None:
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry") as client:
        assert (await client.get("/metrics", headers=headers, **({"auth": auth} if auth else {}))).status_code == status


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with scratch(tmp_path, metrics=MetricsConfig(enabled=False)) as registry:
        transport = AppTransport(asgi(registry))
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry", auth=ADMIN) as client:
            assert (await client.get("/metrics")).status_code == 404


async def test_a_request_is_counted_by_what_answers_it_and_never_by_its_path(client: httpx2.AsyncClient) -> None:
    content = b"x" * 1000
    pushed = await push(client, content)
    assert pushed.status_code == 201
    assert (await client.get(pushed.headers["location"])).content == content
    assert (await client.get("/v2/secret/name/manifests/latest")).status_code == 404
    assert (await client.get("/nowhere/secret")).status_code == 404
    found = await scraped(client)
    assert found['corereg_http_requests_total{method="PUT",operation="finish",code="201"}'] == 1
    assert found['corereg_http_requests_total{method="GET",operation="get_manifest",code="404"}'] == 1
    assert found['corereg_http_requests_total{method="GET",operation="unknown",code="404"}'] == 1
    assert found['corereg_http_request_bytes_total{operation="finish"}'] == 1000
    assert found['corereg_http_response_bytes_total{operation="get_blob"}'] == 1000
    assert found['corereg_http_request_duration_seconds_count{method="GET",operation="get_blob"}'] == 1
    assert found["corereg_http_requests_running"] == 1, "this one"
    assert not any("secret" in name or "demo" in name for name in found)


async def test_uploads_are_counted_by_how_they_end(client: httpx2.AsyncClient) -> None:
    assert (await push(client, b"one")).status_code == 201
    assert (await push(client, b"two", "sha256:" + "0" * 64)).status_code == 400
    place = (await client.post("/v2/demo/app/blobs/uploads/")).headers["location"]
    assert (await client.delete(place)).status_code == 204
    (await client.post("/v2/demo/app/blobs/uploads/")).raise_for_status()
    found = await scraped(client)
    assert found['corereg_uploads_total{outcome="started"}'] == 4
    assert found['corereg_uploads_total{outcome="committed"}'] == 1
    assert found['corereg_uploads_total{outcome="failed"}'] == 1
    assert found['corereg_uploads_total{outcome="cancelled"}'] == 1
    assert found["corereg_uploads_open"] == 1
    assert found["corereg_uploads_receiving"] == 0


async def test_storage_is_timed_and_its_bytes_are_counted(client: httpx2.AsyncClient) -> None:
    pushed = await push(client, b"x" * 70_000)
    assert (await client.get(pushed.headers["location"])).status_code == 200
    found = await scraped(client)
    assert found['corereg_storage_operation_duration_seconds_count{operation="begin"}'] == 1
    assert found['corereg_storage_bytes_total{direction="written"}'] == 70_000
    assert found['corereg_storage_bytes_total{direction="read"}'] == 70_000


class Slow(FsspecStorage):
    """Puts a whole blob by the contract's own steps."""

    put = Storage.put


class Quick(FsspecStorage):
    """Puts it in one step."""

    async def put(self, upload, state, data, digest, check) -> str:
        return "somewhere"


class Passing(FsspecStorage):
    """Hands on whatever it is given."""

    async def put(self, *arguments, **named) -> str:
        return "somewhere"


@pytest.mark.parametrize("kind", [Slow, Quick, Passing])
async def test_a_whole_blob_is_counted_once_however_it_is_put(kind: type[FsspecStorage]) -> None:
    metrics = Metrics()
    storage = kind(MemoryFileSystem(), "/counted")
    measure(storage, metrics, OFF)
    await storage.put("u", await storage.begin("u"), b"x" * 100, "sha256:" + "0" * 64, lambda: None)
    assert metrics.storage_bytes.values == {("written",): [100]}
    assert metrics.storage.values["put",][-1] > 0
    await storage.close()


async def test_what_the_storage_fails_in_is_counted_by_its_kind() -> None:
    class Away(FsspecStorage):
        async def stat(self, key: str) -> None:
            raise StorageUnavailable("the disk is away")

    metrics = Metrics()
    storage = Away(MemoryFileSystem(), "/away")
    measure(storage, metrics, OFF)
    with pytest.raises(StorageUnavailable):
        await storage.stat("x")
    with pytest.raises(KeyMissing):
        await anext(storage.read("nothing/here"))
    assert set(metrics.storage_errors.values) == {("stat", "StorageUnavailable"), ("read", "missing")}
    await storage.close()


async def test_caches_transactions_journal_and_nodes(registry: Registry, client: httpx2.AsyncClient) -> None:
    asked = {"service": "corereg", "scope": "repository:demo/app:pull"}
    token = (await client.get("/service/token", params=asked)).json()["token"]
    async with httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry") as bearer:
        for _ in range(3):
            await bearer.get("/v2/demo/app/tags/list", headers={"Authorization": f"Bearer {token}"})
    found = await scraped(client)
    assert found['corereg_cache_requests_total{cache="token",result="miss"}'] == 1
    assert found['corereg_cache_requests_total{cache="token",result="hit"}'] == 2
    assert found['corereg_cache_requests_total{cache="password",result="miss"}'] == 1
    assert found['corereg_cache_requests_total{cache="password",result="hit"}'] >= 1
    assert found["corereg_database_transaction_duration_seconds_count"] > 0
    assert found["corereg_database_up"] == 1
    assert any(name.startswith("corereg_build_info{version=") for name in found)


async def test_a_task_is_timed_by_kind_and_outcome(registry: Registry, client: httpx2.AsyncClient) -> None:
    await registry.jobs["WORK"].handler(_task({}))
    with pytest.raises(ValueError, match="told"):
        await registry.jobs["WORK"].handler(_task({"fail": True}))
    found = await scraped(client)
    assert found['corereg_job_duration_seconds_count{kind="WORK",outcome="done"}'] == 1
    assert found['corereg_job_duration_seconds_count{kind="WORK",outcome="failed"}'] == 1
    assert found['corereg_jobs_running{kind="WORK"}'] == 0


def _task(parameters: dict[str, object]) -> Task:
    task = Task.__new__(Task)
    task.__dict__["parameters"] = parameters
    return task


async def test_two_registries_in_one_process_count_apart(tmp_path: Path) -> None:
    async with scratch(tmp_path / "a") as one, scratch(tmp_path / "b") as two:
        for registry, times in ((one, 3), (two, 1)):
            transport = AppTransport(asgi(registry))
            async with httpx2.AsyncClient(transport=transport, base_url="http://registry", auth=ADMIN) as client:
                for _ in range(times):
                    await client.get("/healthz")
                found = await scraped(client)
                name = 'corereg_http_requests_total{method="GET",operation="get_healthz",code="200"}'
                assert found[name] == times


async def test_a_database_that_is_away_is_told_and_the_rest_as_well(registry, client, monkeypatch) -> None:
    async def away(_: Registry) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(metrics, "look_up", away)
    found = await scraped(client)
    assert found["corereg_database_up"] == 0
    assert "corereg_uploads_open" not in found
    assert any(name.startswith("corereg_http_requests_total") for name in await scraped(client))
