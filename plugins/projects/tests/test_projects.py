"""Projects over the API: every operation's fields and statuses."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from corereg import Grant, Listing, Missing, Registry, asgi, tables
from corereg.testing.client import Credentials, RegistryClient
from corereg_projects.schema import allowlists

from .conftest import LIST, PASSWORD, code, message

pytestmark = pytest.mark.anyio

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def repository(registry: Registry, *names: str) -> None:
    """Repositories that are just there."""
    async with registry.database.transaction() as tx:
        for name in names:
            await tx.execute(sa.insert(tables.repositories).values(name=name, created_at=0))


# ---- making ----


async def test_making_one(api: Any) -> None:
    answer = await api("POST", "", "alice", {"project_name": "web"})
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["location"] == f"{LIST}/2"
    said = await api.get("/2", "alice")
    allowlist = said.pop("cve_allowlist")
    for document in (said, allowlist):
        for name in ("creation_time", "update_time"):
            assert MOMENT.fullmatch(document.pop(name))
    assert said == {
        "project_id": 2,
        "name": "web",
        "owner_id": 2,
        "owner_name": "alice",
        "togglable": True,
        "current_user_role_id": 1,
        "current_user_role_ids": [1],
        "repo_count": 0,
        "metadata": {"public": "false"},
    }
    assert (allowlist["project_id"], allowlist["items"]) == (2, [])
    assert (await api.get("/web", "alice"))["project_id"] == 2


async def test_whoever_makes_it_is_its_administrator(api: Any) -> None:
    await api.create("web", "alice")
    (member,) = await api.get("/web/members", "alice")
    assert (member["entity_name"], member["role_id"]) == ("alice", 1)
    answer = await api("GET", "/web", "bob")
    assert code(answer) == (403, "FORBIDDEN")


async def test_a_location_by_name(api: Any) -> None:
    answer = await api("POST", "", "alice", {"project_name": "web"}, headers={"X-Resource-Name-In-Location": "true"})
    assert answer.headers["location"] == f"{LIST}/web"


async def test_a_name_that_is_taken(api: Any) -> None:
    await api.create("web", "alice")
    answer = await api("POST", "", "bob", {"project_name": "web"})
    assert code(answer) == (409, "CONFLICT")
    assert message(answer).startswith("The project named web already exists")
    assert await api.get("/web/members") != []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Web",
        "we b",
        "-web",
        "web-",
        "we--b",
        "we__b",
        "we..b",
        "web/sub",
        "wéb",
        "wеb",
        "web\n",
        "web\x00",
        ".",
        "..",
    ],
)
async def test_a_name_that_none_can_have(api: Any, name: str) -> None:
    """Among them one with a Cyrillic letter that looks like the Latin one."""
    answer = await api("POST", "", "alice", {"project_name": name})
    assert code(answer) == (400, "BAD_REQUEST")
    assert message(answer).startswith("project name is not in lower case or contains illegal characters")


@pytest.mark.parametrize("name", ["a", "0", "web-1.2_3", "a" * 255])
async def test_a_name_that_will_do(api: Any, name: str) -> None:
    number = await api.create(name, "alice")
    assert (await api.get(f"/{number}"))["name"] == name


async def test_a_name_that_is_too_long(api: Any) -> None:
    assert code(await api("POST", "", "alice", {"project_name": "a" * 256})) == (422, "UNPROCESSABLE_ENTITY")


async def test_a_name_of_digits(api: Any) -> None:
    """Taken for a number, unless the client says that it is a name."""
    number = await api.create("1", "alice")
    assert (await api.get("/1", "alice"))["name"] == "library"
    answer = await api("GET", "/1", "alice", headers={"X-Is-Resource-Name": "true"})
    assert answer.json()["project_id"] == number


async def test_nobody_makes_one(api: Any) -> None:
    assert code(await api("POST", "", None, {"project_name": "web"})) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"project_name": 7}', b'{"project_name": "x", "metadata": {"public": true}}', b"\xff"]
)
async def test_a_body_of_another_shape(api: Any, body: bytes) -> None:
    answer = await api("POST", "", "alice", content=body)
    assert code(answer) == (422, "UNPROCESSABLE_ENTITY")


@pytest.mark.parametrize(
    ("body", "public"),
    [
        ({"public": True}, "true"),
        ({"public": False}, "false"),
        ({"metadata": {"public": "true"}}, "true"),
        ({"metadata": {"public": "T"}}, "true"),
        ({"public": True, "metadata": {"public": "false"}}, "false"),
        ({"public": True, "metadata": {"severity": "high"}}, "true"),
    ],
)
async def test_public_is_said_in_two_places(api: Any, body: dict[str, Any], public: str) -> None:
    await api.create("web", "alice", **body)
    assert (await api.get("/web", "alice"))["metadata"]["public"] == public


async def test_what_the_body_cannot_set(api: Any) -> None:
    """Mass assignment: neither the owner nor a number, a role or a time is anybody's to choose."""
    await api.create(
        "web",
        "alice",
        project_id=77,
        owner_id=1,
        owner_name="admin",
        creation_time="2000-01-01T00:00:00Z",
        current_user_role_id=1,
        repo_count=9,
        cve_allowlist={"id": 1, "project_id": 1, "items": [{"cve_id": "CVE-2019-1"}], "expires_at": 5},
    )
    said = await api.get("/web", "alice")
    assert (said["project_id"], said["owner_id"], said["owner_name"], said["repo_count"]) == (2, 2, "alice", 0)
    assert not said["creation_time"].startswith("2000")
    assert said["cve_allowlist"]["project_id"] == 2
    assert said["cve_allowlist"]["items"] == [{"cve_id": "CVE-2019-1"}]
    assert said["cve_allowlist"]["expires_at"] == 5
    assert (await api.get("/library"))["cve_allowlist"]["items"] == []


async def test_a_proxy_of_a_registry_that_is_not_there(api: Any) -> None:
    answer = await api("POST", "", "admin", {"project_name": "web", "registry_id": 5})
    assert code(answer) == (400, "BAD_REQUEST")
    assert (await api("POST", "", "admin", {"project_name": "web", "registry_id": 0})).status_code == 201


async def details(registry: Registry, kind: str) -> list[dict[str, Any]]:
    rows = await registry.database.rows(
        sa.select(tables.journal.c.details).where(tables.journal.c.kind == kind).order_by(tables.journal.c.serial)
    )
    return [msgspec.json.decode(row[0])["details"] for row in rows]


@pytest.mark.parametrize(("who", "limit"), [("admin", 1024), ("alice", None)])
async def test_a_storage_limit_is_the_administrators_to_set(
    registry: Registry, api: Any, who: str, limit: int | None
) -> None:
    await api.create("web", who, storage_limit=1024)
    told = (await details(registry, "project.create"))[-1]
    assert told["storage_limit"] == limit
    assert told["id"] == 2
    assert (told["name"], told["namespace"], told["public"]) == ("web", "web", False)
    assert told["owner"] == ("user:1" if who == "admin" else "user:2")


@pytest.mark.parametrize("limit", [0, -2, 2**63])
async def test_a_storage_limit_that_is_none(api: Any, limit: int) -> None:
    assert code(await api("POST", "", "admin", {"project_name": "web", "storage_limit": limit}))[0] == 400


async def test_only_administrators_make_projects_where_that_is_set(registry: Registry, api: Any) -> None:
    session = registry.session()
    await session.change_settings({"project_creation_restriction": "adminonly"})
    answer = await api("POST", "", "alice", {"project_name": "web"})
    assert code(answer) == (403, "FORBIDDEN")
    assert message(answer).startswith("Only system admin can create project")
    assert (await api("POST", "", None, {"project_name": "web"})).status_code == 401
    await api.create("web", "admin")
    await session.change_settings({"project_creation_restriction": "everyone"})
    await api.create("web-2", "alice")


async def test_robots_make_projects_if_they_were_given_that(api: Any, crowd: Any) -> None:
    crowd.robots |= {
        "system": (Grant("system", "project", frozenset({"create"})),),
        "project": (Grant("library/*", "project", frozenset({"create", "update"})),),
    }
    assert code(await api("POST", "", "project", {"project_name": "no"})) == (403, "FORBIDDEN")
    await api.create("web", "system")
    said = await api.get("/web")
    assert (said["owner_id"], said["owner_name"]) == (0, "")
    assert await api.get("/web/members") == []


async def test_a_token_for_a_pull_makes_no_project(api: Any) -> None:
    """Its bearer may be somebody who was lent it."""
    token = await api.token("alice", "repository:library/app:pull")
    headers = {"Authorization": f"Bearer {token}"}
    answer = await api("POST", "", None, {"project_name": "web"}, headers=headers)
    assert answer.status_code in {401, 403}
    assert (await api("HEAD", "?project_name=web", "alice")).status_code == 404


# ---- is it there ----


async def test_whether_a_name_is_taken(api: Any) -> None:
    await api.create("web", "alice")
    assert (await api("HEAD", "?project_name=web", "bob")).status_code == 200
    for name in ("wob", "WEB", "", "%00", "web%20", "1"):
        assert (await api("HEAD", f"?project_name={name}", "bob")).status_code == 404, name
    assert (await api("HEAD", "?project_name=web", None)).status_code == 401
    assert (await api("HEAD", "", "bob")).status_code == 422


@pytest.mark.parametrize("path", ["/web", "/2", "/web/summary", "/web/_deletable", "/web/members", "/web/metadatas/"])
async def test_what_is_not_there(api: Any, path: str) -> None:
    """As private projects look to whoever may not see them."""
    missing = [await api("GET", path, who) for who in (None, "alice", "admin")]
    assert [answer.status_code for answer in missing] == [401, 403, 404]
    await api.create("web", "bob")
    private = [await api("GET", path, who) for who in (None, "alice")]
    assert [answer.status_code for answer in private] == [401, 403]
    assert code(private[1]) == code(missing[1])


# ---- changing ----


async def test_changing_one(api: Any) -> None:
    await api.create("web", "alice", metadata={"auto_scan": "true"})
    before = await api.get("/web", "alice")
    body = {"metadata": {"public": "true", "severity": "HIGH", "prevent_vul": "1"}, "project_name": "other"}
    answer = await api("PUT", "/web", "alice", body)
    assert (answer.status_code, answer.content) == (200, b"")
    after = await api.get("/web", "alice")
    assert after["metadata"] == {"public": "true", "severity": "high", "prevent_vul": "true", "auto_scan": "true"}
    assert after["name"] == "web"
    assert after["creation_time"] == before["creation_time"]
    assert after["cve_allowlist"] == before["cve_allowlist"]


async def test_changing_the_allowlist(api: Any) -> None:
    await api.create("web", "alice")
    await api.create("other", "bob")
    items = [{"cve_id": "CVE-2019-10164"}, {"cve_id": "GHSA-xxxx-yyyy"}]
    body = {"cve_allowlist": {"project_id": 3, "id": 1, "items": items, "expires_at": 1800000000}}
    assert (await api("PUT", "/web", "alice", body)).status_code == 200
    said = (await api.get("/web", "alice"))["cve_allowlist"]
    assert (said["items"], said["expires_at"], said["project_id"]) == (items, 1800000000, 2)
    assert (await api.get("/other"))["cve_allowlist"]["items"] == []
    assert (await api("PUT", "/web", "alice", {"cve_allowlist": {"items": None}})).status_code == 200
    said = (await api.get("/web", "alice"))["cve_allowlist"]
    assert said["items"] == []
    assert "expires_at" not in said


@pytest.mark.parametrize("items", [[""], ["a b"], ["x" * 129], ["CVE-1", "CVE-1"], ["CVE-\n1"], ["ｃve"]])
async def test_an_allowlist_that_will_not_do(api: Any, items: list[str]) -> None:
    await api.create("web", "alice")
    body = {"cve_allowlist": {"items": [{"cve_id": each} for each in items]}}
    assert code(await api("PUT", "/web", "alice", body)) == (400, "BAD_REQUEST")


async def test_sending_back_what_was_read_changes_nothing(api: Any) -> None:
    for visibility in ("private", "internal", "public"):
        await api.create(visibility, "alice", metadata={"visibility": visibility, "auto_scan": "true"})
        said = await api.get(f"/{visibility}", "alice")
        assert (await api("PUT", f"/{visibility}", "alice", said)).status_code == 200
        again = await api.get(f"/{visibility}", "alice")
        assert {**again, "update_time": said["update_time"]} | {"cve_allowlist": 0} == said | {"cve_allowlist": 0}


@pytest.mark.parametrize("who", ["bob", None])
async def test_others_change_nothing(api: Any, who: str | None) -> None:
    await api.create("web", "alice", public=True)
    refused = 401 if who is None else 403
    for method, path, body in (
        ("PUT", "/web", {"metadata": {"public": "false"}}),
        ("DELETE", "/web", None),
        ("POST", "/web/metadatas", {"auto_scan": "true"}),
        ("PUT", "/web/metadatas/public", {"public": "false"}),
        ("DELETE", "/web/metadatas/public", None),
        ("POST", "/web/members", {"role_id": 1, "member_user": {"username": "bob"}}),
        ("PUT", "/web/members/1", {"role_id": 1}),
        ("DELETE", "/web/members/1", None),
    ):
        assert (await api(method, path, who, body)).status_code == refused, (method, path)
    assert (await api.get("/web"))["metadata"] == {"public": "true"}


async def test_a_retention_policy_is_set_elsewhere(api: Any, crowd: Any) -> None:
    assert code(await api("POST", "", "alice", {"project_name": "x", "metadata": {"retention_id": "1"}}))[0] == 400
    number = await api.create("web", "alice")
    assert code(await api("PUT", "/web", "alice", {"metadata": {"retention_id": "1"}}))[0] == 400
    crowd.quotas[number] = {"metadata": {"retention_id": "7"}}
    said = await api.get("/web", "alice")
    assert said["metadata"] == {"public": "false", "retention_id": "7"}
    assert (await api("PUT", "/web", "alice", said)).status_code == 200
    assert code(await api("PUT", "/web", "alice", {"metadata": {"retention_id": "8"}}))[0] == 400


# ---- deleting ----


async def test_deleting_one(registry: Registry, api: Any) -> None:
    number = await api.create("web", "alice")
    await api.add("web", "bob", 3)
    assert await api.get("/web/_deletable", "alice") == {"deletable": True}
    answer = await api("DELETE", "/web", "alice")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await api("GET", "/web")).status_code == 404
    told = (await details(registry, "project.delete"))[-1]
    assert (told["id"], told["name"], told["namespace"]) == (number, "web", "web")
    left = sa.select(allowlists.c.id).where(allowlists.c.project_id == number)
    assert await registry.database.rows(left) == [], "nothing of it is kept"
    again = await api.create("web", "bob")
    assert again > number, "a number is never given twice"
    assert (await api("GET", "/web", "alice")).status_code == 403, "and who was a member of the old one is none here"


async def test_what_was_deleted_in_it_goes_with_it(registry: Registry, api: Any) -> None:
    """Whoever makes a project of that name next is somebody else, who must not restore what the old one had."""
    session = registry.session()
    await api.create("web", "alice")
    await api.create("web-2", "alice")
    async with RegistryClient(app=asgi(registry), credentials=Credentials("alice", PASSWORD)) as client:
        for name in ("web/app", "web/deep/app", "web-2/app"):
            await client.push_image(name, "1")
            await session.delete_repository(name)
    kept, _ = await session.trash(Listing())
    assert {each.repository for each in kept} == {"web/app", "web/deep/app", "web-2/app"}
    assert (await api("DELETE", "/web", "alice")).status_code == 200
    await api.create("web", "bob")
    left, _ = await session.trash(Listing())
    assert [each.repository for each in left] == ["web-2/app"]
    for each in kept[-2:]:
        with pytest.raises(Missing):
            await session.restore(each.id)
    assert (await details(registry, "trash.empty")) == [{"namespace": "web", "deleted": 2}]


async def test_one_with_repositories_stays(registry: Registry, api: Any) -> None:
    await api.create("web", "alice")
    await api.create("web-2", "alice")
    await repository(registry, "web/app", "web-2/app", "webb/app")
    said = await api.get("/web/_deletable", "alice")
    assert said["deletable"] is False
    assert said["message"].startswith("the project contains repositories, can not be deleted")
    answer = await api("DELETE", "/web", "alice")
    assert code(answer) == (412, "PRECONDITION")
    assert message(answer).startswith("the project contains repositories, can not be deleted")
    assert (await api.get("/web", "alice"))["repo_count"] == 1


async def test_look_alikes_do_not_keep_it(registry: Registry, api: Any) -> None:
    await api.create("web", "alice")
    await repository(registry, "web-2/app", "webb/app", "we/app", "web.x/app", "web0/app", "a/web")
    assert (await api.get("/web", "alice"))["repo_count"] == 0
    assert (await api("DELETE", "/web", "alice")).status_code == 200


@pytest.mark.parametrize("role", [4, 2, 3, 5])
async def test_only_its_administrators_delete_it(api: Any, role: int) -> None:
    await api.create("web", "alice")
    await api.add("web", "bob", role)
    for method, path in (("GET", "/web/_deletable"), ("DELETE", "/web"), ("PUT", "/web")):
        assert (await api(method, path, "bob", {})).status_code == 403


# ---- numbers ----


async def test_a_summary(registry: Registry, api: Any, crowd: Any) -> None:
    number = await api.create("web", "alice")
    for who, role in (("bob", 4), ("carol", 2), ("dave", 3), ("erin", 5), ("ops", 3)):
        await api.add("web", who, role)
    await api.add("web", "Zoë", 2, pattern="app/*")
    await repository(registry, "web/app", "web/deep/app", "web-2/app")
    crowd.quotas[number] = {"quota": {"hard": {"storage": 100}, "used": {"storage": 7}}}
    full = {
        "repo_count": 2,
        "project_admin_count": 1,
        "maintainer_count": 1,
        "developer_count": 1,
        "guest_count": 2,
        "limited_guest_count": 1,
        "quota": {"hard": {"storage": 100}, "used": {"storage": 7}},
    }
    assert await api.get("/web/summary", "alice") == full
    assert await api.get("/web/summary", "dave") == full
    assert await api.get("/web/summary", "erin") == {"repo_count": 2, "quota": full["quota"]}
    await api("PUT", "/web", "alice", {"public": True})
    assert await api.get("/web/summary", None) == {"repo_count": 2}
    assert "quota" not in await api.get("/web", "Zoë")
    assert (await api.get("/web", "bob"))["quota"] == full["quota"]


async def test_a_plugin_that_fails_hides_no_project(api: Any, crowd: Any, caplog: pytest.LogCaptureFixture) -> None:
    await api.create("web", "alice")
    crowd.quotas = None
    assert (await api.get("/web", "alice"))["name"] == "web"
    assert "crowd failed in describe_projects" in caplog.text


async def test_roles_of_the_caller(api: Any, crowd: Any) -> None:
    await api.create("web", "alice")
    await api.add("web", "bob", 5)
    await api.add("web", "ops", 2)
    await api.add("web", "dev", 4)
    crowd.memberships["bob"] = ("ops", "dev")
    said = await api.get("/web", "bob")
    assert (said["current_user_role_id"], said["current_user_role_ids"]) == (4, [4, 2, 5])
    said = await api.get("/web", "admin")
    assert (said["current_user_role_id"], said["current_user_role_ids"]) == (0, [])


async def test_everything_by_number_and_by_name(api: Any) -> None:
    number = await api.create("web", "alice")
    for path in ("", "/summary", "/_deletable", "/members", "/members/2", "/metadatas/public"):
        assert await api.get(f"/{number}{path}", "alice") == await api.get(f"/web{path}", "alice")


async def test_a_real_push_is_counted(registry: Registry, api: Any) -> None:
    await api.create("web", "alice")
    async with RegistryClient(
        app=asgi(registry), credentials=Credentials("alice", "a password for tests only")
    ) as client:
        await client.push_image("web/app", "1")
    assert (await api.get("/web", "alice"))["repo_count"] == 1


async def test_a_project_is_found_inside_a_change_with_its_transaction(registry: Registry, api: Any) -> None:
    """Robots and labels ask once more inside theirs: to read beside it would take a second connection."""
    number = await api.create("web")
    session = registry.session()
    async with session.change(session.operation("thing.create")):
        for reference in (number, "web"):
            found = await registry.plugins.resolve_namespace(reference)
            assert found is not None
            assert (found.id, found.name) == (number, "web")
