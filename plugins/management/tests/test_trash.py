"""Deleted things over the API: seen by whoever may push there, and brought back."""

from __future__ import annotations

from typing import Any

import pytest

from corereg.testing.client import expect

pytestmark = pytest.mark.anyio


async def delete(api: Any, path: str) -> None:
    expect(await api.answer("DELETE", path), 200)


async def test_a_deleted_artifact_is_listed_and_comes_back_with_its_tag(api: Any) -> None:
    pushed = await api.push("library/app", "v1")
    await delete(api, api.of("library/app", pushed.digest))
    (item,) = await api.get("/trash?q=repository=library/app")
    assert (item["kind"], item["digest"], item["tags"], item["deleted_by"]) == (
        "manifest",
        pushed.digest,
        ["v1"],
        "admin",
    )
    restored = expect(await api.answer("POST", f"/trash/{item['id']}/restore"), 200).json()
    assert [each["digest"] for each in restored] == [pushed.digest]
    found = await api.get(api.of("library/app", "v1"))
    assert found["digest"] == pushed.digest
    assert await api.get("/trash") == []


async def test_a_deleted_tag_comes_back_unless_it_points_elsewhere_by_now(api: Any) -> None:
    first = await api.push("library/app", "v1")
    await api.push("library/app", "keeps", annotations={"a": "b"})
    await delete(api, api.of("library/app", first.digest, "tags", "v1"))
    (item,) = await api.get("/trash?q=kind=tag")
    await api.push("library/app", "v1", annotations={"c": "d"})
    answer = expect(await api.answer("POST", f"/trash/{item['id']}/restore"), 409)
    assert "by now" in answer.text
    await delete(api, api.of("library/app", "v1", "tags", "v1"))
    expect(await api.answer("POST", f"/trash/{item['id']}/restore"), 200)
    assert (await api.get(api.of("library/app", "v1")))["digest"] == first.digest


async def test_whoever_may_not_push_sees_nothing_of_it(api: Any, as_guest: Any, as_nobody: Any) -> None:
    pushed = await api.push("library/app", "v1")
    await delete(api, api.of("library/app", pushed.digest))
    (item,) = await api.get("/trash")
    assert await as_guest.get("/trash") == []
    expect(await as_guest.answer("POST", f"/trash/{item['id']}/restore"), 404)
    expect(await as_nobody.answer("GET", "/trash"), 401)
    expect(await as_nobody.answer("POST", f"/trash/{item['id']}/restore"), 401)
    expect(await api.answer("POST", "/trash/4711/restore"), 404)
