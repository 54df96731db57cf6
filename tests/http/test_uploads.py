"""The end of an upload: its last request repeated, cut off, overtaken; and all of it in one request."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from corereg import Digest, Registry, StorageFull, StorageUnavailable, asgi
from corereg.oci.errors import RangeInvalid
from corereg.store.database import DatabaseBusy
from corereg.store.schema import uploads
from corereg.testing.client import Credentials, RegistryClient, expect, with_query
from corereg.testing.registry import Person, scratch

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("every_database")]
PASSWORD = "a Password for tests only 1"
WHERE = "demo/app"
DATA = b"0123456789abcdef" * 200_000
"""Too large to be held whole."""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, people={"admin": Person(PASSWORD)}) as opened:
        yield opened


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as opened:
        yield opened


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def rows(registry: Registry) -> list[Any]:
    return [tuple(row) for row in await registry.database.rows(sa.select(uploads.c.id, uploads.c.writer))]


def fail_once(registry: Registry, patch: pytest.MonkeyPatch) -> None:
    """The next transaction that changes something ends as those do that another one was in the way of."""
    real = registry.journal.append

    async def append(*arguments: Any) -> None:
        patch.setattr(registry.journal, "append", real)
        message = "another change was made at the same moment; do it again"
        raise DatabaseBusy(message)

    patch.setattr(registry.journal, "append", append)


@pytest.mark.parametrize(
    ("sent", "last", "ranged"),
    [
        (DATA, b"", False),
        (b"", DATA, False),
        (b"", DATA[:1000], False),
        (DATA[:-1000], DATA[-1000:], False),
        (DATA[:-1000], DATA[-1000:], True),
    ],
    ids=["nothing", "all", "a small blob", "the rest", "the rest, and from where on"],
)
async def test_the_last_request_can_be_repeated_when_its_rows_could_not_be_written(
    registry: Registry,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
    last: bytes,
    *,
    ranged: bool,
) -> None:
    location = await client.start_upload(WHERE)
    if sent:
        location = expect(await client.request("PATCH", location, content=sent), 202).headers["location"]
    name = str(Digest.of(sent + last))
    target = with_query(location, digest=name)
    headers = {"Content-Range": f"{len(sent)}-{len(sent) + len(last) - 1}"} if ranged else {}
    fail_once(registry, monkeypatch)
    answer = await client.request("PUT", target, content=last, headers=headers)
    assert expect(answer, 503).headers["retry-after"] == "5"
    told = expect(await client.request("GET", location), 204)
    assert told.headers["range"] == f"0-{len(sent + last) - 1}"
    expect(await client.request("PATCH", location, content=b"more"), 416)
    expect(await client.request("PUT", target, content=last, headers=headers), 201)
    assert await client.pull_blob(WHERE, name) == sent + last
    assert await rows(registry) == []


async def test_a_push_that_is_cut_off_in_its_last_transaction_gives_its_claim_back(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = registry.session()
    upload = await session.start_upload(WHERE)
    began = anyio.Event()

    async def append(*_: Any) -> None:
        began.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(registry.journal, "append", append)
    task = asyncio.create_task(session.finish_upload(upload, Digest.of(b"ab"), chunks(b"ab"), length=2))
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    monkeypatch.undo()
    assert await rows(registry) == [(upload.id, None)]
    upload = await session.upload(WHERE, upload.id)
    blob = await session.finish_upload(upload, Digest.of(b"ab"), chunks(b"ab"), length=2)
    assert blob.size == 2


async def test_a_push_that_was_overtaken_leaves_the_upload_to_the_other_one(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still for longer than its lease: what the upload is now is not its own."""
    session = registry.session()
    upload = await session.start_upload(WHERE)
    upload = await session.append(upload, chunks(b"ab"), start=None, length=None)
    real = registry.storage.commit

    async def commit(*arguments: Any) -> str:
        async with registry.database.transaction() as tx:
            await tx.execute(sa.update(uploads).values(writer="the other one"))
        return await real(*arguments)

    monkeypatch.setattr(registry.storage, "commit", commit)
    with pytest.raises(RangeInvalid):
        await session.finish_upload(upload, Digest.of(b"ab"), None)
    assert await rows(registry) == [(upload.id, "the other one")]


# ---- POST with ?digest=: nobody is told the address of an upload that fails ----


def whole(data: bytes) -> str:
    return f"/v2/{WHERE}/blobs/uploads/?digest={Digest.of(data)}"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("no room is left"), 507),
        (StorageUnavailable("the disk fails"), 503),
        (DatabaseBusy("another change was made at the same moment; do it again"), 503),
    ],
)
@pytest.mark.parametrize("data", [DATA, DATA[:1000]], ids=["large", "small"])
async def test_a_blob_in_one_request_that_cannot_be_stored_is_forgotten(
    registry: Registry,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    error: Exception,
    status: int,
) -> None:
    async def fails(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        if isinstance(error, DatabaseBusy):
            patch.setattr(registry.journal, "append", fails)
        else:
            patch.setattr(registry.storage, "put", fails)
            patch.setattr(registry.storage, "commit", fails)
        answer = expect(await client.request("POST", whole(data), content=data), status)
    assert "location" not in answer.headers
    assert await rows(registry) == []
    assert [each async for each in registry.storage.uploads()] == []
    expect(await client.request("POST", whole(data), content=data), 201)


@pytest.mark.parametrize("data", [DATA, DATA[:1000]], ids=["large", "small"])
@pytest.mark.parametrize("step", ["left", "body", "storage", "rows"])
async def test_a_blob_in_one_request_whose_client_leaves_is_forgotten(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, data: bytes, step: str
) -> None:
    """A server says so in place of the body, or cancels the task of the request."""
    reached = anyio.Event()

    async def stands_still(*_: Any) -> Any:
        reached.set()
        await anyio.sleep_forever()

    pieces = [data[: len(data) // 2], data[len(data) // 2 :]]

    async def receive() -> dict[str, Any]:
        if step == "left" and len(pieces) == 1:
            return {"type": "http.disconnect"}
        if step == "body" and len(pieces) == 1:
            await stands_still()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    if step == "storage":
        monkeypatch.setattr(registry.storage, "put", stands_still)
        monkeypatch.setattr(registry.storage, "commit", stands_still)
    if step == "rows":
        monkeypatch.setattr(registry.journal, "append", stands_still)
    path, _, query = whole(data).partition("?")
    signed = b"Basic " + base64.b64encode(f"admin:{PASSWORD}".encode())
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"authorization", signed), (b"content-length", str(len(data)).encode())],
        "client": ("127.0.0.1", 49152),
        "server": ("registry.test", 80),
    }
    task = asyncio.create_task(asgi(registry)(scope, receive, send))
    if step != "left":
        with anyio.fail_after(20):
            await reached.wait()
        assert [writer is not None for _, writer in await rows(registry)] == [True]
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is (step != "left")
    assert [message["status"] for message in sent[:1]] == ([400] if step == "left" else []), "the body broke off"
    assert await rows(registry) == []
    assert [each async for each in registry.storage.uploads()] == []
