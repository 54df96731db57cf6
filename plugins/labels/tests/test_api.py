"""The five operations on labels: fields, statuses, sentences (Harbor's swagger.yaml), and who may."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from corereg import Namespace, Registry, openapi_document

pytestmark = pytest.mark.anyio

TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ")
FIELDS = {
    "id": int,
    "name": str,
    "description": str,
    "color": str,
    "scope": str,
    "project_id": int,
    "creation_time": str,
    "update_time": str,
}


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()]


# ---- one label ----


async def test_a_global_label(api: Any) -> None:
    label = await api.shown(await api.made("stable", color="#00Ff7f", description="may run in production"))
    assert {name: type(value) for name, value in label.items()} == FIELDS
    assert (label["name"], label["description"]) == ("stable", "may run in production")
    assert (label["color"], label["scope"], label["project_id"]) == ("#00Ff7f", "g", 0)
    assert TIME.fullmatch(label["creation_time"])


async def test_a_label_of_a_project(api: Any) -> None:
    answer = await api("ann", "POST", "/labels", {"name": "mine", "scope": "p", "project_id": 1})
    assert answer.status_code == 201
    label = (await api("ann", "GET", answer.headers["location"].removeprefix("/api/v2.0"))).json()
    assert (label["scope"], label["project_id"], label["color"]) == ("p", 1, "")


async def test_names_are_unique_within_their_scope(api: Any) -> None:
    first = await api.made("stable")
    await api.made("stable", 1)
    await api.made("stable", 2)
    for scope, project in (("g", 0), ("g", 7), ("p", 1)):
        body = {"name": "stable", "scope": scope, "project_id": project}
        assert code(await api("admin", "POST", "/labels", body)) == (409, "CONFLICT")
    other = await api.made("other")
    assert code(await api("admin", "PUT", f"/labels/{other}", {"name": "stable"})) == (409, "CONFLICT")
    assert (await api.shown(other))["name"] == "other"
    assert (await api("admin", "PUT", f"/labels/{first}", {"name": "stable", "color": "#ffffff"})).status_code == 200
    assert (await api.made("Stable")) > other, "case makes another name"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 129},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "a\u200bb"},
        {"color": "red"},
        {"color": "#12345"},
        {"color": "#1234567"},
        {"color": "#12345g"},
        {"color": "#123456\n"},
        {"color": "javascript:alert(1)"},
        {"description": "x" * 1025},
        {"description": "\x00"},
    ],
)
async def test_what_a_label_cannot_be(api: Any, fields: dict[str, str]) -> None:
    label = await api.made("stable")
    before = await api.shown(label)
    assert code(await api("admin", "POST", "/labels", {"name": "new", "scope": "g", **fields})) == (400, "BAD_REQUEST")
    assert code(await api("admin", "PUT", f"/labels/{label}", {"name": "new", **fields})) == (400, "BAD_REQUEST")
    assert await api.shown(label) == before


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "x", "scope": "x"},
        {"name": "x", "scope": "p"},
        {"name": "x", "scope": "p", "project_id": -1},
    ],
)
async def test_a_label_of_nothing(api: Any, body: dict[str, Any]) -> None:
    assert code(await api("admin", "POST", "/labels", body)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("body", [None, [], {"name": 7}, {"name": "x", "scope": "p", "project_id": "one"}])
async def test_a_body_of_another_shape(api: Any, body: Any) -> None:
    assert (await api("admin", "POST", "/labels", body)).status_code == 422


async def test_null_is_what_is_left_out(api: Any) -> None:
    body = {"name": "stable", "scope": "g", "project_id": None, "description": None, "color": None}
    assert (await api("admin", "POST", "/labels", body)).status_code == 201
    label = (await api("admin", "GET", "/labels?scope=g")).json()[0]
    assert (label["description"], label["color"], label["project_id"]) == ("", "", 0)


async def test_the_longest_name(api: Any) -> None:
    name = "ü" * 128
    assert (await api.shown(await api.made(name)))["name"] == name


async def test_an_update_says_everything_anew_but_where_it_belongs(api: Any) -> None:
    """Mass assignment: whatever else the body holds, the label stays where it is."""
    label = await api.made("mine", 1, color="#000000", description="old")
    body = {"id": 99, "name": "ours", "scope": "g", "project_id": 2, "creation_time": "2000-01-01T00:00:00.000Z"}
    answer = await api("ann", "PUT", f"/labels/{label}", body)
    assert (answer.status_code, answer.content) == (200, b"")
    after = await api.shown(label)
    assert (after["name"], after["color"], after["description"]) == ("ours", "", "")
    assert (after["id"], after["scope"], after["project_id"]) == (label, "p", 1)
    assert after["creation_time"][:4] != "2000"


async def test_delete(api: Any) -> None:
    label = await api.made("stable")
    answer = await api("admin", "DELETE", f"/labels/{label}")
    assert (answer.status_code, answer.content) == (200, b"")
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        assert code(await api("admin", method, f"/labels/{label}", body)) == (404, "NOT_FOUND")
    assert await api.made("stable") != label


@pytest.mark.parametrize("label", ["0", "-1", "99", str(2**63), "x"])
async def test_ids_that_nothing_has(api: Any, label: str) -> None:
    assert 400 < (await api("admin", "GET", f"/labels/{label}")).status_code < 500


# ---- lists ----


async def test_lists(api: Any) -> None:
    for name in ("b", "a", "c"):
        await api.made(name)
        await api.made(f"mine-{name}", 1)
    await api.made("other", 2)
    answer = await api("nobody", "GET", "/labels?scope=g&page=1&page_size=2")
    assert names(answer) == ["a", "b"]
    assert answer.headers["x-total-count"] == "3"
    assert "page=2" in answer.headers["link"]
    assert {name: type(value) for name, value in answer.json()[0].items()} == FIELDS
    assert names(await api("guest", "GET", "/labels?scope=p&project_id=1&sort=-name")) == ["mine-c", "mine-b", "mine-a"]
    assert names(await api("guest", "GET", "/labels?scope=p&project_id=1&name=E-A")) == ["mine-a"]
    assert names(await api("guest", "GET", "/labels?scope=p&project_id=1&name=%25")) == []
    assert names(await api("guest", "GET", "/labels?scope=p&project_id=1&q=name=~B,project_id=2")) == ["mine-b"]
    assert names(await api("admin", "GET", "/labels?scope=g&project_id=2")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?scope=x",
        "?scope=p",
        "?scope=p&project_id=0",
        "?scope=p&project_id=-1",
        "?scope=G",
        "?scope=g&q=x",
        "?scope=g&name=%00",
    ],
)
async def test_lists_that_cannot_be_meant(api: Any, query: str) -> None:
    assert code(await api("admin", "GET", f"/labels{query}")) == (400, "BAD_REQUEST")


# ---- who may ----


async def test_the_labels_of_others(api: Any) -> None:
    """By id, which anybody can count: a label of another project, or a global one, is out of reach."""
    labels = {"g": await api.made("global"), "alpha": await api.made("mine", 1), "beta": await api.made("other", 2)}
    reads = {"admin": {"g", "alpha", "beta"}, "ann": {"g", "alpha"}, "ben": {"g", "beta"}, "guest": {"g", "alpha"}}
    for where, label in labels.items():
        for who in ("ann", "ben", "guest", "nobody", None):
            may_read, may_write = (
                where in reads.get(who or "", {"g"} if who else ()),
                (who, where) in {("ann", "alpha"), ("ben", "beta")},
            )
            no = 403 if who else 401
            assert (await api(who, "GET", f"/labels/{label}")).status_code == (200 if may_read else no), (who, where)
            body = {"name": f"{where} by {who}"}
            assert (await api(who, "PUT", f"/labels/{label}", body)).status_code == (200 if may_write else no)
            if not may_write:
                assert (await api(who, "DELETE", f"/labels/{label}")).status_code == no
    for where, label in labels.items():
        assert (
            await api({"alpha": "ann", "beta": "ben"}.get(where, "admin"), "DELETE", f"/labels/{label}")
        ).status_code == 200


async def test_labels_for_others(api: Any) -> None:
    for body in ({"scope": "g"}, {"scope": "p", "project_id": 2}, {"scope": "p", "project_id": 3}):
        assert (await api("ann", "POST", "/labels", {"name": "x", **body})).status_code == 403
        assert (await api(None, "POST", "/labels", {"name": "x", **body})).status_code == 401
    assert (await api("guest", "POST", "/labels", {"name": "x", "scope": "p", "project_id": 1})).status_code == 403


async def test_the_lists_of_others(api: Any) -> None:
    for who, global_ones, alpha, public in (
        ("ann", 200, 200, 200),
        ("ben", 200, 403, 200),
        ("nobody", 200, 403, 200),
        (None, 401, 401, 200),
    ):
        paths = ("?scope=g", "?scope=p&project_id=1", "?scope=p&project_id=3")
        found = [(await api(who, "GET", f"/labels{path}")).status_code for path in paths]
        assert found == [global_ones, alpha, public], who


async def test_what_a_public_project_shows_to_everybody(api: Any) -> None:
    label = await api.made("open", 3)
    assert names(await api(None, "GET", "/labels?scope=p&project_id=3")) == ["open"]
    assert (await api(None, "GET", f"/labels/{label}")).status_code == 200


async def test_a_project_that_is_not_there(api: Any) -> None:
    """Anonymous 401, a user 403, an administrator 404: who may not know does not learn it."""
    body = {"name": "x", "scope": "p", "project_id": 99}
    assert [(await api(who, "POST", "/labels", body)).status_code for who in (None, "ann", "admin")] == [401, 403, 404]
    path = "/labels?scope=p&project_id=99"
    assert [(await api(who, "GET", path)).status_code for who in (None, "ann", "admin")] == [401, 403, 404]


# ---- with the project, in the journal, in the document ----


async def test_a_project_takes_its_labels_along(
    api: Any, registry: Registry, projects: dict[str, int], delete_project: Callable[[Registry, str], Awaitable[None]]
) -> None:
    mine, other, everybodys = await api.made("mine", 1), await api.made("other", 2), await api.made("global")
    await delete_project(registry, "alpha")
    projects["alpha"] = 17
    assert (await api("admin", "GET", f"/labels/{mine}")).status_code == 404
    assert names(await api("ann", "GET", "/labels?scope=p&project_id=17")) == []
    assert [(await api.shown(each))["id"] for each in (other, everybodys)] == [other, everybodys]


async def test_a_project_that_goes_while_a_label_is_made(
    api: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label is not made: it would wait for whoever gets the name next."""
    resolve = registry.plugins.resolve_namespace
    asked = 0

    async def gone_meanwhile(reference: int | str) -> Namespace | None:
        nonlocal asked
        asked += 1
        return await resolve(reference) if asked == 1 else None

    monkeypatch.setattr(registry.plugins, "resolve_namespace", gone_meanwhile)
    body = {"name": "mine", "scope": "p", "project_id": 1}
    assert (await api("admin", "POST", "/labels", body)).status_code == 404
    monkeypatch.undo()
    assert names(await api("admin", "GET", "/labels?scope=p&project_id=1")) == []


async def test_what_the_journal_tells(api: Any, registry: Registry) -> None:
    mine, everybodys = await api.made("mine", 1), await api.made("global")
    await api("ann", "PUT", f"/labels/{mine}", {"name": "ours"})
    await api("ann", "DELETE", f"/labels/{mine}")
    events = await registry.journal.events()
    assert [(each.kind, each.actor, each.details) for each in events] == [
        ("label.create", "admin", {"id": mine, "name": "mine", "namespace": "alpha"}),
        ("label.create", "admin", {"id": everybodys, "name": "global", "namespace": None}),
        ("label.update", "ann", {"id": mine, "name": "ours", "namespace": "alpha"}),
        ("label.delete", "ann", {"id": mine, "name": "ours", "namespace": "alpha"}),
    ]


async def test_what_the_document_says(registry: Registry) -> None:
    document = openapi_document(registry)
    found = {
        (method, path): (operation["operationId"], operation["tags"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    artifact = "/api/v2.0/projects/{namespace}/repositories/{repository_name}/artifacts/{reference}/labels"
    assert found == {
        ("get", "/api/v2.0/labels"): ("listLabels", ["label"]),
        ("post", "/api/v2.0/labels"): ("createLabel", ["label"]),
        ("get", "/api/v2.0/labels/{label_id}"): ("getLabelById", ["label"]),
        ("put", "/api/v2.0/labels/{label_id}"): ("updateLabel", ["label"]),
        ("delete", "/api/v2.0/labels/{label_id}"): ("deleteLabel", ["label"]),
        ("post", artifact): ("addLabel", ["artifact"]),
        ("delete", artifact + "/{label_id}"): ("removeLabel", ["artifact"]),
    }
