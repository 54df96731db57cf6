"""The registry as a whole: settings, read-only, health, what it says of itself, search, counts."""

from __future__ import annotations

import re
import time

import anyio
import msgspec
import pytest

from corereg import SYSTEM, Config, Identity, Operation, Setting, StorageUnavailable, hookimpl
from corereg.testing.client import Credentials, RegistryClient, expect
from corereg.testing.registry import may
from corereg_management.switches import refusal_of

pytestmark = pytest.mark.anyio

HERE = "library/app"
SENTENCE = "The system is in read only mode. Any modification is prohibited."


# ---- what it says of itself ----


async def test_systeminfo(api, as_nobody) -> None:
    assert await as_nobody.get("/systeminfo") == {"auth_mode": "db_auth", "banner_message": ""}
    found = await api.get("/systeminfo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("current_time"))
    assert found.pop("harbor_version").startswith("v2.16.0-corereg.")
    assert found == {
        "auth_mode": "db_auth",
        "banner_message": "",
        "external_url": "http://registry.test",
        "has_ca_root": False,
        "project_creation_restriction": "everyone",
        "read_only": False,
        "registry_storage_provider_name": "filesystem",
        "registry_url": "registry.test",
    }


async def test_the_address_is_the_configured_one(opened) -> None:
    server = msgspec.structs.replace(Config().server, external_url="https://registry.example:8443")
    api = await opened(server=server)
    found = await api.get("/systeminfo")
    assert (found["external_url"], found["registry_url"]) == ("https://registry.example:8443", "registry.example:8443")


async def test_a_certificate_authority(opened, tmp_path, api) -> None:
    await api.call("GET", "/systeminfo/getcert", 404)
    server = msgspec.structs.replace(
        Config().server, tls=msgspec.structs.replace(Config().server.tls, self_signed=True)
    )
    own = await opened(server=server)
    await own.get("/systeminfo/getcert", 404)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "ca.crt").write_text("a certificate")
    (tmp_path / "tls" / "ca.key").write_text("a key")
    answer = await own.answer("GET", "/systeminfo/getcert")
    assert expect(answer, 200).content == b"a certificate"
    assert answer.headers["content-disposition"] == 'attachment; filename="ca.crt"'
    assert (await own.get("/systeminfo"))["has_ca_root"]


async def test_volumes(api, as_guest, as_nobody) -> None:
    (found,) = (await api.get("/systeminfo/volumes"))["storage"]
    assert found["total"] >= found["free"] > 0
    await as_guest.get("/systeminfo/volumes", 403)
    await as_nobody.get("/systeminfo/volumes", 401)


async def test_ping_and_version(as_nobody) -> None:
    answer = await as_nobody.answer("GET", "/ping")
    assert (answer.status_code, answer.content) == (200, b"Pong")
    assert await as_nobody.get("/api/version") == {"version": "v2.0"}


async def test_health(as_nobody, monkeypatch) -> None:
    found = await as_nobody.get("/health")
    assert found["status"] == "healthy"
    assert [(each["name"], each["status"]) for each in found["components"]] == [
        ("core", "healthy"),
        ("database", "healthy"),
        ("registry", "healthy"),
        ("jobservice", "healthy"),
        ("journal", "healthy"),
    ]


async def test_health_tells_what_is_ill_and_not_where_it_lies(as_nobody, monkeypatch) -> None:
    async def fails(key: str) -> None:
        raise StorageUnavailable("/the/very/path is away")

    monkeypatch.setattr(as_nobody.registry.storage, "stat", fails)
    answer = await as_nobody.answer("GET", "/health")
    assert expect(answer, 200).json()["status"] == "unhealthy"
    assert {"name": "registry", "status": "unhealthy", "error": "the storage does not answer"} in answer.json()[
        "components"
    ]
    assert "/the/very/path" not in answer.text


@pytest.mark.parametrize(
    ("name", "method", "given", "error"),
    [
        ("jobservice", "nodes.all", [], ""),
        ("jobservice", "nodes.all", ["silent"], "no process runs jobs"),
        ("journal", "journal.behind", {"quotas": (3, 899.0)}, ""),
        ("journal", "journal.behind", {"quotas": (3, 901.0)}, "far behind: quotas"),
        ("journal", "journal.behind", {"removed": (3, 901.0)}, ""),
    ],
)
async def test_health_of_jobs_and_readers(as_nobody, monkeypatch, name, method, given, error) -> None:
    class Silent:
        id = "a process"
        alive = False
        slots = 4
        seen_at = 0

    async def answer() -> object:
        return [Silent()] if given == ["silent"] else given

    part, _, called = method.partition(".")
    monkeypatch.setattr(getattr(as_nobody.registry, part), called, answer)
    monkeypatch.setattr(as_nobody.registry.plugins, "observers", lambda: {"quotas": None})
    found = await as_nobody.get("/health")
    (component,) = [each for each in found["components"] if each["name"] == name]
    assert component.get("error", "") == error
    assert found["status"] == ("unhealthy" if error else "healthy")


async def test_many_who_ask_for_the_health_look_once(as_nobody, monkeypatch) -> None:
    looked = 0
    stat = as_nobody.registry.storage.stat

    async def counted(key: str):
        nonlocal looked
        looked += 1
        return await stat(key)

    monkeypatch.setattr(as_nobody.registry.storage, "stat", counted)
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(as_nobody.get, "/health")
    assert looked == 1


async def test_statistics(api, as_guest, as_nobody) -> None:
    await api.push(HERE, "v1")
    found = await api.get("/statistics")
    assert found.pop("total_storage_consumption") > 0
    assert found == {
        "private_project_count": 2,
        "private_repo_count": 0,
        "public_project_count": 1,
        "public_repo_count": 0,
        "total_project_count": 3,
        "total_repo_count": 0,
    }
    assert (await as_guest.get("/statistics"))["total_storage_consumption"] == 0
    await as_nobody.get("/statistics", 401)


# ---- search ----


async def test_search(opened) -> None:
    api = await opened(anonymous=(may("library/*", "list"),))
    await api.push("library/app", "v1")
    await api.push("library/app", "v2")
    await api.push("secret/library-of-secrets", "v1")
    found = await api.get("/search?q=LIBRARY")
    assert found["project"] == []
    found = await api.get("/search?q=library")
    assert found["project"] == [{"project_id": 1, "name": "library"}]
    assert found["repository"] == [
        {
            "repository_name": "library/app",
            "project_id": 1,
            "project_name": "library",
            "project_public": True,
            "pull_count": 0,
            "artifact_count": 2,
        },
        {
            "repository_name": "secret/library-of-secrets",
            "project_id": 2,
            "project_name": "secret",
            "project_public": False,
            "pull_count": 0,
            "artifact_count": 1,
        },
    ]
    async with RegistryClient(app=api.client._app, sign_in="never") as nobody:
        found = (await nobody.request("GET", "/api/v2.0/search?q=library")).json()
    assert [each["repository_name"] for each in found["repository"]] == ["library/app"]


@pytest.mark.parametrize("q", ["%25", "_", "%00", "'%20OR%201=1--", "x" * 100])
async def test_search_for_what_is_not_there(api, q: str) -> None:
    await api.push(HERE, "v1")
    assert (await api.get(f"/search?q={q}"))["repository"] == []


async def test_search_for_nothing(api) -> None:
    await api.get("/search", 422)


# ---- settings ----


class Secretive:
    """Has a secret."""

    @hookimpl
    def provide_settings(self):
        return [Setting(name="its_password", type=str, default="hunter2", description="A secret.", secret=True)]


async def test_settings(opened) -> None:
    api = await opened(Secretive())
    found = await api.get("/configurations")
    assert found["read_only"] == {"value": False, "editable": True}
    assert found["token_expiration"] == {"value": 30, "editable": True}
    assert await api.get("/internalconfig") == found
    assert "its_password" not in found
    await api.call("PUT", "/configurations", 200, {"banner_message": '{"message":"hi"}', "its_password": None})
    assert (await api.get("/configurations"))["banner_message"]["value"] == '{"message":"hi"}'
    assert (await api.get("/systeminfo"))["banner_message"] == '{"message":"hi"}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"unheard_of": 1}, 400),
        ({"unheard_of": 1, "oidc_verify_cert": False}, 400),
        ({"auth_mode": "oidc_auth"}, 400),
        ({}, 400),
        ({"read_only": None}, 400),
        ({"read_only": "perhaps"}, 400),
        ({"token_expiration": 0}, 400),
        ({"token_expiration": 10**9}, 400),
        ({"banner_message": "a\0b"}, 400),
        ({"banner_message": "x" * 10_000}, 400),
        ([], 422),
        ("read_only", 422),
    ],
)
async def test_settings_that_make_no_sense(api, body, status: int) -> None:
    before = await api.get("/configurations")
    await api.call("PUT", "/configurations", status, body)
    await api.call("PUT", "/configurations", status if status == 422 else 400, body)
    assert await api.get("/configurations") == before


async def test_a_part_that_is_wrong_changes_nothing(api) -> None:
    await api.call("PUT", "/configurations", 400, {"banner_message": "hello", "token_expiration": -1})
    assert (await api.get("/configurations"))["banner_message"]["value"] == ""


async def test_what_harbors_clients_send_whole_is_taken(api) -> None:
    """Terraform's provider: names of parts that are not here stand beside what is to be set."""
    body = {
        "auth_mode": "db_auth",
        "email_insecure": False,
        "email_ssl": False,
        "oidc_auto_onboard": False,
        "oidc_verify_cert": False,
        "scan_all_policy": {"parameter": {}},
    }
    await api.call("PUT", "/configurations", 200, {**body, "token_expiration": 20})
    found = await api.get("/configurations")
    assert found["token_expiration"]["value"] == 20
    assert found["auth_mode"] == {"value": "db_auth", "editable": False}
    assert not {*body} - {"auth_mode"} & {*found}
    await api.call("PUT", "/configurations", 200, body)
    assert await api.get("/configurations") == found


class Directory:
    """Declares what is left aside elsewhere."""

    @hookimpl
    def provide_settings(self):
        return [
            Setting(name="auth_mode", type=str, default="ldap_auth", description="How."),
            Setting(name="ldap_timeout", type=int, default=5, description="Seconds."),
        ]


async def test_what_a_plugin_declares_is_set(opened) -> None:
    api = await opened(Directory())
    await api.call("PUT", "/configurations", 200, {"auth_mode": "db_auth", "ldap_timeout": 7, "ldap_url": "x"})
    found = await api.get("/configurations")
    assert found["auth_mode"] == {"value": "db_auth", "editable": True}
    assert found["ldap_timeout"]["value"] == 7
    assert "ldap_url" not in found


async def test_settings_are_for_administrators(as_guest, as_nobody) -> None:
    for path in ("/configurations", "/internalconfig"):
        await as_guest.get(path, 403)
        await as_nobody.get(path, 401)
    await as_guest.call("PUT", "/configurations", 403, {"read_only": True})
    await as_nobody.call("PUT", "/configurations", 401, {"read_only": True})


async def test_settings_that_the_operator_has_fixed(opened) -> None:
    api = await opened(fixed={"banner_message": "fixed"})
    found = await api.get("/configurations")
    assert found["banner_message"] == {"value": "fixed", "editable": False}
    assert not found["read_only"]["editable"]
    await api.call("PUT", "/configurations", 403, {"read_only": True})


# ---- read-only ----


async def test_a_read_only_registry_changes_nothing_and_can_be_switched_back(api) -> None:
    pushed = await api.push(HERE, "v1")
    await api.call("PUT", "/configurations", 200, {"read_only": True})
    for method, path, body in (
        ("DELETE", api.repository(HERE), None),
        ("PUT", api.repository(HERE), {"description": "x"}),
        ("DELETE", api.of(HERE, "v1"), None),
        ("POST", api.of(HERE, "v1", "tags"), {"name": "v2"}),
        ("DELETE", api.of(HERE, "v1", "tags", "v1"), None),
        ("POST", api.of("other/app") + f"?from={HERE}:v1", None),
    ):
        answer = expect(await api.answer(method, path, body), 403)
        assert answer.json()["errors"][0] == {"code": "DENIED", "message": SENTENCE}
    for method, path in (
        ("POST", f"/v2/{HERE}/blobs/uploads/"),
        ("DELETE", f"/v2/{HERE}/manifests/{pushed.digest}"),
        ("DELETE", f"/v2/{HERE}/manifests/v1"),
    ):
        assert SENTENCE in expect(await api.client.request(method, path), 403).text
    expect(await api.client.put_manifest(HERE, "v2", pushed), 403)
    expect(await api.client.get_manifest(HERE, "v1"), 200)
    assert (await api.get("/systeminfo"))["read_only"] is True
    await api.call("PUT", "/configurations", 200, {"read_only": False})
    await api.call("POST", api.of(HERE, "v1", "tags"), 201, {"name": "v2"})


async def test_keys_are_renewed_though_it_is_read_only(api) -> None:
    await api.call("PUT", "/configurations", 200, {"read_only": True})
    await api.registry.rotate_keys()


async def test_the_collector_is_kept_away_though_it_is_read_only(api) -> None:
    await api.call("PUT", "/configurations", 200, {"read_only": True})
    session = api.registry.session()
    await session.hold_collection("backup", 60)
    await session.release_collection("backup")


@pytest.mark.parametrize("kind", ["user.create", "user.update"])
def test_who_signs_in_is_made_known_though_it_is_read_only(kind: str) -> None:
    dora = Identity(name="dora", subject="directory:dora", source="directory")
    assert refusal_of(Operation(kind=kind, identity=dora)) is not None
    assert refusal_of(Operation(kind=kind, identity=dora, details={"signing_in": True})) is None


@pytest.mark.parametrize("kind", ["user.create", "project.create", "member.rename", "member.delete"])
def test_what_the_registry_does_by_itself_goes_on(kind: str) -> None:
    assert refusal_of(Operation(kind=kind, identity=SYSTEM)) is None
    assert refusal_of(Operation(kind=kind, identity=Identity(name="dora", subject="user:2"))) is not None


@pytest.mark.parametrize("kind", ["blob.collect", "trash.empty", "tag.delete", "fsck.repair", "manifest.push"])
def test_what_would_be_gone_is_kept_from_the_registry_itself_too(kind: str) -> None:
    assert refusal_of(Operation(kind=kind, identity=SYSTEM)) is not None


# ---- tokens ----


async def lifetime(api) -> int:
    async with RegistryClient(
        app=api.client._app, credentials=Credentials("admin", "a password for tests only")
    ) as client:
        answer = expect(await client.token("/service/token", []), 200).json()
    return int(answer["expires_in"])


async def test_the_lifetime_of_tokens(opened, make_registry) -> None:
    api = await opened(tokens=msgspec.structs.replace(Config().tokens, lifetime=600))
    assert (await api.get("/configurations"))["token_expiration"]["value"] == 10
    assert await lifetime(api) == 600
    other = await opened(tokens=msgspec.structs.replace(Config().tokens, lifetime=600))
    await api.call("PUT", "/configurations", 200, {"token_expiration": 45})
    assert await lifetime(api) == 45 * 60
    deadline = time.monotonic() + 30
    while await lifetime(other) != 45 * 60:
        assert time.monotonic() < deadline, "another node does not hear of it"
    again = await opened(tokens=msgspec.structs.replace(Config().tokens, lifetime=600))
    assert await lifetime(again) == 45 * 60


async def test_a_shorter_lifetime_does_not_disown_tokens_from_before(api) -> None:
    believed = api.registry.tokens.believed_for
    await api.call("PUT", "/configurations", 200, {"token_expiration": 1})
    assert await lifetime(api) == 60
    assert api.registry.tokens.believed_for == believed


# ---- the page ----


async def test_the_document(as_nobody) -> None:
    found = await as_nobody.get("/openapi.json")
    assert found["openapi"].startswith("3.1")
    paths = found["paths"]
    assert paths["/api/v2.0/health"]["get"]["operationId"] == "getHealth"
    assert paths["/api/v2.0/openapi.json"]["get"]["x-extension"]
    assert "/devcenter-api-2.0" not in paths


@pytest.mark.parametrize("page", ["/devcenter-api-2.0", "/api/v2.0/docs"])
async def test_the_page_loads_nothing_from_elsewhere(as_nobody, page: str) -> None:
    answer = expect(await as_nobody.client.request("GET", page), 200)
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?! src=\"[./])|<style|https?:|//", answer.text.replace("</", ""))
    links = re.findall(r"(?:src|href)=\"([^\"]+)\"", answer.text)
    assert len(links) == 4
    for link in links:
        target = await as_nobody.client.request("GET", str(answer.url.copy_with(path=page).join(link)))
        assert expect(target, 200).content
        assert target.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2f__init__.py", "../dist/swagger-ui.css", "swagger-ui.js", "LICENSE", "%2e%2e"])
async def test_only_the_files_of_the_page_are_served(as_nobody, name: str) -> None:
    expect(await as_nobody.client.request("GET", f"/devcenter-api-2.0/{name}"), 404)
