"""A project's metadata, key by key."""

from __future__ import annotations

from typing import Any

import pytest

from corereg import Grant
from corereg_projects.metadata import KEYS, ProjectMetadata, visibility_of

from .conftest import code, message

pytestmark = pytest.mark.anyio

BOOLEANS = [
    "public",
    "enable_content_trust",
    "enable_content_trust_cosign",
    "prevent_vul",
    "auto_scan",
    "auto_sbom_generation",
    "reuse_sys_cve_allowlist",
    "proxy_cache_local_on_not_found",
    "proxy_referrer_api",
]
GOOD = [
    *((key, given, kept) for key in BOOLEANS for given, kept in (("true", "true"), ("F", "false"), ("1", "true"))),
    ("severity", "Critical", "critical"),
    ("severity", "none", "none"),
    ("proxy_speed_kb", "-1", "-1"),
    ("proxy_speed_kb", "0010", "10"),
    ("max_upstream_conn", "-1", "-1"),
    ("max_upstream_conn", "5", "5"),
    ("proxy_cache_filter_pattern", "library/**", "library/**"),
    ("proxy_cache_filter_kind", "regex", "regex"),
    ("visibility", "internal", "internal"),
]
BAD = [
    *((key, given) for key in BOOLEANS for given in ("yes", "", "tRUE", "2")),
    ("severity", "severe"),
    ("severity", ""),
    ("proxy_speed_kb", "fast"),
    ("proxy_speed_kb", "-2"),
    ("proxy_speed_kb", str(2**31)),
    ("proxy_speed_kb", "٣"),
    ("proxy_speed_kb", "9" * 5000),
    ("max_upstream_conn", "0"),
    ("max_upstream_conn", "-2"),
    ("max_upstream_conn", "--1"),
    ("proxy_cache_filter_pattern", "a\x00b"),
    ("proxy_cache_filter_pattern", "a" * 1025),
    ("proxy_cache_filter_kind", "glob"),
    ("visibility", "secret"),
    ("retention_id", "1"),
    ("owner_id", "1"),
    ("", "true"),
    ("Public", "true"),
]


@pytest.fixture(autouse=True)
async def web(api: Any) -> None:
    await api.create("web", "alice")


async def test_every_key_can_be_read_and_written() -> None:
    assert set(ProjectMetadata.__struct_fields__) == {*KEYS, "retention_id"}
    assert {key for key, *_ in GOOD} == set(KEYS)


@pytest.mark.parametrize(("key", "given", "kept"), GOOD)
async def test_what_is_kept(api: Any, key: str, given: str, kept: str) -> None:
    if key != "public":
        answer = await api("POST", "/web/metadatas/", "alice", {key: given})
        assert (answer.status_code, answer.content) == (200, b"")
    answer = await api("PUT", f"/web/metadatas/{key}", "alice", {key: given})
    assert (answer.status_code, answer.content) == (200, b"")
    assert await api.get(f"/web/metadatas/{key}", "alice") == {key: kept}
    assert (await api.get("/web", "alice"))["metadata"][key] == kept


@pytest.mark.parametrize(("key", "given"), BAD)
async def test_what_cannot_be(api: Any, key: str, given: str) -> None:
    for answer in (
        await api("POST", "/web/metadatas", "alice", {key: given}),
        await api("PUT", "/web/metadatas/severity", "alice", {key: given}),
    ):
        assert code(answer) == (400, "BAD_REQUEST")
        assert "metadata" in message(answer)
        assert len(message(answer)) < 600
    if key in ProjectMetadata.__struct_fields__:
        assert code(await api("PUT", "/web", "alice", {"metadata": {key: given}})) == (400, "BAD_REQUEST")
    assert (await api.get("/web", "alice"))["metadata"] == {"public": "false"}


@pytest.mark.parametrize("body", [{}, {"auto_scan": "true", "severity": "low"}])
async def test_one_key_in_each_request(api: Any, body: dict[str, str]) -> None:
    assert code(await api("POST", "/web/metadatas", "alice", body))[0] == 400
    assert code(await api("PUT", "/web/metadatas/auto_scan", "alice", body))[0] == 400
    assert (await api.get("/web", "alice"))["metadata"] == {"public": "false"}


@pytest.mark.parametrize("body", [{"auto_scan": True}, [], "auto_scan", {"auto_scan": None}])
async def test_values_are_texts(api: Any, body: Any) -> None:
    assert code(await api("POST", "/web/metadatas", "alice", body)) == (422, "UNPROCESSABLE_ENTITY")


async def test_a_key_that_is_set_already(api: Any) -> None:
    assert (await api("POST", "/web/metadatas", "alice", {"auto_scan": "true"})).status_code == 200
    assert code(await api("POST", "/web/metadatas", "alice", {"auto_scan": "false"})) == (409, "CONFLICT")
    assert code(await api("POST", "/web/metadatas", "alice", {"public": "true"})) == (409, "CONFLICT")
    assert (await api.get("/web", "alice"))["metadata"] == {"public": "false", "auto_scan": "true"}


async def test_a_key_that_is_not_set(api: Any) -> None:
    for method in ("GET", "DELETE"):
        assert code(await api(method, "/web/metadatas/auto_scan", "alice")) == (404, "NOT_FOUND")
        assert code(await api(method, "/web/metadatas/nonsense", "alice")) == (404, "NOT_FOUND")
    assert code(await api("PUT", "/web/metadatas/auto_scan", "alice", {"auto_scan": "true"})) == (404, "NOT_FOUND")


async def test_removing_a_key(api: Any) -> None:
    await api("PUT", "/web", "alice", {"metadata": {"auto_scan": "true", "public": "true"}})
    assert (await api("DELETE", "/web/metadatas/auto_scan", "alice")).status_code == 200
    assert (await api.get("/web", "alice"))["metadata"] == {"public": "true"}
    assert (await api("DELETE", "/web/metadatas/public", "alice")).status_code == 200
    assert (await api.get("/web", "alice"))["metadata"] == {"public": "false"}


async def test_the_path_and_the_body_agree(api: Any) -> None:
    await api("POST", "/web/metadatas", "alice", {"auto_scan": "true"})
    answer = await api("PUT", "/web/metadatas/auto_scan", "alice", {"public": "true"})
    assert code(answer) == (400, "BAD_REQUEST")
    assert (await api.get("/web", "alice"))["metadata"]["public"] == "false"


async def test_listing_is_not_for_project_administrators(api: Any, crowd: Any) -> None:
    """As in Harbor, whose role lacks it."""
    assert code(await api("GET", "/web/metadatas/", "alice")) == (403, "FORBIDDEN")
    crowd.robots["ci"] = (Grant("web/*", "metadata", frozenset({"list"})),)
    for who in ("admin", "ci"):
        assert await api.get("/web/metadatas/", who) == {"public": "false"}


async def test_maintainers_read_and_do_not_write(api: Any) -> None:
    await api.add("web", "bob", 4)
    assert await api.get("/web/metadatas/public", "bob") == {"public": "false"}
    assert (await api("POST", "/web/metadatas", "bob", {"auto_scan": "true"})).status_code == 403
    assert (await api("PUT", "/web/metadatas/public", "bob", {"public": "true"})).status_code == 403
    assert (await api("DELETE", "/web/metadatas/public", "bob")).status_code == 403


@pytest.mark.parametrize(
    ("current", "values", "then"),
    [
        (None, {}, "private"),
        (None, {"public": "true"}, "public"),
        (None, {"public": "false", "visibility": "internal"}, "internal"),
        ("public", {}, "public"),
        ("public", {"public": "false"}, "private"),
        ("public", {"public": "false", "visibility": "public"}, "private"),
        ("public", {"public": "true", "visibility": "private"}, "private"),
        ("internal", {"public": "false"}, "internal"),
        ("internal", {"public": "true"}, "public"),
        ("internal", {"public": "true", "visibility": "internal"}, "public"),
        ("internal", {"public": "false", "visibility": "private"}, "private"),
        ("private", {"visibility": "public"}, "public"),
        ("private", {"public": "false", "visibility": "public"}, "public"),
        ("public", {"public": "false", "visibility": "internal"}, "internal"),
    ],
)
async def test_the_word_that_changes_counts(current: Any, values: dict[str, str], then: str) -> None:
    assert visibility_of(values, current) == then


@pytest.mark.parametrize(
    ("current", "values"),
    [
        (None, {"public": "true", "visibility": "internal"}),
        (None, {"public": "false", "visibility": "public"}),
        ("private", {"public": "true", "visibility": "internal"}),
    ],
)
async def test_two_words_that_contradict_each_other(api: Any, current: Any, values: dict[str, str]) -> None:
    answer = await api("POST", "", "alice", {"project_name": "other", "metadata": {"visibility": current or "private"}})
    assert answer.status_code == 201
    target = ("PUT", "/other") if current else ("POST", "")
    answer = await api(*target, "alice", {"project_name": "third", "metadata": values})
    assert code(answer) == (400, "BAD_REQUEST")
    assert "contradict" in message(answer)


async def test_public_stays_in_step(api: Any) -> None:
    for word, public in (("internal", "false"), ("public", "true"), ("private", "false"), ("internal", "false")):
        assert (await api("PUT", "/web", "alice", {"metadata": {"visibility": word}})).status_code == 200
        said = (await api.get("/web", "alice"))["metadata"]
        assert said["public"] == public
        assert said.get("visibility") == ("internal" if word == "internal" else None)
