"""Any node may answer any request: uploads, tags, rights, jobs and schedules are the same on all of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime

import anyio
import httpx2
import pytest

from corereg.access import Action
from corereg.store.jobs import ENDED
from corereg.store.listing import Listing
from corereg.testing.serving import ADMINISTRATOR, PASSWORD
from tests.crash.client import MANIFEST, digest

from .nodes import Cluster, client, token

SCOPE = "repository:many/app:pull,push,delete"
START = Action("garbage-collection", "create")
WITHIN = 5.0
"""Seconds in which a change of rights must hold on every node."""


def manifest(config: bytes, *layers: bytes) -> bytes:
    described = [
        {"mediaType": "application/x", "digest": digest(data), "size": len(data)} for data in (config, *layers)
    ]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    ).encode()


def push_blob(http: httpx2.Client, repository: str, data: bytes) -> None:
    start = http.post(f"/v2/{repository}/blobs/uploads/")
    assert start.status_code == 202, start.text
    done = http.put(start.headers["location"], params={"digest": digest(data)}, content=data)
    assert done.status_code == 201, done.text


def put_manifest(http: httpx2.Client, repository: str, tag: str, body: bytes) -> httpx2.Response:
    return http.put(f"/v2/{repository}/manifests/{tag}", content=body, headers={"Content-Type": MANIFEST})


def test_three_nodes_that_start_at_once_on_an_empty_database(cluster: Cluster) -> None:
    logs = cluster.logs()
    assert logs.count("First start: the administrator admin was made") == 1
    tokens = [token(node.url, SCOPE) for node in cluster.nodes]
    for node in cluster.nodes:
        for each in tokens:  # the key of one node is known to the others
            with client(node.url, each) as http:
                assert http.get("/v2/").status_code == 200


def test_pieces_of_one_upload_on_different_nodes(cluster: Cluster) -> None:
    bearer = token(cluster.url, SCOPE)
    pieces = [bytes([number]) * (300_000 + number) for number in range(7)]
    data = b"".join(pieces)
    start = httpx2.post(
        f"{cluster.turn().url}/v2/many/app/blobs/uploads/", headers={"Authorization": f"Bearer {bearer}"}
    )
    location, sent = start.headers["location"], 0
    assert location.startswith("/"), "relative, so that it leads to whoever was asked"
    for piece in pieces[:-1]:
        with client(cluster.turn().url, bearer) as http:
            wrong = http.patch(
                location, content=b"x", headers={"Content-Range": f"{sent + 5}-{sent + 5}", "Content-Length": "1"}
            )
            assert wrong.status_code == 416
        with client(cluster.turn().url, bearer) as http:
            answer = http.patch(location, content=piece, headers={"Content-Range": f"{sent}-{sent + len(piece) - 1}"})
            assert answer.status_code == 202, answer.text
        sent += len(piece)
        with client(cluster.turn().url, bearer) as http:
            assert http.get(location).headers["range"] == f"0-{sent - 1}"
        location = answer.headers["location"]
    with client(cluster.turn().url, bearer) as http:
        done = http.put(location, params={"digest": digest(data)}, content=pieces[-1])
        assert done.status_code == 201, done.text
        assert done.headers["docker-content-digest"] == digest(data)
    for node in cluster.nodes:
        with client(node.url, bearer) as http:
            assert http.get(f"/v2/many/app/blobs/{digest(data)}").content == data


def test_a_wrong_digest_is_found_by_the_node_that_has_seen_only_the_end(cluster: Cluster) -> None:
    bearer = token(cluster.url, SCOPE)
    first, second = (client(node.url, bearer) for node in cluster.nodes[:2])
    with first, second:
        location = first.post("/v2/many/app/blobs/uploads/").headers["location"]
        assert first.patch(location, content=b"one").status_code == 202
        answer = second.put(location, params={"digest": digest(b"twothree")}, content=b"three")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"


def test_one_upload_has_one_writer_over_all_nodes(cluster: Cluster) -> None:
    """Two nodes get the same piece at the same time: one takes it, and the bytes are there once."""
    bearer = token(cluster.url, SCOPE)
    piece = b"p" * 2_000_000
    with client(cluster.url, bearer) as http:
        location = http.post("/v2/many/app/blobs/uploads/").headers["location"]

    async def both() -> list[int]:
        statuses: list[int] = []

        async def send(url: str) -> None:
            async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, timeout=30) as http:
                statuses.append((await http.patch(f"{url}{location}", content=piece)).status_code)

        async with anyio.create_task_group() as group:
            for node in cluster.nodes:
                group.start_soon(send, node.url)
        return statuses

    statuses = anyio.run(both)
    assert set(statuses) <= {202, 416}
    with client(cluster.url, bearer) as http:
        taken = len(piece) * statuses.count(202)
        assert http.get(location).headers["range"] == f"0-{taken - 1}"
        assert http.put(location, params={"digest": digest(piece * statuses.count(202))}).status_code == 201


def test_what_one_node_changed_the_next_one_reads(cluster: Cluster) -> None:
    bearer = token(cluster.url, SCOPE)
    first, second, third = (client(node.url, bearer) for node in cluster.nodes)
    with first, second, third:
        push_blob(first, "many/app", b"config")
        for number in range(10):
            body = manifest(b"config") + b" " * number
            assert put_manifest(first, "many/app", "moving", body).status_code == 201
            for other in (second, third):
                found = other.get("/v2/many/app/manifests/moving")
                assert found.headers["docker-content-digest"] == digest(body)
        assert second.delete("/v2/many/app/manifests/moving").status_code == 202
        assert third.get("/v2/many/app/manifests/moving").status_code == 404
        assert first.get("/v2/many/app/manifests/moving").status_code == 404


def test_rights_that_were_taken_away_on_one_node_are_gone_on_all(cluster: Cluster) -> None:
    first, *others = cluster.nodes
    name, secret = "carol", "Carols own password 1"
    made = httpx2.post(
        f"{first.url}/api/v2.0/users",
        auth=(ADMINISTRATOR, PASSWORD),
        json={"username": name, "password": secret, "email": "carol@example.com", "realname": "C"},
        timeout=20,
    )
    assert made.status_code == 201, made.text
    user = made.headers["location"]
    for node in others:  # at once, though nobody told them
        token(node.url, user=name, password=secret)
    old = token(others[0].url, user=name, password=secret)
    with client(others[1].url, old) as http:
        assert http.get("/v2/").status_code == 200
    gone = httpx2.delete(f"{first.url}{user}", auth=(ADMINISTRATOR, PASSWORD), timeout=20)
    assert gone.status_code == 200, gone.text
    until = time.monotonic() + WITHIN
    with client(others[1].url, old) as http:
        while http.get("/v2/").status_code != 401:
            assert time.monotonic() < until, "the token is still believed"
            time.sleep(0.1)
    for node in others:
        refused = httpx2.get(f"{node.url}/service/token", auth=(name, secret), timeout=20)
        assert refused.status_code == 401


@pytest.mark.anyio
async def test_a_schedule_fires_once_over_all_nodes(cluster: Cluster) -> None:
    since = time.time_ns() // 1000  # a tick whose node was killed by another test may have run twice
    async with cluster.watching() as watching:
        with anyio.fail_after(30):
            while True:
                every, _ = await watching.history.executions(Listing(page_size=0), kind="TICK")
                found = [each for each in every if each.created_at >= since and each.status in ENDED]
                if len(found) >= 6:
                    break
                await anyio.sleep(0.2)
        alive = {each.process for each in await watching.nodes.all()}
        assert {node.process.pid for node in cluster.nodes if node.process} <= alive
    seconds = Counter(datetime.fromtimestamp(each.created_at // 1_000_000, UTC) for each in found)
    assert max(seconds.values()) <= 2, "one each second; the second one may come a little late"
    span = (max(each.created_at for each in found) - min(each.created_at for each in found)) / 1_000_000
    assert len(found) <= span + 2
    ran = Counter((cluster.folder / "tick").read_text().split())
    assert {ran[str(each.id)] for each in found} == {1}
