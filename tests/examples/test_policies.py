"""Policies of one file: each in a registry, asked by a client."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec
import pytest
import sqlalchemy as sa

from corereg import Database, asgi
from corereg.config import ServerConfig
from corereg.testing.client import (
    EMPTY,
    OCI_CONFIG,
    AppTransport,
    Content,
    RegistryClient,
    blob,
    expect,
    image,
    index,
)

from .conftest import EXAMPLES, OpenHouse

pytestmark = pytest.mark.anyio

BASE = "org.opencontainers.image.base.name"
GOLDEN = "registry.example.com/golden/debian:13"
CONFIG = Content(OCI_CONFIG, b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}')
LAYER = blob(b"one layer")


def message(answer: httpx2.Response) -> str:
    """What a person reads."""
    return str(answer.json()["errors"][0]["message"])


async def push(client: RegistryClient, repository: str, tag: str, **fields: Any) -> httpx2.Response:
    """Push an image with a real config; the answer to its manifest."""
    for each in (CONFIG, LAYER):
        await client.push_blob(repository, each.body)
    return await client.put_manifest(repository, tag, image(CONFIG, [LAYER], **fields))


# ---- golden_base ----


async def test_an_image_on_a_golden_base_is_pushed_and_pulled(open_house: OpenHouse) -> None:
    async with open_house("golden_base") as (_, client):
        expect(await push(client, "demo/app", "1", annotations={BASE: GOLDEN}), 201)
        expect(await client.get_manifest("demo/app", "1"), 200)


@pytest.mark.parametrize("annotations", [{}, {BASE: "docker.io/library/debian:13"}], ids=["unsaid", "another"])
async def test_an_image_on_another_base_is_refused(open_house: OpenHouse, annotations: dict[str, str]) -> None:
    async with open_house("golden_base") as (_, client):
        refused = expect(await push(client, "demo/app", "1", annotations=annotations), 403, code="DENIED")
        assert "build it on an image of registry.example.com/golden/" in message(refused)
        expect(await client.get_manifest("demo/app", "1"), 404)


async def test_what_is_no_image_needs_no_base(open_house: OpenHouse) -> None:
    async with open_house("golden_base") as (_, client):
        expect(await push(client, "demo/app", "1", annotations={BASE: GOLDEN}), 201)
        subject = image(CONFIG, [LAYER], annotations={BASE: GOLDEN})
        signature = image(EMPTY, [LAYER], subject=subject.descriptor(), artifactType="application/x.signature")
        await client.push("demo/app", None, signature, EMPTY)
        await client.push("demo/app", "both", index([subject]))


def test_a_policy_is_fifteen_lines() -> None:
    text = (EXAMPLES / "golden_base.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    documented: list[ast.Module | ast.AsyncFunctionDef] = [
        tree,
        *(node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)),
    ]
    prose = {line for node in documented for line in _docstring(node)}
    written = [number for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in prose]
    assert len(written) <= 15


def _docstring(node: ast.Module | ast.AsyncFunctionDef) -> range:
    first = node.body[0]
    assert isinstance(first, ast.Expr)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


# ---- audit_lines ----


async def test_what_happens_is_written_down(
    open_house: OpenHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "audit.jsonl"
    monkeypatch.setenv("AUDIT_FILE", str(file))
    async with open_house("audit_lines") as (registry, client), visitor(asgi(registry), OUTSIDE) as anybody:
        await client.push_image("demo/app", "1")
        await client.push_blob("demo/app", b"")
        expect(await anybody.get("/v2/demo/app/tags/list"), 401)
        expect(await client.get_manifest("demo/app", "1"), 200)
        with anyio.fail_after(10):
            while not of_kind(file, "manifest.pull"):
                await anyio.sleep(0.05)
    (pulled,) = of_kind(file, "manifest.pull")
    (pushed,) = of_kind(file, "manifest.push")
    assert (pushed["actor"], pushed["repository"], pushed["tags"]) == ("admin", "demo/app", ["1"])
    assert (pulled["digest"], pulled["address"]) == (pushed["digest"], "127.0.0.1")
    (refused,) = (each for each in of_kind(file, "access.refused") if each["address"] == OUTSIDE)
    assert (refused["actor"], refused["details"]) == ("anonymous", {"action": "pull repository at demo/app"})
    assert of_kind(file, "blob.push")[-1]["size"] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert len({each["serial"] for each in lines(file)}) == len(lines(file))


async def test_a_disk_that_refuses_holds_back_the_lines_and_nobody_else(
    open_house: OpenHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "not yet" / "audit.jsonl"
    monkeypatch.setenv("AUDIT_FILE", str(file))
    async with open_house("audit_lines") as (_, client):
        await client.push_image("demo/app", "1")
        file.parent.mkdir()
        with anyio.fail_after(20):
            while not of_kind(file, "manifest.push"):
                await anyio.sleep(0.1)


def lines(file: Path) -> list[dict[str, Any]]:
    """What the file says so far."""
    text = file.read_bytes() if file.exists() else b""
    return [msgspec.json.decode(line) for line in text.splitlines()]


def of_kind(file: Path, kind: str) -> list[dict[str, Any]]:
    return [each for each in lines(file) if each["kind"] == kind]


# ---- push_budget ----


def a_day(pushes: int) -> dict[str, Any]:
    """The plugin's table of the configuration."""
    return {"tables": {"push_budget": {"pushes_a_day": pushes}}}


async def test_a_namespace_that_used_up_its_pushes_is_refused(open_house: OpenHouse) -> None:
    async with open_house("push_budget", **a_day(2)) as (registry, client):
        assert [(await push(client, "demo/app", tag)).status_code for tag in ("1", "2")] == [201, 201]
        refused = expect(await push(client, "demo/other", "3"), 403, code="DENIED")
        assert message(refused).startswith("demo has used up its 2 pushes of today")
        expect(await client.get_manifest("demo/other", "3"), 404)
        expect(await push(client, "elsewhere/app", "1"), 201)
        expect(await client.request("DELETE", "/v2/demo/app/manifests/1"), 202)
        await set_back_one_day(registry.database)
        expect(await push(client, "demo/app", "4"), 201)


async def test_the_count_outlives_the_process(open_house: OpenHouse) -> None:
    async with open_house("push_budget", **a_day(1)) as (_, client):
        expect(await push(client, "demo/app", "1"), 201)
    async with open_house("push_budget", **a_day(1)) as (_, client):
        expect(await push(client, "demo/app", "2"), 403)


async def test_no_race_gets_past_the_limit(open_house: OpenHouse) -> None:
    statuses: list[int] = []
    async with open_house("push_budget", **a_day(3)) as (_, client):
        await client.push_blob("demo/app", EMPTY.body)

        async def put(tag: str) -> None:
            statuses.append((await client.put_manifest("demo/app", tag, image(annotations={"n": tag}))).status_code)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(put, str(number))
    assert sorted(statuses) == [201] * 3 + [403] * 5


async def set_back_one_day(database: Database) -> None:
    """As if the counts were yesterday's."""
    async with database.transaction() as tx:
        await tx.execute(sa.text("UPDATE push_budget_counts SET day = day - 1"))


# ---- build_agents ----

AGENTS = "10.7.0.0/16,fd07::/16"
INSIDE, OUTSIDE = "10.7.0.9", "192.0.2.9"
AGENT = {"X-Build-Agent": "agent-7"}


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        (INSIDE, AGENT, 200),
        ("::ffff:10.7.0.9", AGENT, 200),
        ("fd07::9", AGENT, 200),
        (OUTSIDE, AGENT, 401),
        ("", AGENT, 401),
        (INSIDE, {}, 401),
        (INSIDE, {"X-Build-Agent": "admin"}, 401),
        (INSIDE, {"X-Build-Agent": "agent-7, agent-8"}, 401),
        (INSIDE, AGENT | {"X-Forwarded-For": OUTSIDE}, 401),  # a proxy nobody named
        ("::ffff:10.7.0.9", AGENT | {"X-Forwarded-For": OUTSIDE}, 401),
        (INSIDE, AGENT | {"Forwarded": "for=192.0.2.9"}, 401),
        (OUTSIDE, AGENT | {"X-Forwarded-For": INSIDE}, 401),  # anybody can write that
        (INSIDE, AGENT | {"Authorization": "Bearer x.y.z"}, 401),
    ],
)
async def test_a_header_is_believed_from_one_network(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch, address: str, headers: dict[str, str], status: int
) -> None:
    monkeypatch.setenv("AGENT_NETWORKS", AGENTS)
    async with open_house("build_agents") as (registry, _), visitor(asgi(registry), address) as client:
        expect(await client.get("/v2/", headers=headers), status)


def visitor(app: Any, address: str) -> httpx2.AsyncClient:
    """Somebody at that address."""
    return httpx2.AsyncClient(transport=AppTransport(app, client=(address, 40000)), base_url="http://registry.test")


async def test_an_agent_does_its_work_and_no_more(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_NETWORKS", AGENTS)
    async with open_house("build_agents") as (registry, admin):
        await admin.push_image("demo/app", "1")
        async with visitor(asgi(registry), INSIDE) as agent:
            expect(await agent.post("/v2/builds/app/blobs/uploads/", headers=AGENT), 202)
            expect(await agent.post("/v2/demo/app/blobs/uploads/", headers=AGENT), 403, code="DENIED")
            expect(await agent.get("/v2/demo/app/manifests/1", headers=AGENT), 403, code="DENIED")
            expect(await agent.delete("/v2/builds/app/manifests/1", headers=AGENT), 403, code="DENIED")


@pytest.mark.parametrize(("client", "status"), [(INSIDE, 200), (OUTSIDE, 401), (f"{INSIDE}, {OUTSIDE}", 401)])
async def test_behind_a_proxy_that_is_named_the_address_is_the_clients(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch, client: str, status: int
) -> None:
    monkeypatch.setenv("AGENT_NETWORKS", f"{AGENTS},10.9.0.0/16")  # the proxy stands among the agents
    server = ServerConfig(trusted_proxies=("10.9.0.1",))
    async with open_house("build_agents", server=server) as (registry, _), visitor(asgi(registry), "10.9.0.1") as proxy:
        expect(await proxy.get("/v2/", headers=AGENT | {"X-Forwarded-For": client}), status)


async def test_without_a_network_nobody_is_an_agent(open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_NETWORKS", raising=False)
    async with open_house("build_agents") as (registry, _), visitor(asgi(registry), "127.0.0.1") as client:
        expect(await client.get("/v2/", headers=AGENT), 401)


# ---- maintenance_banner ----


async def test_while_the_banner_hangs_nobody_pushes(
    open_house: OpenHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "banner.txt"
    monkeypatch.setenv("BANNER_FILE", str(file))
    sentence = "The registry moves to a new disk until 18:00"
    async with open_house("maintenance_banner") as (registry, client), visitor(asgi(registry), OUTSIDE) as anybody:
        assert expect(await anybody.get("/banner"), 200).json() == {"message": None}
        await client.push_image("demo/app", "1")

        file.write_text(f"{sentence}\n", encoding="utf-8")
        assert expect(await anybody.get("/banner"), 200).json() == {"message": sentence}
        refused = expect(await client.request("POST", "/v2/demo/app/blobs/uploads/"), 403, code="DENIED")
        assert message(refused) == sentence
        expect(await client.request("DELETE", "/v2/demo/app/manifests/1"), 403)
        expect(await client.get_manifest("demo/app", "1"), 200)

        file.unlink()
        expect(await client.request("DELETE", "/v2/demo/app/manifests/1"), 202)


async def test_a_banner_nobody_can_read_refuses_pushes(
    open_house: OpenHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "banner.txt").mkdir()
    monkeypatch.setenv("BANNER_FILE", str(tmp_path / "banner.txt"))
    async with open_house("maintenance_banner") as (_, client):
        expect(await client.request("POST", "/v2/demo/app/blobs/uploads/"), 403)
