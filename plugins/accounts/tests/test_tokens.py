"""Personal access tokens: what they open, what they do not, and how soon they are worth nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import anyio
import httpx2
import pytest
import sqlalchemy as sa

from corereg import EVERYTHING, Grant, Identity, Registry, Unauthorized, asgi, hookimpl, now
from corereg.testing.client import AppTransport
from corereg_accounts.schema import tokens as table
from corereg_accounts.scopes import limit_of
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]
ADMIN = ("admin", "Admin-for-tests-1")
ALICE = ("alice", "Correct-horse-7")
BOB = ("bob", "Battery-staple-8")
NEW = "Another-password-9"
CURRENT = "/api/v2.0/users/current"
OWN = f"{CURRENT}/tokens"
DAY = 86_400_000_000
BOUND = 5.0
SHAPE = r"crp_[1-9][0-9]*_[0-9a-f]{64}"


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def made(client: httpx2.AsyncClient, who: tuple[str, str] = ALICE, **body: Any) -> dict[str, Any]:
    answer = await client.post(OWN, json={"name": "ci", **body}, auth=who)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{OWN}/{document['id']}"
    return document


async def tried(client: httpx2.AsyncClient, repository: str, who: Any) -> list[int]:
    """Statuses of a pull and of a push."""
    headers, auth = (who, None) if isinstance(who, dict) else ({}, who)
    pulled = await client.get(f"/v2/{repository}/tags/list", headers=headers, auth=auth)
    pushed = await client.post(f"/v2/{repository}/blobs/uploads/", headers=headers, auth=auth)
    return [pulled.status_code, pushed.status_code]


async def bearer(client: httpx2.AsyncClient, who: tuple[str, str], repository: str = "demo/app") -> dict[str, str]:
    scope = {"scope": f"repository:{repository}:pull,push"}
    answer = await client.get("/service/token", params=scope, auth=who)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.fixture
async def nodes(make_registry: Make, client_of: Any) -> AsyncIterator[Sequence[httpx2.AsyncClient]]:
    """Two processes on one database, where every user may push."""
    async with (
        make_registry(signed_in="push") as first,
        make_registry(signed_in="push") as second,
        client_of(first) as here,
        client_of(second) as there,
    ):
        yield here, there


# ---- making and using ----


async def test_a_token_stands_for_the_password(
    nodes: Sequence[httpx2.AsyncClient], people: dict[str, User], tmp_path: Any
) -> None:
    here, there = nodes
    document = await made(here)
    text = document["token"]
    assert re.fullmatch(SHAPE, text)
    who = ("alice", text)
    for client in nodes:
        assert await tried(client, "demo/app", who) == [404, 202]
        assert await tried(client, "demo/app", await bearer(client, who)) == [404, 202]
        assert (await client.get(CURRENT, auth=("ALICE", text))).json()["username"] == "alice"
        assert (await client.get(CURRENT, auth=ALICE)).status_code == 200, "the password holds as well"
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert text.rpartition("_")[2].encode() not in kept, "the secret itself is kept nowhere"
    listed = await there.get(OWN, auth=ALICE)
    assert text not in listed.text
    assert listed.headers["x-total-count"] == "1"


@pytest.mark.parametrize("name", ["bob", "admin", "nobody", "", "alice "])
async def test_a_token_is_its_owners_alone(client: httpx2.AsyncClient, people: dict[str, User], name: str) -> None:
    text = (await made(client))["token"]
    assert (await client.get(CURRENT, auth=(name, text))).status_code == 401


async def test_tokens_that_are_none(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    text = (await made(client))["token"]
    head, _, secret = text.rpartition("_")
    (accounts,) = (each.plugin for each in registry.plugins if each.name == "accounts")
    for wrong in (f"{head}_{'0' * 64}", f"crp_999_{secret}", f"crp_{10**17}_{secret}"):
        with pytest.raises(Unauthorized, match="the name or the password is wrong"):
            await accounts.check_password("alice", wrong, None)
    for other in (f"{text}x", text[:-1], text.upper(), f"crp_0_{secret}", f"crp_-1_{secret}"):
        assert await accounts.check_password("alice", other, None) is None


class Directory:
    """A plugin that is asked after accounts, and writes down what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    @hookimpl
    async def check_password(self, name: str, password: str) -> None:
        self.shown.append(password)


async def test_tokens_are_shown_to_no_other_plugin_and_cost_no_hash(
    make_registry: Make, client_of: Any, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory()
    async with make_registry(directory) as registry, client_of(registry) as client:
        text = (await made(client))["token"]
        (accounts,) = (each.plugin for each in registry.plugins if each.name == "accounts")

        async def never(*_: object) -> bool:
            raise AssertionError

        monkeypatch.setattr(accounts._users().passwords, "verify", never)
        assert (await client.get(CURRENT, auth=("alice", text))).status_code == 200
        wrong = f"{text.rpartition('_')[0]}_{'0' * 64}"
        assert (await client.get(CURRENT, auth=("alice", wrong))).status_code == 401
        assert directory.shown == []


async def test_how_long_a_token_lives(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    async def days(**body: Any) -> float:
        document = await made(client, **body)
        row = await registry.database.row(
            sa.select(table.c.expires_at - table.c.created_at).where(table.c.id == document["id"])
        )
        assert row is not None
        return float(row[0] / DAY)

    assert await days(name="a") == 90
    assert await days(name="b", duration=365) == 365
    assert code(await client.post(OWN, json={"name": "c", "duration": 366}, auth=ALICE)) == (400, "BAD_REQUEST")
    assert code(await client.post(OWN, json={"name": "c", "duration": -1}, auth=ALICE)) == (400, "BAD_REQUEST")
    await registry.session().change_settings({"personal_token_max_days": 7})
    assert await days(name="d") == 7


async def test_an_expired_token(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    text = (await made(client))["token"]
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(expires_at=table.c.created_at))
    answer = await client.get(CURRENT, auth=("alice", text))
    assert answer.status_code == 401
    assert "has expired" in answer.json()["errors"][0]["message"]
    assert "expired" not in (await client.get(CURRENT, auth=("bob", text))).text


async def test_a_sign_in_with_a_token_knows_when_that_ends(
    client: httpx2.AsyncClient, people: dict[str, User], registry: Registry
) -> None:
    made_here = await made(client, duration=1)
    identity = (await registry.signin.password("alice", made_here["token"], None)).identity
    ((expires_at,),) = await registry.database.rows(sa.select(table.c.expires_at))
    assert identity.expires_at == expires_at
    answer = await client.get("/service/token", auth=("alice", made_here["token"]))
    assert answer.json()["expires_in"] == registry.config.tokens.lifetime
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(expires_at=now() + 300_000_000))
    registry.signin._known.clear()
    answer = await client.get("/service/token", auth=("alice", made_here["token"]))
    assert 0 < answer.json()["expires_in"] <= 300


async def test_when_and_from_where_it_was_used(
    people: dict[str, User], registry: Registry, client: httpx2.AsyncClient
) -> None:
    document = await made(client)
    assert (document["last_used_time"], document["last_used_address"]) == (None, None)
    (accounts,) = (each.plugin for each in registry.plugins if each.name == "accounts")

    async def used(address: str) -> tuple[str, str]:
        await accounts.check_password("alice", document["token"], address)
        said = (await client.get(f"{OWN}/{document['id']}", auth=ALICE)).json()
        return said["last_used_time"], said["last_used_address"]

    first = await used("192.0.2.1")
    assert first[1] == "192.0.2.1"
    assert await used("192.0.2.2") == first, "once a minute"
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values(used_at=table.c.used_at - 61_000_000))
    assert (await used("192.0.2.2"))[1] == "192.0.2.2"


async def test_a_request_tells_its_address(registry: Registry, people: dict[str, User]) -> None:
    transport = AppTransport(asgi(registry))
    async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test") as client:
        document = await made(client)
        await client.get(CURRENT, auth=("alice", document["token"]))
        said = (await client.get(f"{OWN}/{document['id']}", auth=ALICE)).json()
    assert said["last_used_address"]


# ---- less than its owner may ----


async def test_a_scoped_token_is_cut_in_basic_in_bearer_tokens_and_when_asked_anew(
    nodes: Sequence[httpx2.AsyncClient], people: dict[str, User], registry: Registry
) -> None:
    here = nodes[0]
    scopes = ["repository:demo/*:pull", "repository:team/app:pull,push"]
    who = ("alice", (await made(here, scopes=scopes))["token"])
    expected = {"demo/app": [404, 403], "team/app": [404, 202], "team/other": [403, 403]}
    for repository, statuses in expected.items():
        carried = await bearer(here, who, repository)
        for client in nodes:
            assert await tried(client, repository, who) == statuses
            bare = [401 if status == 403 else status for status in statuses]
            assert await tried(client, repository, carried) in (statuses, bare)
        session = registry.session()
        async with session.change(session.operation("user.update")) as change:
            change.rights_changed(people["alice"].subject)
        await anyio.sleep(1.1)  # both processes look at changes of rights once a second
        for client in nodes:
            assert (await tried(client, repository, carried))[1] in ({202} if statuses[1] == 202 else {401, 403})


async def test_a_scoped_token_of_an_administrator(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    who = ("admin", (await made(client, ADMIN, scopes=["repository:demo/*:pull"]))["token"])
    assert await tried(client, "demo/app", who) == [404, 403]
    assert await tried(client, "other/app", who) == [403, 403]
    alice = people["alice"].id
    assert code(await client.get("/api/v2.0/users", auth=who)) == (403, "FORBIDDEN")
    assert code(await client.get(f"/api/v2.0/users/{alice}", auth=who)) == (403, "FORBIDDEN")
    sysadmin = {"sysadmin_flag": True}
    assert code(await client.put(f"/api/v2.0/users/{alice}/sysadmin", json=sysadmin, auth=who)) == (403, "FORBIDDEN")
    assert code(await client.delete(f"/api/v2.0/users/{alice}", auth=who)) == (403, "FORBIDDEN")
    users_only = ("admin", (await made(client, ADMIN, name="users", scopes=["user:system:list,read"]))["token"])
    assert (await client.get("/api/v2.0/users", auth=users_only)).status_code == 200
    assert code(await client.delete(f"/api/v2.0/users/{alice}", auth=users_only)) == (403, "FORBIDDEN")


async def test_tokens_do_not_breed(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    """A token, scoped or not, makes no credentials that outlive it, and opens no browser's session."""
    alice = people["alice"].id
    profile = {"email": "x@example.com", "realname": "X", "comment": ""}
    scoped = await made(client, name="scoped", scopes=["repository:*:*"])
    whole = await made(client, name="whole")
    for document in (scoped, whole):
        who = ("alice", document["token"])
        assert code(await client.post(OWN, json={"name": "more"}, auth=who)) == (403, "FORBIDDEN")
        secret = await client.put(f"/api/v2.0/users/{alice}/cli_secret", json={"secret": NEW}, auth=who)
        assert code(secret) == (403, "FORBIDDEN")
        login = await client.post("/c/login", data={"principal": "alice", "password": document["token"]})
        assert (login.status_code, "set-cookie" in login.headers) == (401, False)
        body = {"old_password": document["token"], "new_password": NEW}
        password = await client.put(f"/api/v2.0/users/{alice}/password", json=body, auth=who)
        assert code(password) == (403, "FORBIDDEN")
    assert code(await client.put(f"/api/v2.0/users/{alice}", json=profile, auth=("alice", scoped["token"]))) == (
        403,
        "FORBIDDEN",
    )
    assert code(await client.get(OWN, auth=("alice", scoped["token"]))) == (403, "FORBIDDEN")
    carried = await bearer(client, ALICE)
    assert code(await client.post(OWN, json={"name": "more"}, headers=carried)) == (403, "FORBIDDEN")


async def test_what_another_plugin_grants_is_cut_too(
    make_registry: Make, client_of: Any, people: dict[str, User]
) -> None:
    class Generous:
        @hookimpl
        async def grants(self, identity: Identity) -> list[Grant]:
            return [] if identity.anonymous else [EVERYTHING]

    async with make_registry(Generous) as registry, client_of(registry) as client:
        who = ("alice", (await made(client, scopes=["repository:demo/app:pull"]))["token"])
        assert await tried(client, "demo/app", who) == [404, 403]
        assert await tried(client, "demo/app", await bearer(client, who)) == [404, 403]


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "repository",
        "repository:demo/*",
        "repository:demo/*:",
        "repository:demo:pull",
        "repository:*/*:pull",
        "repository:demo*:pull",
        "repository:demo/**:pull",
        "repository:/demo:pull",
        "repository:Demo/app:pull",
        "repository:demo/app:pull push",
        "*:demo/app:pull",
        "repository:demo/app:pull:more",
        "repository:demo/app:pull\n",
        f"repository:{'a/' * 300}b:pull",
    ],
)
async def test_scopes_that_are_none(client: httpx2.AsyncClient, people: dict[str, User], scope: str) -> None:
    answer = await client.post(OWN, json={"name": "x", "scopes": [scope]}, auth=ALICE)
    assert code(answer) == (400, "BAD_REQUEST")


def test_scopes_as_limits() -> None:
    assert limit_of("repository:*:pull,push") == Grant("*/*", "repository", frozenset({"pull", "push"}))
    assert limit_of("label:demo/*:*") == Grant("demo/*", "label", frozenset({"*"}))
    assert limit_of("user:system:list") == Grant("system", "user", frozenset({"list"}))


@pytest.mark.parametrize("body", [{"scopes": []}, {"scopes": ["repository:*:pull"] * 17}, {"name": ""}, {"name": " x"}])
async def test_tokens_that_cannot_be(client: httpx2.AsyncClient, people: dict[str, User], body: dict[str, Any]) -> None:
    assert code(await client.post(OWN, json={"name": "x", **body}, auth=ALICE)) == (400, "BAD_REQUEST")


async def test_one_name_one_token_and_not_too_many(
    client: httpx2.AsyncClient, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(client)
    assert code(await client.post(OWN, json={"name": "ci"}, auth=ALICE)) == (409, "CONFLICT")
    await made(client, BOB)
    monkeypatch.setattr("corereg_accounts.tokens.MOST", 2)
    await made(client, name="second")
    assert code(await client.post(OWN, json={"name": "third"}, auth=ALICE)) == (412, "PRECONDITION")


# ---- another one's ----


async def test_tokens_of_others(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    document = await made(client, BOB)
    path = f"{OWN}/{document['id']}"
    assert code(await client.get(path, auth=ALICE)) == (404, "NOT_FOUND")
    assert code(await client.delete(path, auth=ALICE)) == (404, "NOT_FOUND")
    assert code(await client.delete(path, auth=ADMIN)) == (404, "NOT_FOUND")
    assert code(await client.get(path)) == (401, "UNAUTHORIZED")
    assert (await client.get(OWN, auth=ALICE)).json() == []
    assert (await client.get(CURRENT, auth=("bob", document["token"]))).status_code == 200


# ---- how soon it is worth nothing ----

Act = Callable[[httpx2.AsyncClient, Users, Registry, User, int], Any]
WITHDRAWALS: dict[str, Act] = {
    "revoked": lambda client, users, registry, user, token: client.delete(f"{OWN}/{token}", auth=ALICE),
    "user disabled": lambda client, users, registry, user, token: users.set_disabled(
        registry.session(), user, disabled=True
    ),
    "user deleted": lambda client, users, registry, user, token: users.delete(registry.session(), user),
}


@pytest.mark.parametrize("how", WITHDRAWALS)
async def test_a_token_that_is_withdrawn_ends_everywhere(
    nodes: Sequence[httpx2.AsyncClient], people: dict[str, User], users: Users, registry: Registry, how: str
) -> None:
    here = nodes[0]
    document = await made(here)
    other = ("alice", (await made(here, name="other"))["token"])
    who = ("alice", document["token"])
    carried, kept = await bearer(here, who), await bearer(here, other)
    for client in nodes:
        for each in (who, carried, other, kept):
            assert await tried(client, "demo/app", each) == [404, 202]
    await WITHDRAWALS[how](here, users, registry, people["alice"], document["id"])
    for client in nodes:
        with anyio.fail_after(BOUND):
            while [await tried(client, "demo/app", each) for each in (who, carried)] != [[401, 401]] * 2:
                await anyio.sleep(0.1)
        for each in (other, kept):
            assert (await tried(client, "demo/app", each) == [404, 202]) is (how == "revoked")


async def test_a_new_password_ends_no_token(
    nodes: Sequence[httpx2.AsyncClient], people: dict[str, User], users: Users, registry: Registry
) -> None:
    here, there = nodes
    who = ("alice", (await made(here))["token"])
    await users.set_password(registry.session(), people["alice"], NEW)
    assert await tried(there, "demo/app", who) == [404, 202]


async def test_events_tell_no_secret(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    document = await made(client, scopes=["repository:demo/*:pull"])
    await client.delete(f"{OWN}/{document['id']}", auth=ALICE)
    told = [each for each in await registry.journal.events() if each.kind.startswith("token.")]
    assert [(each.kind, each.actor, each.details["token"]) for each in told] == [
        ("token.create", "alice", document["id"]),
        ("token.delete", "alice", document["id"]),
    ]
    assert document["token"].rpartition("_")[2] not in repr(told)


# ---- CLI secrets end as passwords do ----


async def test_another_cli_secret_ends_what_the_old_one_opened(
    nodes: Sequence[httpx2.AsyncClient], people: dict[str, User]
) -> None:
    here, there = nodes
    path = f"/api/v2.0/users/{people['alice'].id}/cli_secret"
    await here.put(path, json={"secret": NEW}, auth=ALICE)
    who = ("alice", NEW)
    carried = await bearer(there, who)
    assert await tried(there, "demo/app", carried) == await tried(there, "demo/app", who) == [404, 202]
    await here.put(path, json={"secret": "Third-secret-10"}, auth=ALICE)
    with anyio.fail_after(BOUND):
        while [await tried(there, "demo/app", each) for each in (who, carried)] != [[401, 401]] * 2:
            await anyio.sleep(0.1)
