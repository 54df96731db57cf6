"""harborapi, a client of Harbor's that we did not write, against a registry with every plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from harborapi import HarborAsyncClient
from harborapi.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    StatusError,
    Unauthorized,
    UnprocessableEntity,
)
from harborapi.models import (
    Configurations,
    Label,
    ProjectMetadata,
    ProjectReq,
    QuotaUpdateReq,
    Repository,
    RobotCreate,
    Schedule,
    ScheduleObj,
    Tag,
    UserCreationReq,
    UserGroup,
    UserProfile,
)
from harborapi.models.models import Access, ResourceList, RobotPermission, Type

from corereg.testing.client import OCI_CONFIG, Content, Credentials, RegistryClient, blob, image
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

pytestmark = pytest.mark.anyio

SECRET = "Password-of-alice-1"


@pytest.fixture
async def login(harbor: Served) -> AsyncIterator[Callable[..., HarborAsyncClient]]:
    """A client that signs in as somebody."""
    made: list[HarborAsyncClient] = []

    def make(name: str = ADMINISTRATOR, secret: str = PASSWORD) -> HarborAsyncClient:
        made.append(HarborAsyncClient(f"{harbor.url}/api/v2.0", username=name, secret=secret, retry=None))
        return made[-1]

    yield make
    for client in made:
        await client.client.aclose()


@pytest.fixture
def admin(login: Callable[..., HarborAsyncClient]) -> HarborAsyncClient:
    return login()


async def user(admin: HarborAsyncClient, name: str) -> int:
    location = await admin.create_user(
        UserCreationReq(username=name, email=f"{name}@example.com", realname=name, password=SECRET, comment="")
    )
    return int(location.rpartition("/")[2])


async def test_users(admin: HarborAsyncClient, login: Callable[..., HarborAsyncClient]) -> None:
    number = await user(admin, "alice")
    with pytest.raises(Conflict):
        await user(admin, "Alice")
    alice = await admin.get_user(number)
    assert (alice.username, alice.email, alice.sysadmin_flag) == ("alice", "alice@example.com", False)
    assert (await admin.get_user_by_username("alice")).user_id == number
    assert [each.username for each in await admin.get_users(query="username=~ali")] == ["alice"]
    assert [each.username for each in await admin.search_users_by_username("alic")] == ["alice"]
    own = login("alice", SECRET)
    current = await own.get_current_user()
    assert (current.username, current.sysadmin_flag) == ("alice", False)
    with pytest.raises(Forbidden):
        await own.get_users()
    await own.update_user(number, UserProfile(email="new@example.com", realname="A", comment="hello"))
    assert (await own.get_user(number)).email == "new@example.com"
    await admin.set_user_admin(number, True)
    assert (await admin.get_user(number)).sysadmin_flag
    await admin.set_user_admin(number, False)
    await own.set_user_password(number, "Another-password-2", SECRET)
    with pytest.raises(Unauthorized):
        await own.get_current_user()
    await admin.delete_user(number)
    with pytest.raises(NotFound):
        await admin.get_user(number)


async def test_projects_and_members(admin: HarborAsyncClient, login: Callable[..., HarborAsyncClient]) -> None:
    number = await user(admin, "bob")
    location = await admin.create_project(ProjectReq(project_name="apps", public=False, storage_limit=-1))
    assert location == "/api/v2.0/projects/apps"
    with pytest.raises(Conflict):
        await admin.create_project(ProjectReq(project_name="apps"))
    project = await admin.get_project("apps")
    assert project.project_id is not None
    assert (await admin.get_project(project.project_id)).name == "apps"
    assert await admin.project_exists("apps")
    assert not await admin.project_exists("nothing")
    names = [each.name for each in await admin.get_projects()]
    assert names == sorted(names), "by name"
    assert {"apps", "library"} <= set(names)

    bob = login("bob", SECRET)
    with pytest.raises(Forbidden):
        await bob.get_project("apps")
    with pytest.raises(Forbidden):
        await bob.get_project("nothing")
    with pytest.raises(NotFound):
        await admin.get_project("nothing")
    member = int((await admin.add_project_member_user("apps", "bob", 3)).rpartition("/")[2])
    with pytest.raises(Conflict):
        await admin.add_project_member_user("apps", number, 3)
    assert (await bob.get_project("apps")).current_user_role_id == 3
    assert {each.name for each in await bob.get_projects()} == {"apps", "library"}
    await admin.update_project_member_role("apps", member, 1)
    found = {each.entity_name: each for each in await admin.get_project_members("apps")}
    assert (found["bob"].role_id, found["bob"].role_name, found["bob"].entity_type) == (1, "projectAdmin", "u")
    await bob.set_project_metadata("apps", ProjectMetadata(auto_scan="true"))
    assert (await bob.get_project_metadata_entry("apps", "auto_scan")) == {"auto_scan": "true"}
    await bob.update_project("apps", ProjectReq(metadata=ProjectMetadata(public="true")))
    summary = await bob.get_project_summary("apps")
    assert (summary.repo_count, summary.project_admin_count) == (0, 2)
    assert summary.quota is not None
    await admin.remove_project_member("apps", member)
    assert (await bob.get_project("apps")).name == "apps", "it is public now"
    with pytest.raises(Forbidden):
        await bob.update_project("apps", ProjectReq(metadata=ProjectMetadata(public="false")))
    assert (await admin.get_project_deletable("apps")).deletable
    await admin.delete_project("apps")
    assert not await admin.project_exists("apps")


async def test_groups(admin: HarborAsyncClient) -> None:
    location = await admin.create_usergroup(
        UserGroup(group_name="ops", group_type=1, ldap_group_dn="cn=ops,dc=example,dc=com")
    )
    number = int(location.rpartition("/")[2])
    with pytest.raises(Conflict):
        await admin.create_usergroup(
            UserGroup(group_name="ops", group_type=1, ldap_group_dn="cn=ops,dc=example,dc=com")
        )
    assert (await admin.get_usergroup(number)).group_name == "ops"
    assert [each.group_name for each in await admin.search_usergroups("op")] == ["ops"]
    await admin.update_usergroup(number, UserGroup(group_name="operators"))
    assert [each.group_name for each in await admin.get_usergroups()] == ["operators"]
    await admin.add_project_member_group("library", number, 2)
    assert "operators" in {each.entity_name for each in await admin.get_project_members("library")}
    await admin.delete_usergroup(number)
    with pytest.raises(NotFound):
        await admin.get_usergroup(number)


async def test_repositories_artifacts_and_tags(admin: HarborAsyncClient, docker: RegistryClient) -> None:
    await admin.create_project(ProjectReq(project_name="shop", public=False))
    config = Content(OCI_CONFIG, b'{"architecture": "arm64", "os": "linux", "config": {}, "rootfs": {}}')
    layer = blob(b"what customers see")
    await docker.push("shop/web/front", "1.0", image(config, [layer]), config, layer)
    (repository,) = await admin.get_repositories("shop")
    assert (repository.name, repository.artifact_count) == ("shop/web/front", 1)
    found = await admin.get_repository("shop", "web/front")
    assert found.id == repository.id
    await admin.update_repository("shop", "web/front", Repository(description="What customers see."))
    assert (await admin.get_repository("shop", "web/front")).description == "What customers see."
    (artifact,) = await admin.get_artifacts("shop", "web/front", with_tag=True)
    assert artifact.digest is not None
    assert artifact.type == "IMAGE"
    assert artifact.extra_attrs is not None
    assert artifact.extra_attrs.root is not None
    assert artifact.extra_attrs.root["architecture"] == "arm64"
    assert [tag.name for tag in artifact.tags or ()] == ["1.0"]
    assert (await admin.get_artifact("shop", "web/front", "1.0")).digest == artifact.digest
    location = await admin.create_artifact_tag("shop", "web/front", "1.0", Tag(name="stable"))
    assert location.endswith("/tags/stable")
    with pytest.raises(Conflict):
        await admin.create_artifact_tag("shop", "web/front", "1.0", Tag(name="stable"))
    assert {tag.name for tag in await admin.get_artifact_tags("shop", "web/front", "1.0")} == {"1.0", "stable"}
    await admin.copy_artifact("shop", "copied/front", "shop/web/front:stable")
    assert (await admin.get_artifact("shop", "copied/front", "stable")).digest == artifact.digest
    await admin.delete_artifact_tag("shop", "web/front", artifact.digest, "stable")
    assert [tag.name for tag in await admin.get_artifact_tags("shop", "web/front", "1.0")] == ["1.0"]
    searched = await admin.search("web/front")
    assert [each.repository_name for each in searched.repository or ()] == ["shop/web/front"]
    with pytest.raises(PreconditionFailed):
        await admin.delete_project("shop")
    await admin.delete_artifact("shop", "web/front", "1.0")
    with pytest.raises(NotFound):
        await admin.get_artifact("shop", "web/front", "1.0")
    await admin.delete_repository("shop", "web/front")
    await admin.delete_repository("shop", "copied/front")
    await admin.delete_project("shop")


async def test_labels(admin: HarborAsyncClient, docker: RegistryClient) -> None:
    location = await admin.create_label(Label(name="good", scope="g", color="#00aa00"))
    number = int(location.rpartition("/")[2])
    with pytest.raises(Conflict):
        await admin.create_label(Label(name="good", scope="g"))
    label = await admin.get_label(number)
    assert (label.name, label.color, label.scope) == ("good", "#00aa00", "g")
    await docker.push_image("library/labelled", "1")
    await admin.add_artifact_label("library", "labelled", "1", Label(id=number))
    with pytest.raises(Conflict):
        await admin.add_artifact_label("library", "labelled", "1", Label(id=number))
    (artifact,) = await admin.get_artifacts("library", "labelled", with_label=True)
    assert [each.name for each in artifact.labels or ()] == ["good"]
    assert len(await admin.get_artifacts("library", "labelled", query=f"labels=({number})")) == 1
    await admin.update_label(number, Label(name="better", scope="g"))
    assert [each.name for each in await admin.get_labels(scope="g")] == ["better"]
    await admin.delete_artifact_label("library", "labelled", "1", number)
    await admin.delete_label(number)
    with pytest.raises(NotFound):
        await admin.get_label(number)


async def test_robots(admin: HarborAsyncClient, docker: RegistryClient, harbor: Served) -> None:
    await docker.push_image("library/tool", "1")
    pull = RobotPermission(kind="project", namespace="library", access=[Access(resource="repository", action="pull")])
    created = await admin.create_robot(
        RobotCreate(name="ci", level="system", duration=30, disable=False, permissions=[pull])
    )
    assert created.name == "robot$ci"
    assert created.id is not None
    assert created.secret is not None
    async with RegistryClient(harbor.url, credentials=Credentials(created.name, created.secret)) as robot:
        assert (await robot.get_manifest("library/tool", "1")).status_code == 200
    assert [each.name for each in await admin.get_robots()] == ["robot$ci"]
    found = await admin.get_robot(created.id)
    assert (found.level, found.duration, found.secret) == ("system", 30, None)
    await admin.refresh_robot_secret(created.id, "Refreshed-secret-1")
    async with RegistryClient(harbor.url, credentials=Credentials(created.name, "Refreshed-secret-1")) as robot:
        assert (await robot.get_manifest("library/tool", "1")).status_code == 200
    assert (await admin.get_permissions()).system
    await admin.delete_robot(created.id)
    with pytest.raises(NotFound):
        await admin.get_robot(created.id)


async def test_quotas(admin: HarborAsyncClient, docker: RegistryClient) -> None:
    await admin.create_project(ProjectReq(project_name="small", public=False, storage_limit=10))
    project = await admin.get_project("small")
    assert "small" in {(each.ref.root or {}).get("name") for each in await admin.get_quotas() if each.ref}
    (quota,) = await admin.get_quotas(reference="project", reference_id=str(project.project_id))
    assert quota.id is not None
    hard = quota.hard if isinstance(quota.hard, dict) else quota.hard.model_dump()  # type: ignore[union-attr]
    assert hard["storage"] == 10
    with pytest.raises(AssertionError, match="storage resource"):
        await docker.push_image("small/big", "1")
    await admin.update_quota(quota.id, QuotaUpdateReq(hard=ResourceList.model_validate({"storage": -1})))
    await docker.push_image("small/big", "1")
    used = (await admin.get_quota(quota.id)).used
    assert (used if isinstance(used, dict) else used.model_dump())["storage"] > 10  # type: ignore[union-attr]


async def test_configuration_and_system(admin: HarborAsyncClient, login: Callable[..., HarborAsyncClient]) -> None:
    config = await admin.get_config()
    assert config.self_registration is not None
    assert config.self_registration.value is False
    await admin.update_config(Configurations(self_registration=True, token_expiration=45))
    changed = await admin.get_config()
    assert changed.self_registration is not None
    assert changed.self_registration.value is True
    assert changed.token_expiration is not None
    assert changed.token_expiration.value == 45
    await admin.update_config(Configurations(self_registration=False, token_expiration=30))
    assert await admin.ping() == "Pong"
    assert (await admin.health_check()).status == "healthy"
    info = await admin.get_system_info()
    assert (info.auth_mode, info.self_registration, info.project_creation_restriction) == (
        "db_auth",
        False,
        "everyone",
    )
    statistics = await admin.get_statistics()
    assert statistics.total_project_count is not None
    assert statistics.total_project_count >= 1
    allowlist = await admin.get_cve_allowlist()
    assert allowlist.items == []
    wrong = login(secret="wrong password 1")
    with pytest.raises(StatusError):
        await wrong.get_config()


async def test_garbage_collection_and_its_job(
    admin: HarborAsyncClient, login: Callable[..., HarborAsyncClient]
) -> None:
    await user(admin, "gina")
    with pytest.raises(Forbidden):
        await login("gina", SECRET).get_gc_jobs()
    assert (await admin.get_gc_schedule()).schedule is None
    daily = Schedule(schedule=ScheduleObj(type=Type.daily, cron="0 0 0 * * *"), parameters={"delete_untagged": True})
    await admin.create_gc_schedule(daily)
    found = (await admin.get_gc_schedule()).schedule
    assert found is not None
    assert (found.type, found.cron) == (Type.daily, "0 0 0 * * *")
    await admin.update_gc_schedule(Schedule(schedule=ScheduleObj(type=Type.none)))
    assert (await admin.get_gc_schedule()).schedule is None
    with pytest.raises(BadRequest):
        await admin.create_gc_schedule(Schedule(schedule=ScheduleObj(type=Type.manual), parameters={"workers": 11}))

    manual = Schedule(schedule=ScheduleObj(type=Type.manual), parameters={"dry_run": True, "workers": 2})
    location = await admin.create_gc_schedule(manual)
    number = int(location.removeprefix("/api/v2.0/system/gc/"))
    with anyio.fail_after(60):
        while (job := await admin.get_gc_job(number)).job_status != "Success":
            assert job.job_status in {"Pending", "Running"}
            await anyio.sleep(0.1)
    assert (job.job_name, job.job_kind, job.deleted) == ("GARBAGE_COLLECTION", "MANUAL", False)
    assert '"dry_run":true' in (job.job_parameters or "")
    assert [each.id for each in await admin.get_gc_jobs(sort="-id", page_size=1, limit=1)] == [number]
    log = await admin.get_gc_log(number)
    assert any("would take" in line for line in log)
    with pytest.raises(NotFound):
        await admin.get_gc_job(999_999)


async def test_the_job_service_as_it_is_asked(admin: HarborAsyncClient) -> None:
    """harborapi has no words for these: its transport carries them."""
    pools = await admin.get("/jobservice/pools")
    assert [pool["worker_pool_id"] for pool in pools]
    assert await admin.get("/jobservice/pools/all/workers") == []
    await admin.put("/jobservice/queues/GARBAGE_COLLECTION", json={"action": "pause"})
    queues = {each["job_type"]: each for each in await admin.get("/jobservice/queues")}
    assert queues["GARBAGE_COLLECTION"]["paused"]
    location = await admin.create_gc_schedule(Schedule(schedule=ScheduleObj(type=Type.manual)))
    number = int(location.rpartition("/")[2])
    assert (await admin.get_gc_job(number)).job_status == "Pending"
    await admin.put("/jobservice/queues/GARBAGE_COLLECTION", json={"action": "stop"})
    assert (await admin.get_gc_job(number)).job_status == "Stopped"
    await admin.put("/jobservice/queues/all", json={"action": "resume"})
    assert (await admin.get("/schedules/all/paused")) == {"paused": False}
    with pytest.raises(UnprocessableEntity):
        await admin.put("/jobservice/queues/all", json={"action": "dance"})
