"""The allowlist of the whole registry."""

from __future__ import annotations

from typing import Any

import pytest

from corereg import Action, Grant, Registry

from .conftest import code
from .test_projects import MOMENT, details

pytestmark = pytest.mark.anyio

PATH = "/api/v2.0/system/CVEAllowlist"
ITEMS = [{"cve_id": "CVE-2019-10164"}, {"cve_id": "CVE-2020-1"}]


async def test_everybody_who_signed_in_reads_it(api: Any) -> None:
    said = await api.get(PATH, "alice")
    assert MOMENT.fullmatch(said.pop("creation_time"))
    assert MOMENT.fullmatch(said.pop("update_time"))
    assert said == {"id": 1, "project_id": 0, "items": []}
    assert code(await api("GET", PATH, None)) == (401, "UNAUTHORIZED")


async def test_administrators_replace_it(registry: Registry, api: Any) -> None:
    body = {"id": 9, "project_id": 1, "items": ITEMS, "expires_at": 1900000000, "creation_time": "x"}
    answer = await api("PUT", PATH, "admin", body)
    assert (answer.status_code, answer.content) == (200, b"")
    said = await api.get(PATH, "alice")
    assert (said["id"], said["project_id"], said["items"], said["expires_at"]) == (1, 0, ITEMS, 1900000000)
    assert (await api.get("/library"))["cve_allowlist"]["items"] == []
    assert (await details(registry, "allowlist.update"))[-1]["items"] == [each["cve_id"] for each in ITEMS]
    assert (await api("PUT", PATH, "admin", {"items": [], "expires_at": None})).status_code == 200
    said = await api.get(PATH, "alice")
    assert said["items"] == []
    assert "expires_at" not in said


@pytest.mark.parametrize("who", ["alice", None])
async def test_others_do_not(api: Any, who: str | None) -> None:
    assert (await api("PUT", PATH, who, {"items": ITEMS})).status_code == (401 if who is None else 403)
    assert (await api.get(PATH))["items"] == []


async def test_whoever_may_change_the_configuration_does(api: Any, crowd: Any) -> None:
    crowd.robots["ops"] = (Grant("system", "configuration", frozenset({"update"})),)
    assert Action("configuration", "update").scope == "system"
    assert (await api("PUT", PATH, "ops", {"items": ITEMS})).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": [{"cve_id": ""}]}, 400),
        ({"items": [{"cve_id": "CVE-1"}, {"cve_id": "CVE-1"}]}, 400),
        ({"items": [], "expires_at": -1}, 400),
        ({"items": [], "expires_at": 2**60}, 400),
        ({"items": [{}]}, 422),
        ({"items": "CVE-1"}, 422),
        ({"items": [], "expires_at": "never"}, 422),
        ({"items": [{"cve_id": f"CVE-{number}"} for number in range(10_001)]}, 400),
    ],
)
async def test_what_cannot_be(api: Any, body: dict[str, Any], status: int) -> None:
    assert code(await api("PUT", PATH, "admin", body))[0] == status
    assert (await api.get(PATH))["items"] == []
