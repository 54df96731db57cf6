"""Browsers: signing in and out, how long it lasts, and what another site cannot make them do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx2
import pytest
import sqlalchemy as sa

from corereg import Registry
from corereg_accounts.passwords import Passwords
from corereg_accounts.schema import sessions as table
from corereg_accounts.users import User, Users

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]
ADMIN = ("admin", "Admin-for-tests-1")
ALICE = ("alice", "Correct-horse-7")
BOB = ("bob", "Battery-staple-8")
NEW = "Another-password-9"
CURRENT = "/api/v2.0/users/current"
OWN = "/api/v2.0/users/current/sessions"
PROFILE = {"email": "new@example.com", "realname": "New N.", "comment": ""}
HOUR = 3600 * 1_000_000
BOUND = 5.0


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def login(client: httpx2.AsyncClient, who: tuple[str, str], **headers: str) -> httpx2.Response:
    form = {"principal": who[0], "password": who[1]}
    return await client.post("/c/login", data=form, headers=headers)


async def csrf(client: httpx2.AsyncClient) -> dict[str, str]:
    return {"X-Harbor-CSRF-Token": (await client.get(CURRENT)).headers["x-harbor-csrf-token"]}


async def kept(registry: Registry) -> list[Any]:
    return list(await registry.database.rows(sa.select(table.c.id, table.c.hash, table.c.seen_at, table.c.created_at)))


async def aged(registry: Registry, **columns: int) -> None:
    """Let the sessions be as old as that, in microseconds."""
    async with registry.database.transaction() as tx:
        await tx.execute(sa.update(table).values({name: table.c[name] - value for name, value in columns.items()}))


# ---- in and out ----


async def test_signing_in(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    answer = await login(client, ALICE)
    assert (answer.status_code, answer.content) == (200, b"")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"sid=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax", cookie)
    assert (await client.get(CURRENT)).json()["username"] == "alice"
    ((_, hashed, *_),) = await kept(registry)
    assert client.cookies["sid"] not in hashed
    assert len(hashed) == 64
    events = [each for each in await registry.journal.events() if each.kind == "session.create"]
    assert [(each.actor, each.details["subject"]) for each in events] == [("alice", people["alice"].subject)]


async def test_wrong_passwords(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    answer = await login(client, ("alice", "Wrong-horse-7"))
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert not await kept(registry)
    for _ in range(4):
        await login(client, ("alice", "Wrong-horse-7"))
    assert (await login(client, ("alice", "Wrong-horse-7"))).status_code == 429, "guessing is counted as everywhere"
    assert (await client.post("/c/login", data={"principal": "alice"})).status_code == 422
    assert (await client.get("/c/login")).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[x"}, 403),
        ({"origin": "http://]"}, 403),
        ({"origin": "http://registry.test.evil.test"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://registry.test"}, 403),
        ({"origin": "http://registry.test"}, 200),
        ({"origin": "https://registry.test"}, 200),  # a proxy that takes off the TLS
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
async def test_another_sites_page_signs_nobody_in(
    client: httpx2.AsyncClient, people: dict[str, User], headers: dict[str, str], status: int
) -> None:
    answer = await login(client, ALICE, **headers)
    assert answer.status_code == status
    assert ("set-cookie" in answer.headers) is (status == 200)


@pytest.mark.parametrize("headers", [{"x-forwarded-proto": "https"}, {}])
async def test_the_cookie_is_for_https_alone_where_that_was_used(
    client: httpx2.AsyncClient, people: dict[str, User], headers: dict[str, str]
) -> None:
    assert ("Secure" in (await login(client, ALICE, **headers)).headers["set-cookie"]) is bool(headers)


async def test_signing_out(client: httpx2.AsyncClient, people: dict[str, User], registry: Registry) -> None:
    await login(client, ALICE)
    stolen = {"cookie": f"sid={client.cookies['sid']}"}
    answer = await client.get("/c/log_out", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert (await client.get(CURRENT)).status_code == 200
    answer = await client.get("/c/log_out")
    assert (answer.status_code, answer.content) == (200, b"")
    assert re.fullmatch(r"sid=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0", answer.headers["set-cookie"])
    client.cookies.clear()
    assert code(await client.get(CURRENT, headers=stolen)) == (401, "UNAUTHORIZED")
    assert not await kept(registry)
    assert (await client.get("/c/log_out")).status_code == 200, "without a session too"


async def test_a_session_cannot_be_fixed_in_advance(
    client: httpx2.AsyncClient, client_of: Any, people: dict[str, User], registry: Registry
) -> None:
    """Whatever cookie the browser had before, the sign-in makes another one, and ends the old session."""
    await login(client, BOB)
    fixed = client.cookies["sid"]
    answer = await client.post(
        "/c/login", data={"principal": "alice", "password": ALICE[1]}, headers={"cookie": f"sid={fixed}"}
    )
    assert answer.status_code == 200
    assert fixed not in answer.headers["set-cookie"]
    async with client_of(registry) as attacker:
        assert (await attacker.get(CURRENT, headers={"cookie": f"sid={fixed}"})).status_code == 401
        made_up = {"cookie": f"sid={'A' * 43}"}
        await attacker.post("/c/login", data={"principal": "alice", "password": ALICE[1]}, headers=made_up)
        attacker.cookies.clear()
        assert (await attacker.get(CURRENT, headers=made_up)).status_code == 401


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "A" * 5000, "%00", "'; DROP TABLE accounts_sessions; --", "ä"])
async def test_cookies_that_are_none(client: httpx2.AsyncClient, cookie: str) -> None:
    raw = b"sid=" + cookie.encode("latin-1")
    assert code(await client.get(CURRENT, headers=[(b"cookie", raw)])) == (401, "UNAUTHORIZED")


# ---- what another site's page could send ----


async def test_a_change_needs_the_token_and_tells_it(client: httpx2.AsyncClient, people: dict[str, User]) -> None:
    await login(client, ALICE)
    path = f"/api/v2.0/users/{people['alice'].id}"
    first = await client.put(path, json=PROFILE)
    assert code(first) == (403, "FORBIDDEN")
    again = await client.put(path, json=PROFILE, headers={"X-Harbor-CSRF-Token": first.headers["x-harbor-csrf-token"]})
    assert again.status_code == 200
    assert (await client.put(path, json=PROFILE, headers=await csrf(client))).status_code == 200
    assert (await client.put(path, json=PROFILE, auth=ALICE)).status_code == 200, "only a cookie needs it"


async def test_tokens_of_others_do_not_do(
    client: httpx2.AsyncClient, client_of: Any, registry: Registry, people: dict[str, User]
) -> None:
    await login(client, ALICE)
    path = f"/api/v2.0/users/{people['alice'].id}"
    async with client_of(registry) as other:
        await login(other, BOB)
        theirs = await csrf(other)
    mine = (await csrf(client))["X-Harbor-CSRF-Token"]
    for wrong in (theirs["X-Harbor-CSRF-Token"], "", mine[:-1], mine.swapcase(), client.cookies["sid"], "ä"):
        headers = [(b"x-harbor-csrf-token", wrong.encode("latin-1"))]
        assert (await client.put(path, json=PROFILE, headers=headers)).status_code == 403
    await client.get("/c/log_out")
    await login(client, ALICE)
    answer = await client.put(path, json=PROFILE, headers={"X-Harbor-CSRF-Token": mine})
    assert answer.status_code == 403, "another session, another token"


async def test_nobody_without_a_session_needs_one(client: httpx2.AsyncClient, registry: Registry) -> None:
    await registry.session().change_settings({"self_registration": True})
    form = {"target": "username", "value": "admin"}
    client.cookies.set("sid", "A" * 43)
    assert (await client.post("/c/userExists", data=form)).json() is True
    client.cookies.clear()
    await login(client, ADMIN)
    assert (await client.post("/c/userExists", data=form)).status_code == 403
    assert (await client.post("/c/userExists", data=form, headers=await csrf(client))).json() is True


async def test_a_cookie_reads_in_the_protocol_and_pushes_nothing(
    client: httpx2.AsyncClient, people: dict[str, User]
) -> None:
    await login(client, ADMIN)
    assert (await client.get("/v2/")).status_code == 200
    assert (await client.get("/v2/demo/app/tags/list")).status_code == 404
    headers = await csrf(client)
    assert (await client.post("/v2/demo/app/blobs/uploads/", headers=headers)).status_code == 401
    assert (await client.delete("/v2/demo/app/manifests/latest", headers=headers)).status_code == 401
    token = (await client.get("/service/token", params={"scope": "repository:demo/app:pull,push"})).json()["token"]
    client.cookies.clear()
    bearer = {"Authorization": f"Bearer {token}"}
    pushed = await client.post("/v2/demo/app/blobs/uploads/", headers=bearer)
    assert pushed.status_code == 401, "nor does it mint tokens that do"


# ---- how long ----


async def test_a_session_ends_when_nothing_is_asked(
    client: httpx2.AsyncClient, people: dict[str, User], registry: Registry
) -> None:
    await login(client, ALICE)
    await aged(registry, seen_at=HOUR - 60_000_000)
    assert (await client.get(CURRENT)).status_code == 200
    await aged(registry, seen_at=HOUR - 60_000_000)
    assert (await client.get(CURRENT)).status_code == 200, "the last request has prolonged it"
    await registry.session().change_settings({"session_timeout": 1})
    assert (await client.get(CURRENT)).status_code == 200
    await aged(registry, seen_at=60_000_001)
    assert code(await client.get(CURRENT)) == (401, "UNAUTHORIZED")


async def test_a_session_is_prolonged_once_a_minute_unless_asked_not_to(
    client: httpx2.AsyncClient, people: dict[str, User], registry: Registry
) -> None:
    await login(client, ALICE)

    async def seen() -> int:
        return int((await kept(registry))[0][2])

    before = await seen()
    await client.get(CURRENT)
    assert await seen() == before
    await aged(registry, seen_at=61_000_000)
    await client.get(CURRENT, headers={"X-Harbor-No-Session-Renewal": "true"})
    assert await seen() == before - 61_000_000
    await client.get(CURRENT)
    assert await seen() >= before


async def test_a_session_does_not_last_for_ever(make_registry: Make, client_of: Any, people: dict[str, User]) -> None:
    async with make_registry(session_lifetime=7200) as registry, client_of(registry) as client:
        await login(client, ALICE)
        await aged(registry, created_at=2 * HOUR - 60_000_000)
        assert (await client.get(CURRENT)).status_code == 200
        await aged(registry, created_at=60_000_000)
        assert (await client.get(CURRENT)).status_code == 401, "however busy it is"
        await login(client, BOB)
        assert len(await kept(registry)) == 1, "what is over is forgotten at the next sign-in"


@pytest.mark.parametrize("value", [0, -1, "soon", 10**9])
async def test_a_timeout_that_makes_no_sense(registry: Registry, value: object) -> None:
    with pytest.raises(Exception, match="session_timeout"):
        await registry.session().change_settings({"session_timeout": value})


# ---- what ends it, on every node ----


@pytest.fixture
async def nodes(make_registry: Make) -> AsyncIterator[tuple[Registry, Registry]]:
    async with make_registry() as first, make_registry() as second:
        yield first, second


ENDS = {
    "disabled": lambda users, session, user: users.set_disabled(session, user, disabled=True),
    "deleted": lambda users, session, user: users.delete(session, user),
    "new password": lambda users, session, user: users.set_password(session, user, NEW),
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_ends_a_session(
    nodes: tuple[Registry, Registry], client_of: Any, users: Users, people: dict[str, User], how: str
) -> None:
    first, second = nodes
    alice = people["alice"]
    async with client_of(first) as here, client_of(second) as there, client_of(second) as other:
        await login(here, ALICE)
        await login(there, ALICE)
        await login(other, BOB)
        for client in (here, there, other):
            assert (await client.get(CURRENT)).status_code == 200
        await ENDS[how](users, first.session(), alice)
        assert [(await client.get(CURRENT)).status_code for client in (here, there, other)] == [401, 401, 200]
        with anyio.fail_after(BOUND):
            while (await login(there, ALICE)).status_code != 401:
                await anyio.sleep(0.1)
        if how == "disabled":
            await users.set_disabled(first.session(), alice, disabled=False)
            assert (await here.get(CURRENT)).status_code == 401, "letting them in again brings no old session back"


async def test_an_old_password_starts_no_session_a_moment_after_it_was_changed(
    nodes: tuple[Registry, Registry], client_of: Any, users: Users, people: dict[str, User]
) -> None:
    """Also where the old one was used a moment ago, and is remembered."""
    first, second = nodes
    async with client_of(second) as there:
        assert (await login(there, ALICE)).status_code == 200
        await users.set_password(first.session(), people["alice"], NEW)
        assert (await login(there, ALICE)).status_code == 401


MADE: dict[str, Callable[[httpx2.AsyncClient, int], Any]] = {
    "session": lambda client, _: login(client, ALICE),
    "token": lambda client, _: client.post(f"{CURRENT}/tokens", json={"name": "ci"}, auth=ALICE),
    "CLI secret": lambda client, user: client.put(
        f"/api/v2.0/users/{user}/cli_secret", json={"secret": "Third-secret-10"}, auth=ALICE
    ),
    "password": lambda client, user: client.put(
        f"/api/v2.0/users/{user}/password",
        json={"old_password": ALICE[1], "new_password": "Third-secret-10"},
        auth=ALICE,
    ),
}


@pytest.mark.parametrize(
    ("what", "step"), [*((what, "verify") for what in MADE if what != "password"), ("password", "hash")]
)
async def test_an_old_password_that_is_being_checked_while_it_is_changed_opens_nothing(
    registry: Registry,
    client: httpx2.AsyncClient,
    users: Users,
    people: dict[str, User],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    step: str,
) -> None:
    """To check it, or to hash another one, takes a while: it was right when it was asked about."""
    checked, changed = anyio.Event(), anyio.Event()
    real = getattr(Passwords, step)

    async def slow(*arguments: Any) -> Any:
        answer = await real(*arguments)
        if not checked.is_set():
            checked.set()
            await changed.wait()
        return answer

    answers: list[httpx2.Response] = []

    async def make() -> None:
        answers.append(await MADE[what](client, people["alice"].id))

    monkeypatch.setattr(Passwords, step, slow)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make)
            await checked.wait()
            await users.set_password(registry.session(), people["alice"], NEW)
            changed.set()
    assert [each.status_code for each in answers] == [401]
    assert "sign in again" in answers[0].text
    assert not await kept(registry)
    assert await users.check("alice", NEW) is not None
    assert (await login(client, ("alice", NEW))).status_code == 200


# ---- one's own ----


async def test_own_sessions(
    client: httpx2.AsyncClient, client_of: Any, registry: Registry, people: dict[str, User]
) -> None:
    await login(client, ALICE, **{"user-agent": "firefox"})
    async with client_of(registry) as other, client_of(registry) as bob:
        await login(other, ALICE, **{"user-agent": "x" * 1000})
        await login(bob, BOB)
        answer = await client.get(OWN)
        assert answer.headers["x-total-count"] == "2"
        newest, oldest = answer.json()
        assert (newest["current"], oldest["current"]) == (False, True)
        assert (oldest["user_agent"], len(newest["user_agent"])) == ("firefox", 255)
        assert set(oldest) == {
            "id",
            "creation_time",
            "last_seen_time",
            "expiration_time",
            "address",
            "user_agent",
            "current",
        }
        assert client.cookies["sid"] not in answer.text
        theirs = (await bob.get(OWN)).json()[0]["id"]
        headers = await csrf(client)
        assert code(await client.delete(f"{OWN}/{theirs}", headers=headers)) == (404, "NOT_FOUND"), "another one's"
        assert (await bob.get(CURRENT)).status_code == 200
        assert (await client.delete(f"{OWN}/{newest['id']}")).status_code == 403, "without the token"
        assert (await client.delete(f"{OWN}/{newest['id']}", headers=headers)).status_code == 200
        assert (await other.get(CURRENT)).status_code == 401
        assert (await client.get(CURRENT)).status_code == 200


async def test_sessions_are_not_for_strangers_nor_for_bearer_tokens(
    client: httpx2.AsyncClient, people: dict[str, User]
) -> None:
    assert code(await client.get(OWN)) == (401, "UNAUTHORIZED")
    token = (await client.get("/service/token", auth=ALICE)).json()["token"]
    answer = await client.get(OWN, headers={"Authorization": f"Bearer {token}"})
    assert code(answer) == (403, "FORBIDDEN")


# ---- whether somebody is there ----


async def test_user_exists(client: httpx2.AsyncClient, users: Users, registry: Registry) -> None:
    await users.create(registry.session(), *ALICE, email="Alice@example.com")

    async def asked(target: str, value: str, **more: Any) -> httpx2.Response:
        return await client.post("/c/userExists", data={"target": target, "value": value}, **more)

    assert (await asked("username", "alice")).status_code == 412
    assert (await asked("username", "alice", auth=ALICE)).status_code == 412
    for target, value, there in (
        ("username", "ALICE", True),
        ("username", "bob", False),
        ("username", "a,b", False),
        ("email", "alice@EXAMPLE.com", True),
        ("email", "%", False),
    ):
        assert (await asked(target, value, auth=ADMIN)).json() is there
    assert (await asked("password_hash", "x", auth=ADMIN)).status_code == 422
    await registry.session().change_settings({"self_registration": True})
    assert (await asked("username", "alice")).json() is True
