"""The rows that lists are read from: right whatever happened, and read by few statements."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any

import pytest
import sqlalchemy as sa

from corereg import Database, tables
from corereg.testing.client import EMPTY, blob, expect, image, index
from corereg.testing.statements import statements_of
from corereg_management.readmodel import ReadModel

pytestmark = pytest.mark.anyio

HERE = "library/app"
NOW_AND_THEN = re.compile(r"FROM (rights_changes|journal)")
"""What is read from time to time, whoever asks what."""


async def test_what_was_pushed_before_the_plugin_came_is_there(opened) -> None:
    before = await opened(management=False)
    child = await before.push(HERE, None)
    whole = await before.push_index(HERE, "multi", child)
    signature = await before.push(HERE, None, subject=whole.descriptor())
    await before.push(HERE, "v1")
    after = await opened()
    found = await after.get(after.of(HERE, "multi"))
    child_size = (await after.get(after.of(HERE, child.digest)))["size"]
    assert found["size"] == len(whole.body) + child_size
    assert found["references"][0]["child_id"] > 0
    assert len(await after.names(after.of(HERE))) == 2
    assert (await after.get(after.of(HERE, "multi", "accessories")))[0]["digest"] == signature.digest
    (repository,) = await after.get("/projects/library/repositories")
    assert repository["artifact_count"] == 2
    assert found["push_time"] <= (await after.get(after.of(HERE, "v1")))["push_time"]


async def test_it_comes_once(opened) -> None:
    api = await opened()
    await api.push(HERE, "v1")
    assert await ReadModel(api.registry.database).missing() == []
    again = await opened()
    assert await again.get(again.of(HERE, "v1")) == await api.get(api.of(HERE, "v1"))


async def test_what_happened_while_it_was_switched_off_is_made_good(opened) -> None:
    first = await opened()
    moved, tagged, child = [await first.push(HERE, tag) for tag in ("moves", "stays", "child")]
    whole = await first.push_index(HERE, "multi", moved, child)
    await first.settled()
    off = await opened(management=False)
    newer = await off.push(HERE, "moves")
    expect(await off.client.request("DELETE", f"/v2/{HERE}/manifests/child"), 202)
    expect(await off.client.request("DELETE", f"/v2/{HERE}/manifests/{tagged.digest}"), 202)
    again = await opened()
    await again.settled()
    assert await again.names(again.of(HERE)) == [newer.digest, whole.digest]
    off = await opened(management=False)
    expect(await off.client.request("DELETE", f"/v2/{HERE}/manifests/{whole.digest}"), 202)
    again = await opened()
    await again.settled()
    assert set(await again.names(again.of(HERE))) == {newer.digest, moved.digest, child.digest}


async def test_a_refused_push_leaves_no_row(api) -> None:
    expect(await api.client.put_manifest(HERE, "v1", image(EMPTY, [blob(b"is not there")])), 400)
    assert await api.get("/projects/library/repositories") == []


async def cost(database: Database, call: Awaitable[Any]) -> int:
    """How many statements a call reads."""
    with statements_of(database) as seen:
        await call
    return sum(NOW_AND_THEN.search(str(getattr(each, "statement", each))) is None for each in seen)


async def test_a_page_takes_as_many_statements_whatever_it_holds(opened) -> None:
    api = await opened()
    layer = blob(b"the same for all")
    await api.client.push_blob("library/many", layer.body)
    await api.client.push_blob("library/many", EMPTY.body)
    for number in range(100):
        made = image(EMPTY, [layer], annotations={"number": str(number)})
        expect(await api.client.put_manifest("library/many", f"v{number}", made), 201)
        if number % 10 == 0:
            expect(await api.client.put_manifest("library/many", f"i{number}", index([made])), 201)
            signature = image(EMPTY, [layer], subject=made.descriptor())
            expect(await api.client.put_manifest("library/many", signature.digest, signature), 201)
    for number in range(100):
        await api.client.push_blob(f"library/r{number}", EMPTY.body)
        expect(await api.client.put_manifest(f"library/r{number}", "v1", image(EMPTY)), 201)
    await api.settled()
    everything = "&with_accessory=true&with_inherited_accessory=true&with_label=true&with_immutable_status=true"
    for path in (
        api.of("library/many") + "?{}" + everything,
        "/projects/library/artifacts?{}" + everything,
        "/projects/library/artifacts?latest_in_repository=true&q=media_type%3D" + EMPTY.media_type + "&{}",
        api.of("library/many", "v0", "tags") + "?{}",
        "/projects/library/repositories?{}",
        "/repositories?{}",
        "/search?q=r&{}",
    ):
        await api.get(path.format("page_size=1"))  # signed in, compiled, read
        few, many = [await cost(api.registry.database, api.get(path.format(f"page_size={size}"))) for size in (10, 100)]
        assert few == many, path
        assert many <= 9, path


async def test_a_manifest_that_cannot_be_read_any_more_keeps_nobody_from_starting(opened) -> None:
    before = await opened(management=False)
    good, bad = await before.push(HERE, "good"), await before.push(HERE, "bad")
    async with before.registry.database.transaction() as tx:
        spoiled = sa.update(tables.manifests).where(tables.manifests.c.digest == bad.digest).values(body=b"no manifest")
        await tx.execute(spoiled)
    after = await opened()
    assert await after.names(after.of(HERE)) == [good.digest]
