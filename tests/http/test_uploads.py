"""The end of an upload: its last request repeated, cut off, overtaken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from corereg import Digest, Registry, asgi
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
