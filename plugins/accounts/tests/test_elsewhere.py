"""People whom another plugin vouches for: they get a user, groups and rights, and nobody is taken for another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import msgspec
import pytest

from corereg import Identity, OCIError, Operation, Refusal, Registry, Unauthorized, hookimpl
from corereg_accounts.groups import Groups, Kind
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]
ADMIN = ("admin", "Admin-for-tests-1")
DORA = ("dora", "from the directory")
SECRET = ("dora", "Correct-horse-7")
CURRENT = "/api/v2.0/users/current"
BASE = "/api/v2.0/usergroups"


class Directory:
    """Knows people, what it calls them, and their groups, as a plugin of LDAP does."""

    name = "directory"

    def __init__(self) -> None:
        self.subject = "directory:uid=dora"
        self.administrator = False
        self.attributes: dict[str, Any] = {"groups": [], "email": "dora@example.com", "realname": "Dora D."}

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        if password != DORA[1]:
            return None
        return Identity(
            name=name,
            subject=self.subject,
            administrator=self.administrator,
            source=self.name,
            attributes=self.attributes,
        )


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
async def nodes(make_registry: Make, directory: Directory) -> AsyncIterator[tuple[Registry, Registry]]:
    async with make_registry(directory) as first, make_registry(directory) as second:
        yield first, second


@pytest.fixture
async def registry(nodes: tuple[Registry, Registry]) -> Registry:
    return nodes[0]


async def who(registry: Registry, name: str = "dora", address: str | None = None) -> Identity:
    return (await registry.signin.password(name, DORA[1], address)).identity


async def group(client: httpx2.AsyncClient, **body: Any) -> str:
    answer = await client.post(BASE, json=body, auth=ADMIN)
    return f"group:{answer.headers['location'].rpartition('/')[2]}"


async def test_a_user_is_made_at_the_first_sign_in(
    registry: Registry, client: httpx2.AsyncClient, users: Users
) -> None:
    identity = await who(registry)
    user = await users.named("dora")
    assert (identity.subject, identity.name, identity.source) == (user.subject, "dora", "directory")
    assert (user.source, user.local, user.email, user.realname) == (
        "directory",
        False,
        "dora@example.com",
        "Dora D.",
    )
    assert "groups" not in identity.attributes
    assert (await client.get(CURRENT, auth=DORA)).json()["user_id"] == user.id
    assert await who(registry) == identity
    events = [each for each in await registry.journal.events() if each.kind == "user.create"]
    assert [(each.actor, each.details["source"]) for each in events[1:]] == [("dora", "directory")]


class Frozen:
    """Lets nothing happen but what is part of a sign-in, as a registry that is read-only."""

    name = "frozen"
    on = False

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        return Refusal("not now") if self.on and operation.details.get("signing_in") is not True else None


async def test_a_sign_in_can_be_told_from_other_changes(make_registry: Make, directory: Directory) -> None:
    frozen = Frozen()
    async with make_registry(directory, frozen) as registry:
        group = await Groups(registry.database).create(registry.session(), Kind.LDAP, "ops", "cn=ops,dc=example")
        frozen.on = True
        directory.attributes["groups"] = ["cn=ops,dc=example"]
        directory.administrator = True
        identity = await who(registry)
        assert identity.groups == (group.subject,)
        assert identity.administrator
        with pytest.raises(OCIError, match="not now"):
            await Groups(registry.database).create(registry.session(), Kind.LDAP, "dev", "cn=dev,dc=example")


async def test_many_sign_ins_at_once_make_one_user(nodes: tuple[Registry, Registry], users: Users) -> None:
    found: list[Identity] = []

    async def sign_in(registry: Registry, address: str) -> None:
        found.append(await who(registry, address=address))

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(sign_in, nodes[number % 2], f"192.0.2.{number}")
    assert len({each.subject for each in found}) == 1
    assert [each.name for each in await users.everyone()] == ["admin", "dora"]


async def test_nobody_is_taken_for_a_local_user(
    registry: Registry, directory: Directory, people: dict[str, User]
) -> None:
    with pytest.raises(Unauthorized, match="the name Alice belongs to another user"):
        await who(registry, "Alice")
    with pytest.raises(Unauthorized, match="the name admin belongs to another user"):
        await who(registry, "admin")


@pytest.mark.parametrize("subject", ["user:1", "user:2", "group:1", "system", "*"])
async def test_what_the_directory_calls_people_is_no_subject_here(
    registry: Registry, directory: Directory, people: dict[str, User], subject: str
) -> None:
    directory.subject = subject
    identity = await who(registry)
    assert identity.subject not in {"user:1", "user:2", "user:3", subject}
    assert identity.administrator is False


async def test_two_people_of_one_directory_and_one_number(registry: Registry, directory: Directory) -> None:
    """The directory may call a second person as the registry calls the first one."""
    first = await who(registry)
    directory.subject = first.subject
    second = await who(registry, "emil")
    assert second.subject != first.subject


@pytest.mark.parametrize("name", ["a,b", "ｄora", "x" * 256, "system"])
async def test_names_that_nobody_can_have_here(registry: Registry, name: str) -> None:
    with pytest.raises(Unauthorized):
        await who(registry, name)


async def test_groups_follow_the_directory(
    registry: Registry, client: httpx2.AsyncClient, directory: Directory, users: Users
) -> None:
    staff = await group(client, group_type=1, ldap_group_dn="cn=staff,dc=example,dc=com")
    oidc = await group(client, group_name="ops", group_type=3)
    http = await group(client, group_name="ops", group_type=2)
    local = await group(client, group_name="ops", group_type=4)
    directory.attributes["groups"] = ["CN=Staff, DC=Example,DC=com", "ops", "unknown", "", 7, None]
    assert (await who(registry)).groups == (staff, oidc, http), "a local group is nobody's to claim"
    directory.attributes |= {"groups": ["ops"], "group_type": 3}
    assert (await who(registry, "DORA")).groups == (oidc,)
    user = await users.named("dora")
    await client.put(f"{BASE}/{local.partition(':')[2]}/members/{user.id}", auth=ADMIN)
    assert (await who(registry)).groups == (oidc, local)
    directory.attributes["groups"] = "ops"  # no list
    assert (await who(registry, "Dora")).groups == (local,)


async def test_groups_are_kept_for_bearer_tokens_asked_anew(
    registry: Registry, client: httpx2.AsyncClient, directory: Directory
) -> None:
    ops = await group(client, group_name="ops", group_type=3)
    directory.attributes["groups"] = ["ops"]
    identity = await who(registry)
    again = await registry.plugins.complete_identity(identity)
    bare = msgspec.structs.replace(identity, attributes={})  # as a bearer token carries it
    assert again == identity
    assert (await registry.plugins.complete_identity(bare)).groups == (ops,)


async def test_an_administrator_by_the_directorys_word(
    registry: Registry, client: httpx2.AsyncClient, directory: Directory, users: Users
) -> None:
    directory.administrator = True
    said = (await client.get(CURRENT, auth=DORA)).json()
    assert (said["sysadmin_flag"], said["admin_role_in_auth"]) == (False, True)
    identity = await who(registry)
    assert (await registry.plugins.complete_identity(identity)).administrator is True
    # Tokens live longer than the directory's word.
    made = await client.post(f"{CURRENT}/tokens", json={"name": "ci"}, auth=DORA)
    token = ("dora", made.json()["token"])
    assert (await client.get(CURRENT, auth=token)).json()["admin_role_in_auth"] is False
    assert (await client.get("/api/v2.0/users", auth=token)).status_code == 403
    assert (await client.get("/api/v2.0/users", auth=DORA)).status_code == 200
    directory.administrator = False
    assert (await who(registry, "Dora")).administrator is False
    assert (await registry.plugins.complete_identity(identity)).administrator is False
    assert (await client.get("/api/v2.0/users", auth=DORA)).status_code == 403


async def test_a_cli_secret_is_no_administrators_whatever_becomes_of_its_tokens(
    registry: Registry, client: httpx2.AsyncClient, directory: Directory, users: Users
) -> None:
    """A bearer token tells what proved its holder also when their rights are asked anew."""
    directory.administrator = True
    await who(registry)
    user = await users.named("dora")
    path = f"/api/v2.0/users/{user.id}/cli_secret"
    assert (await client.put(path, json={"secret": SECRET[1]}, auth=DORA)).status_code == 200
    asked = "/service/token?scope=repository:demo/app:pull"
    token = (await client.get(asked, auth=SECRET)).json()["token"]
    carried = registry.tokens.verify(token).identity
    assert (await registry.plugins.complete_identity(carried)).administrator is False
    token = (await client.get(asked, auth=DORA)).json()["token"]
    carried = registry.tokens.verify(token).identity
    assert (await registry.plugins.complete_identity(carried)).administrator is True
    await users.set_administrator(registry.session(), user, administrator=True)
    assert (await client.get("/api/v2.0/users", auth=SECRET)).status_code == 200, (
        "administrators here are so everywhere"
    )


async def test_they_have_no_password_here(registry: Registry, client: httpx2.AsyncClient, users: Users) -> None:
    identity = await who(registry)
    user = await users.named("dora")
    body = {"old_password": DORA[1], "new_password": "Correct-horse-7"}
    path = f"/api/v2.0/users/{user.id}"
    assert (await client.put(f"{path}/password", json=body, auth=DORA)).status_code == 403
    assert (await client.put(f"{path}/password", json=body, auth=ADMIN)).status_code == 403
    for password in ("", "x", "None"):
        assert await users.check("dora", password) is None
    secret = {"secret": "Correct-horse-7"}
    assert (await client.put(f"{path}/cli_secret", json=secret, auth=DORA)).status_code == 200
    known = await client.get(CURRENT, auth=("dora", "Correct-horse-7"))
    assert known.json()["user_id"] == user.id
    assert identity.subject == user.subject


async def test_they_have_sessions_too(registry: Registry, client: httpx2.AsyncClient, directory: Directory) -> None:
    directory.administrator = True
    form = {"principal": "dora", "password": DORA[1]}
    assert (await client.post("/c/login", data=form)).status_code == 200
    said = (await client.get(CURRENT)).json()
    assert (said["username"], said["admin_role_in_auth"]) == ("dora", True)


async def test_disabled_and_deleted(
    nodes: tuple[Registry, Registry], users: Users, directory: Directory, client: httpx2.AsyncClient
) -> None:
    first, second = nodes
    identity = await who(first)
    user = await users.named("dora")
    await users.set_disabled(first.session(), user, disabled=True)
    for registry in nodes:
        await registry.rights.refresh(now=True)
        with pytest.raises(Unauthorized, match="dora is disabled"):
            await who(registry)
    assert (await client.get(CURRENT, auth=DORA)).status_code == 401
    await users.delete(first.session(), user)
    again = await who(second)
    assert again.subject != identity.subject, "whoever was deleted comes back as somebody new"


async def test_whoever_does_not_ask_for_a_user_gets_none(
    registry: Registry, directory: Directory, users: Users, client: httpx2.AsyncClient
) -> None:
    del directory.attributes["groups"]
    identity = await who(registry)
    assert (identity.subject, identity.groups) == ("directory:uid=dora", ())
    assert (await client.get(CURRENT, auth=DORA)).status_code == 412
    assert (await client.post("/c/login", data={"principal": "dora", "password": DORA[1]})).status_code == 401
    assert [each.name for each in await users.everyone()] == ["admin"]
