"""What is pushed stands in a project that is there."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from corereg import Denied, Digest, Grant, OCIError, Operation, Registry, asgi
from corereg.testing.client import Credentials, RegistryClient, blob, image
from corereg.testing.statements import statements_of

from .conftest import PASSWORD, code, message

pytestmark = pytest.mark.anyio

ADMIN = Credentials("admin", PASSWORD)


@pytest.mark.parametrize("path", ["nowhere/app", "nowhere/deep/app", "librar/app", "library-2/app", "library2/app"])
async def test_a_push_into_a_project_that_is_not_there(registry: Registry, api: Any, path: str) -> None:
    project = path.partition("/")[0]
    for method, target in (
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?mount=sha256:{'0' * 64}&from=library/app"),
        ("PUT", "manifests/1"),
    ):
        body = image().body if method == "PUT" else b""
        headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"} if body else {}
        answer = await api(method, f"/v2/{path}/{target}", "admin", content=body, headers=headers)
        assert code(answer) == (403, "DENIED"), target
        assert message(answer).startswith(f"project {project} not found")
    assert await registry.catalog.repository_id(path) is None


async def test_a_name_without_a_project(api: Any) -> None:
    answer = await api("POST", "/v2/alpine/blobs/uploads/", "admin")
    assert code(answer) == (403, "DENIED")
    assert message(answer) == "project alpine not found: name a project too, such as library/alpine"


async def test_a_push_into_one_that_is_there(registry: Registry, api: Any) -> None:
    await api.create("web", "alice")
    credentials = Credentials("alice", PASSWORD)
    async with RegistryClient(app=asgi(registry), credentials=credentials) as client:
        await client.push_image("web/deep/app", "1")
        answer = await client.get_manifest("web/deep/app", "1")
        assert answer.status_code == 200


async def test_a_mount_and_a_copy_into_one_that_is_not_there(registry: Registry, api: Any) -> None:
    async with RegistryClient(app=asgi(registry), credentials=ADMIN) as client:
        pushed = await client.push_image("library/app", "1")
        layer = await client.push_blob("library/app", b"layer")
        answer = await client.request("POST", f"/v2/nowhere/app/blobs/uploads/?mount={layer}&from=library/app")
        assert code(answer) == (403, "DENIED")
    session = registry.session()
    with pytest.raises(OCIError, match=r"^project nowhere not found"):
        await session.copy_artifact("library/app", Digest.parse(pushed.digest), "nowhere/app")
    await session.copy_artifact("library/app", Digest.parse(pushed.digest), "library/copy")


async def test_what_is_refused_does_not_say_whether_a_project_is_there(api: Any) -> None:
    """Rights are asked first: somebody without any hears the same of a private project and of none."""
    await api.create("web", "alice")
    answers = [await api("POST", f"/v2/{name}/app/blobs/uploads/", "bob") for name in ("web", "nowhere")]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert message(answers[0]).replace("web", "nowhere") == message(answers[1])


async def test_a_project_that_is_deleted_while_somebody_pushes(registry: Registry, api: Any, crowd: Any) -> None:
    """An upload that was begun in time is not finished into nothing."""
    await api.create("web", "alice")
    crowd.extra["alice"] = (Grant("web/*", "repository", frozenset({"push", "pull"})),)
    begun = await api("POST", "/v2/web/app/blobs/uploads/", "alice")
    assert begun.status_code == 202
    assert (await api("DELETE", "/web")).status_code == 200
    data = blob(b"layer")
    location = f"{begun.headers['location']}{'&' if '?' in begun.headers['location'] else '?'}digest={data.digest}"
    answer = await api("PUT", location.removeprefix("http://registry.test"), "alice", content=data.body)
    assert code(answer) == (403, "DENIED")
    assert message(answer).startswith("project web not found")
    assert await registry.catalog.repository_id("web/app") is None


async def test_inside_the_transaction_too(registry: Registry) -> None:
    """`admit` was asked before somebody deleted the project."""
    session = registry.session()
    operation = Operation(kind="manifest.push", identity=session.identity, repository="nowhere/app")
    async with registry.database.transaction() as tx:
        refusal = await registry.plugins.commit(operation, tx)
        assert refusal is not None
        assert refusal.message.startswith("project nowhere not found")
        assert (refusal.status, refusal.code) == (403, Denied.code)
        there = Operation(kind="manifest.push", identity=session.identity, repository="library/app")
        assert await registry.plugins.commit(there, tx) is None


async def test_pulls_and_deletes_are_not_asked_about(registry: Registry) -> None:
    session = registry.session()
    with statements_of(registry.database) as seen:
        for kind in ("manifest.pull", "blob.pull", "manifest.delete", "tag.delete", "repository.delete"):
            operation = Operation(kind=kind, identity=session.identity, repository="nowhere/app")
            assert await registry.plugins.admit(operation) is None
    assert seen == []


async def test_a_delete_waits_for_a_push_that_is_under_way(registry: Registry, api: Any) -> None:
    """The push has been let in and has written; the delete must not overtake it and find the project empty."""
    await api.create("web", "alice")
    pushed, go_on = anyio.Event(), anyio.Event()

    async def push() -> None:
        session = registry.session()
        operation = Operation(kind="manifest.push", identity=session.identity, repository="web/app")
        async with registry.database.transaction() as tx:
            await registry.catalog.ensure_repository(tx, "web/app")
            assert await registry.plugins.commit(operation, tx) is None
            pushed.set()
            await go_on.wait()

    answers = []

    async def delete() -> None:
        answers.append(await api("DELETE", "/web", "alice"))
        go_on.set()

    async with anyio.create_task_group() as group:
        group.start_soon(push)
        await pushed.wait()
        group.start_soon(delete)
        with anyio.move_on_after(0.5):
            await go_on.wait()
        assert answers == [], "it waits"
        go_on.set()
    assert code(answers[0]) == (412, "PRECONDITION")
    assert (await api.get("/web"))["repo_count"] == 1
