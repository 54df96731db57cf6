"""Repositories and tags: names of every shape, descriptions, deletes, copies."""

from __future__ import annotations

import re

import pytest

from corereg import Grant
from corereg.testing.client import expect
from corereg_management.routes.repositories import counted

pytestmark = pytest.mark.anyio

HERE = "library/app"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_repository(api) -> None:
    await api.push(HERE, "v1")
    await api.push(HERE, None, subject=(await api.push(HERE, "v2")).descriptor())
    found = await api.get(api.repository(HERE))
    assert TIME.fullmatch(found.pop("creation_time"))
    assert TIME.fullmatch(found.pop("update_time"))
    assert found == {
        "id": 1,
        "project_id": 1,
        "name": HERE,
        "description": "",
        "artifact_count": 2,
        "pull_count": 0,
    }


@pytest.mark.parametrize("name", ["a/b", "a/artifacts", "artifacts", "artifacts/artifacts", "a/tags", "repositories/x"])
async def test_names_of_every_shape(api, name: str) -> None:
    """Encoded twice, as Harbor's clients do, every name is one segment."""
    whole = f"library/{name}"
    pushed = await api.push(whole, "v1")
    assert (await api.get(api.repository(whole)))["name"] == whole
    assert await api.names(api.of(whole)) == [pushed.digest]
    assert (await api.get(api.of(whole, "v1")))["repository_name"] == whole
    (tag,) = await api.get(api.of(whole, "v1", "tags"))
    assert tag["name"] == "v1"
    (link,) = (await api.get(api.of(whole, "v1")))["addition_links"].values()
    await api.get(link["href"])
    await api.call("DELETE", api.repository(whole))
    await api.get(api.repository(whole), 404)


async def test_a_name_encoded_once_or_not_at_all(api) -> None:
    pushed = await api.push("library/a/b", "v1")
    for name in ("a%2Fb", "a/b"):
        assert await api.names(f"/projects/library/repositories/{name}/artifacts") == [pushed.digest]


async def test_the_list_of_a_project(api) -> None:
    for name in ("b", "a", "c/d"):
        await api.push(f"library/{name}", "v1")
    await api.push("secret/a", "v1")
    answer = await api.answer("GET", "/projects/library/repositories?page_size=2")
    assert [each["name"] for each in answer.json()] == ["library/a", "library/b"]
    assert answer.headers["x-total-count"] == "3"
    found = await api.get("/projects/library/repositories?q=name%3D~C%2F&sort=-name")
    assert [each["name"] for each in found] == ["library/c/d"]
    assert await api.get("/projects/other/repositories") == []
    await api.get("/projects/nowhere/repositories", 404)


async def test_the_list_of_all_shows_what_the_caller_may_list(opened, api, as_guest, as_nobody) -> None:
    await api.push("library/a", "v1")
    await api.push("secret/a", "v1")
    assert [(each["name"], each["project_id"]) for each in await api.get("/repositories")] == [
        ("library/a", 1),
        ("secret/a", 2),
    ]
    assert [each["name"] for each in await as_guest.get("/repositories")] == ["library/a"]
    assert await as_nobody.get("/repositories") == []


async def test_a_description(api) -> None:
    await api.push(HERE, "v1")
    body = {"description": "Everything « about » it", "name": "secret/mine", "id": 7, "pull_count": 99}
    await api.call("PUT", api.repository(HERE), 200, body)
    found = await api.get(api.repository(HERE))
    assert (found["description"], found["name"], found["id"], found["pull_count"]) == (body["description"], HERE, 1, 0)
    (event,) = [each for each in await api.registry.journal.events() if each.kind == "repository.update"]
    assert (event.actor, event.repository, event.details["description"]) == ("admin", HERE, body["description"])
    await api.call("PUT", api.repository("library/nothing"), 404, body)
    await api.call("PUT", api.repository(HERE), 400, {"description": "a\0b"})
    await api.call("PUT", api.repository(HERE), 422, {"description": "x" * 20000})
    await api.call("PUT", api.repository(HERE), 422, {"description": 7})


async def test_deleting_a_repository_takes_everything(api) -> None:
    child = await api.push(HERE, None)
    await api.push_index(HERE, "multi", child)
    await api.push(HERE, "v1")
    await api.call("DELETE", api.repository(HERE))
    await api.get(api.of(HERE), 404)
    await api.call("DELETE", api.repository(HERE), 404)
    again = await api.push(HERE, "v1")
    assert await api.names(api.of(HERE) + "?q=base%3D*") == [again.digest]


async def test_rights(api, as_guest, as_nobody) -> None:
    await api.push(HERE, "v1")
    await api.push("secret/app", "v1")
    await as_guest.get(api.repository(HERE))
    for path in (
        api.repository("secret/app"),
        api.of("secret/app"),
        api.of("secret/app", "v1"),
        "/projects/nowhere/artifacts",
    ):
        await as_guest.get(path, 403)
        await as_nobody.get(path, 401)
    for method, path, body in (
        ("DELETE", api.repository(HERE), None),
        ("PUT", api.repository(HERE), {"description": "mine"}),
        ("DELETE", api.of(HERE, "v1"), None),
        ("POST", api.of(HERE, "v1", "tags"), {"name": "v2"}),
        ("DELETE", api.of(HERE, "v1", "tags", "v1"), None),
        ("POST", api.of(HERE) + "?from=library/app:v1", None),
    ):
        await as_guest.call(method, path, 403, body)
        await as_nobody.call(method, path, 401, body)


@pytest.mark.parametrize(
    "name", ["..%252F..%252Fsecret%252Fapp", "%252Fsecret%252Fapp", "a%252F..%252F..%252Fsecret%252Fapp", "*"]
)
async def test_no_name_leads_into_another_project(api, as_guest, name: str) -> None:
    await api.push("secret/app", "v1")
    await as_guest.get(f"/projects/library/repositories/{name}", 404)
    await as_guest.get(f"/projects/library/repositories/{name}/artifacts/v1", 404)


async def test_references_of_another_project_are_not_found(api) -> None:
    secret = await api.push("secret/app", "v9")
    await api.push(HERE, "v1")
    for reference in (secret.digest, "v9"):
        await api.get(api.of(HERE, reference), 404)
        await api.get(api.of(HERE, reference, "accessories"), 404)
        await api.get(api.of(HERE, reference, "additions", "build_history"), 404)
        await api.call("DELETE", api.of(HERE, reference), 404)
        await api.call("POST", api.of(HERE, reference, "tags"), 404, {"name": "mine"})


# ---- tags ----


async def test_tags(api) -> None:
    pushed = await api.push(HERE, "v1")
    answer = await api.answer("POST", api.of(HERE, pushed.digest, "tags"), {"name": "v2"})
    assert expect(answer, 201).headers["location"] == f"/api/v2.0{api.of(HERE, pushed.digest, 'tags', 'v2')}"
    assert answer.content == b""
    found = await api.get(api.of(HERE, "v2", "tags"))
    assert [tag["name"] for tag in found] == ["v2", "v1"]
    assert {tag["artifact_id"] for tag in found} == {1}
    answer = await api.answer("GET", api.of(HERE, "v1", "tags") + "?page_size=1&sort=name&q=name%3D~V")
    assert ([tag["name"] for tag in answer.json()], answer.headers["x-total-count"]) == (["v1"], "2")


async def test_a_tag_that_is_there_already(api) -> None:
    await api.push(HERE, "v1")
    await api.push(HERE, "v2")
    await api.call("POST", api.of(HERE, "v1", "tags"), 409, {"name": "v1"})
    await api.call("POST", api.of(HERE, "v1", "tags"), 409, {"name": "v2"})


@pytest.mark.parametrize(
    ("body", "status"), [({"name": "-x"}, 400), ({"name": ""}, 400), ({}, 422), ({"name": 7}, 422)]
)
async def test_a_tag_that_is_none(api, body, status: int) -> None:
    await api.push(HERE, "v1")
    await api.call("POST", api.of(HERE, "v1", "tags"), status, body)


async def test_deleting_a_tag_leaves_the_artifact(api) -> None:
    pushed = await api.push(HERE, "v1")
    other = await api.push(HERE, "v2")
    await api.call("DELETE", api.of(HERE, other.digest, "tags", "v1"), 404)
    await api.call("DELETE", api.of(HERE, pushed.digest, "tags", "v1"))
    await api.call("DELETE", api.of(HERE, pushed.digest, "tags", "v1"), 404)
    assert (await api.get(api.of(HERE, pushed.digest)))["tags"] == []
    assert pushed.digest in await api.names(api.of(HERE))


# ---- copies ----


async def test_a_copy_brings_tags_children_and_accessories(api) -> None:
    child = await api.push(HERE, None)
    whole = await api.push_index(HERE, "multi", child)
    await api.call("POST", api.of(HERE, "multi", "tags"), 201, {"name": "latest"})
    signature = await api.push(HERE, None, subject=whole.descriptor())
    answer = await api.answer("POST", api.of("other/copy") + f"?from={HERE}:multi")
    assert expect(answer, 201).headers["location"] == f"/api/v2.0{api.of('other/copy', 'multi')}"
    source, copy = await api.get(api.of(HERE, "multi")), await api.get(api.of("other/copy", "multi"))
    assert (copy["digest"], copy["size"]) == (source["digest"], source["size"])
    assert {tag["name"] for tag in copy["tags"]} == {"multi", "latest"}
    assert [each["child_digest"] for each in copy["references"]] == [child.digest]
    assert all(each["child_id"] for each in copy["references"])
    assert await api.names(api.of("other/copy")) == [whole.digest]
    assert [each["digest"] for each in await api.get(api.of("other/copy", "multi", "accessories"))] == [
        signature.digest
    ]
    expect(await api.client.get_manifest("other/copy", "latest"), 200)


async def test_a_copy_by_digest(api) -> None:
    pushed = await api.push(HERE, None)
    answer = await api.answer("POST", api.of("other/copy") + f"?from={HERE}@{pushed.digest}")
    assert expect(answer, 201).headers["location"] == f"/api/v2.0{api.of('other/copy', pushed.digest)}"
    await api.get(api.of("other/copy", pushed.digest))


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("library/app:nothing", 404),
        ("library/nothing:v1", 404),
        ("nowhere/app:v1", 404),
        (f"library/app@sha256:{'0' * 64}", 404),
        ("library/app", 400),
        ("app:v1", 400),
        ("library/app:", 400),
        ("library/app@", 400),
        ("/app:v1", 400),
        ("library/app@sha256:1", 400),
        ("library/app@v1", 400),
        ("library/app:v1@x", 400),
        ("library/a%00b:v1", 404),
        ("", 400),
    ],
)
async def test_a_copy_of_what_is_not_there(api, source: str, status: int) -> None:
    await api.push(HERE, "v1")
    await api.call("POST", api.of("other/copy") + f"?from={source}", status)


async def test_a_copy_needs_a_source_that_may_be_read(api, as_guest, people) -> None:
    """Whether it is there is not told either."""
    await api.push("secret/app", "v1")
    people["guest"].grants = (*people["guest"].grants, Grant("library/*", "artifact", frozenset({"create"})))
    for source in ("secret/app:v1", "secret/nothing:v1", "nowhere/app:v1"):
        answer = await as_guest.answer("POST", api.of("library/copy") + f"?from={source}")
        assert answer.status_code == 403
    await api.get(api.of("library/copy"), 404)


async def test_a_copy_without_a_source(api) -> None:
    await api.call("POST", api.of("other/copy"), 422)


async def test_an_accessory_is_not_copied_alone(api) -> None:
    subject = await api.push(HERE, "v1")
    accessory = await api.push(HERE, None, subject=subject.descriptor())
    await api.call("POST", api.of("other/copy") + f"?from={HERE}@{accessory.digest}", 400)


async def test_more_repositories_at_once_than_a_statement_has_parameters(api) -> None:
    assert await counted(api.registry.database, range(300_000)) == {}
