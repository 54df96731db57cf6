"""As clients see it: which names and secrets get in, and how soon they do not."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2
import msgspec
import pytest

from corereg import Identity, Namespace, Registry, Unauthorized, hookimpl, now
from corereg.testing.client import Credentials

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]
BOUND = 5.0
"""Seconds after which a change must be seen everywhere."""
DAY = 86_400
HOUR = 3600 * 1_000_000


def message(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["message"])


def credentials(made: dict[str, Any]) -> Credentials:
    return Credentials(made["name"], made["secret"])


def later(monkeypatch: pytest.MonkeyPatch, microseconds: int) -> None:
    """From now on it is later, as far as robots know."""
    monkeypatch.setattr("corereg_robots.store.now", lambda: now() + microseconds)


@pytest.fixture
async def ci(api: Any) -> dict[str, Any]:
    """A robot that may push to alpha."""
    made: dict[str, Any] = await api.made(api.project_robot("alpha", "ci", "repository:push", duration=1))
    return made


# ---- who gets in ----


async def test_nobody_else_is_asked_about_a_robot(api: Any, registry: Registry, ci: dict[str, Any]) -> None:
    """Whatever the order of plugins: a person's password costs a thousand times more to check."""
    (others,) = (each.plugin for each in registry.plugins if each.name == "surroundings")
    others.asked.clear()
    assert (await api.signed_in(credentials(ci))).status_code == 200
    assert others.asked == []
    assert (await api.signed_in(Credentials(ci["name"], "wrong"))).status_code == 401
    assert others.asked == [ci["name"]], "somebody else may have the name"


async def test_a_robot_that_is_signed_in(registry: Registry, ci: dict[str, Any]) -> None:
    signed_in = await registry.signin.password(ci["name"], ci["secret"], None)
    assert signed_in.identity == Identity(name="robot$alpha+ci", subject="robot:1", kind="robot", source="robots")


async def test_a_robot_that_is_out_does_not_stand_in_the_way(api: Any, people: dict[str, Any]) -> None:
    """Only whoever knows the secret hears that a robot is disabled; a person of the same name signs in."""
    made = await api.made(api.system_robot(disable=True))
    people["robot$ci"] = []
    assert (await api.signed_in(Credentials("robot$ci", "a password for tests only"))).status_code == 200
    assert "is disabled" in message(await api.signed_in(credentials(made)))
    assert "is disabled" not in message(await api.signed_in(Credentials("robot$ci", "wrong")))


async def test_the_same_name_in_two_places(api: Any) -> None:
    one, two = await api.made(api.project_robot("alpha")), await api.made(api.project_robot("beta"))
    assert (await api.signed_in(Credentials(one["name"], two["secret"]))).status_code == 401
    assert (await api.signed_in(credentials(two))).status_code == 200


@pytest.mark.parametrize(
    "name", ["robot$alpha+ci", "robot-alpha--ci", "robot-alpha+ci", "bot_alpha--ci", "bot_alpha=ci"]
)
async def test_old_names_go_on(api: Any, registry: Registry, ci: dict[str, Any], name: str) -> None:
    await registry.session().change_settings({"robot_name_prefix": "bot_", "robot_name_separator": "="})
    assert (await api.shown(ci["id"]))["name"] == "bot_alpha=ci"
    assert (await api.signed_in(Credentials(name, ci["secret"]))).status_code == 200
    answer = await api.changed(ci["id"], name=name, description="by any of its names")
    assert answer.status_code == 200, answer.text


async def test_names_that_shells_leave_alone(make_registry: Make, api_of: Any) -> None:
    async with make_registry(shell_safe=True, former_prefixes=("svc.",)) as registry, api_of(registry) as api:
        made = await api.made(api.project_robot("alpha"))
        assert made["name"] == "robot-alpha--ci"
        assert (await api.made(api.system_robot()))["name"] == "robot-ci"
        for name in (made["name"], "robot$alpha+ci", "svc.alpha--ci"):
            assert (await api.signed_in(Credentials(name, made["secret"]))).status_code == 200
        assert (await api.signed_in(Credentials("bot.alpha--ci", made["secret"]))).status_code == 401
        await registry.session().change_settings({"robot_name_prefix": "robot$"})
        assert (await api.shown(made["id"]))["name"] == "robot$alpha--ci", "what is set holds against the option"


@pytest.mark.parametrize(
    ("name", "value"), [("robot_name_separator", "-"), ("robot_name_prefix", ""), ("robot_token_duration", 0)]
)
async def test_settings_that_cannot_be(registry: Registry, name: str, value: Any) -> None:
    with pytest.raises(Exception, match=f"the setting {name} cannot be"):
        await registry.session().change_settings({name: value})


# ---- never more than a robot ----


class Promoter:
    """A plugin that means it too well: whoever signs in is an administrator, and in a group."""

    name = "promoter"

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity:
        return msgspec.structs.replace(identity, administrator=True, groups=("group:ops",))


async def test_robots_are_no_administrators(make_registry: Make, api_of: Any) -> None:
    async with make_registry(Promoter) as registry, api_of(registry) as api:
        made = await api.made(api.project_robot("alpha"))
        identity = (await registry.signin.password(*credentials(made), None)).identity
        assert (identity.administrator, identity.groups, identity.kind) == (False, (), "robot")


async def test_other_identities_are_left_alone(registry: Registry, ci: dict[str, Any]) -> None:
    """Even with the subject of a robot."""
    other = Identity(name="robot$alpha+ci", subject="robot:1", kind="robot", source="elsewhere")
    assert (await registry.session_for(other)).grants == ()
    strange = Identity(name="x", subject="robot:" + "9" * 30, kind="robot", source="robots")
    with pytest.raises(Unauthorized, match="x was deleted"):
        await registry.session_for(strange)


# ---- how soon they do not ----


@pytest.fixture
async def nodes(make_registry: Make) -> AsyncIterator[list[Registry]]:
    """Two processes on one database."""
    async with make_registry() as first, make_registry() as second:
        yield [first, second]


async def disabled(api: Any, robot: int) -> Any:
    return await api.changed(robot, disable=True)


async def deleted(api: Any, robot: int) -> Any:
    return await api("admin", "DELETE", f"/robots/{robot}")


async def refreshed(api: Any, robot: int) -> Any:
    return await api("admin", "PATCH", f"/robots/{robot}", {})


WITHDRAWALS = {"disabled": disabled, "deleted": deleted, "refreshed": refreshed}


@pytest.mark.parametrize("what", WITHDRAWALS)
async def test_tokens_and_remembered_secrets_end_on_every_node(nodes: list[Registry], api_of: Any, what: str) -> None:
    async with api_of(nodes[0]) as here, api_of(nodes[1]) as there:
        made = await here.made(here.project_robot("alpha", "ci", "repository:push"))
        token, basic = await here.bearer(credentials(made)), {"Authorization": credentials(made).basic}
        for api in (here, there):
            assert await api.push(token) == await api.push(basic) == 202
        assert (await WITHDRAWALS[what](here, made["id"])).status_code == 200
        assert await here.push(token) == 401, "at once where it was done"
        with anyio.fail_after(BOUND):
            while await there.push(token) != 401:
                await anyio.sleep(0.1)
        for api in (here, there):
            assert await api.push(basic) == 401
            assert (await api.signed_in(credentials(made))).status_code == 401


async def test_rights_that_were_taken_away_end_on_every_node(nodes: list[Registry], api_of: Any) -> None:
    async with api_of(nodes[0]) as here, api_of(nodes[1]) as there:
        made = await here.made(here.project_robot("alpha", "ci", "repository:push"))
        token, basic = await here.bearer(credentials(made)), {"Authorization": credentials(made).basic}
        assert await there.push(token) == await there.push(basic) == 202
        less = [{"kind": "project", "namespace": "alpha", "access": here.access("repository:pull")}]
        assert (await here.changed(made["id"], permissions=less)).status_code == 200
        assert await here.push(token) == await here.push(basic) == 403
        with anyio.fail_after(BOUND):
            while await there.push(token) != 403:
                await anyio.sleep(0.1)
        assert await there.push(basic) == 403
        more = [{"kind": "project", "namespace": "alpha", "access": here.access("repository:push")}]
        assert (await here.changed(made["id"], permissions=more)).status_code == 200
        with anyio.fail_after(BOUND):
            while await there.push(token) != 202:
                await anyio.sleep(0.1)


async def test_fewer_days_end_a_token(api: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await api.made(api.project_robot("alpha", "ci", "repository:push", duration=9))
    token = await api.bearer(credentials(made))
    later(monkeypatch, 2 * DAY * 1_000_000)
    assert await api.push(token) == 202
    assert (await api.changed(made["id"], duration=1)).status_code == 200
    assert await api.push(token) == 401


async def test_a_robot_expires(api: Any, ci: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert await api.push({"Authorization": credentials(ci).basic}) == 202
    later(monkeypatch, DAY * 1_000_000 - 5_000_000)
    assert await api.push({"Authorization": credentials(ci).basic}) == 202
    later(monkeypatch, DAY * 1_000_000 + 1_000_000)
    assert await api.push({"Authorization": credentials(ci).basic}) == 403, (
        "its secret was remembered, its rights ended"
    )
    fresh = {"Authorization": Credentials("robot-alpha--ci", ci["secret"]).basic}
    answer = await api.client.request("GET", "/v2/", headers=fresh)
    assert answer.status_code == 401
    assert "robot$alpha+ci has expired" in message(answer)


async def test_a_project_takes_its_robots_along(
    nodes: list[Registry],
    api_of: Any,
    projects: dict[str, int],
    delete_project: Callable[[Registry, str], Awaitable[None]],
) -> None:
    """Who makes a project of that name later meets none of them."""
    async with api_of(nodes[0]) as here, api_of(nodes[1]) as there:
        own = await here.made(here.project_robot("alpha", "ci", "repository:push"))
        other = await here.made(here.project_robot("beta", "ci", "repository:push"))
        rights = ("repository:push", "repository:pull")
        both = await here.made(here.system_robot("ci", ("project", "alpha", rights), ("project", "beta", rights)))
        tokens = [await there.bearer(credentials(each)) for each in (own, both)]
        assert [await there.push(token) for token in tokens] == [202, 202]
        await delete_project(nodes[0], "alpha")
        projects["alpha"] = 17
        with anyio.fail_after(BOUND):
            while [await there.push(token) for token in tokens] != [401, 403]:
                await anyio.sleep(0.1)
        assert (await there.signed_in(credentials(own))).status_code == 401
        assert (await here("admin", "GET", f"/robots/{own['id']}")).status_code == 404
        assert [each["namespace"] for each in (await here.shown(both["id"]))["permissions"]] == ["beta"]
        assert await there.push({"Authorization": credentials(other).basic}, "beta/app") == 202
        assert await there.push({"Authorization": credentials(both).basic}, "beta/app") == 202
        assert (await here.made(here.project_robot("alpha")))["id"] > both["id"]


async def test_a_project_that_goes_while_a_robot_is_made(
    registry: Registry, projects: dict[str, int], api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The robot is not made: it would wait for whoever gets the name next."""
    resolve = registry.plugins.resolve_namespace
    asked = 0

    async def gone_meanwhile(reference: int | str) -> Namespace | None:
        nonlocal asked
        asked += 1
        return await resolve(reference) if asked == 1 else None

    monkeypatch.setattr(registry.plugins, "resolve_namespace", gone_meanwhile)
    assert (await api("admin", "POST", "/robots", api.project_robot("alpha"))).status_code == 404
    monkeypatch.undo()
    assert (await api("admin", "GET", "/robots?q=Level=project,ProjectID=1")).json() == []


# ---- two secrets for an hour ----


async def test_an_old_secret_works_for_an_hour(api: Any, ci: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    token = await api.bearer(credentials(ci))
    answer = await api("ann", "PATCH", f"/robots/{ci['id']}", {"overlap": True})
    fresh = Credentials(ci["name"], answer.json()["secret"])
    assert await api.push(token) == 202, "what runs goes on"
    assert (await api.signed_in(fresh)).status_code == (await api.signed_in(credentials(ci))).status_code == 200
    until = (await api.shown(ci["id"]))["previous_secret_until"]
    assert until > (await api.shown(ci["id"]))["update_time"]
    old = Credentials("robot-alpha--ci", ci["secret"])  # a name that no sign-in remembers yet
    later(monkeypatch, HOUR - 60_000_000)
    assert (await api.signed_in(old)).status_code == 200
    later(monkeypatch, HOUR + 1_000_000)
    assert (await api.signed_in(Credentials("robot$alpha--ci", ci["secret"]))).status_code == 401
    assert "previous_secret_until" not in await api.shown(ci["id"])
    assert (await api.signed_in(fresh)).status_code == 200


async def test_of_three_secrets_the_first_is_out(api: Any, ci: dict[str, Any]) -> None:
    secrets = [ci["secret"]]
    assert (await api.signed_in(credentials(ci))).status_code == 200
    path, body = f"/robots/{ci['id']}", {"overlap": True}
    secrets += [(await api("ann", "PATCH", path, body)).json()["secret"] for _ in range(2)]
    statuses = [(await api.signed_in(Credentials(ci["name"], each))).status_code for each in secrets]
    assert statuses == [401, 200, 200]


async def test_a_refresh_without_overlap_ends_all_before_it(api: Any, ci: dict[str, Any]) -> None:
    second = (await api("ann", "PATCH", f"/robots/{ci['id']}", {"overlap": True})).json()["secret"]
    third = (await api("ann", "PATCH", f"/robots/{ci['id']}", {})).json()["secret"]
    for secret, status in ((ci["secret"], 401), (second, 401), (third, 200)):
        assert (await api.signed_in(Credentials(ci["name"], secret))).status_code == status
    assert "previous_secret_until" not in await api.shown(ci["id"])


# ---- the last use ----


async def test_the_last_use_is_written_down(
    api: Any, registry: Registry, ci: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"last_used_time", "last_used_address"} & set(await api.shown(ci["id"]))
    (robots,) = (each.plugin for each in registry.plugins if each.name == "robots")
    await robots.check_password(ci["name"], "wrong", "192.0.2.6")
    assert "last_used_time" not in await api.shown(ci["id"]), "a wrong secret is no use"
    await robots.check_password(*credentials(ci), "192.0.2.7")
    first = await api.shown(ci["id"])
    assert first["last_used_address"] == "192.0.2.7"
    assert first["last_used_time"][:10] == time.strftime("%Y-%m-%d", time.gmtime())
    assert first["update_time"] == first["creation_time"], "to be used is not to be changed"
    await robots.check_password(*credentials(ci), "192.0.2.8")
    assert await api.shown(ci["id"]) == first, "once a minute"
    later(monkeypatch, 61_000_000)
    await robots.check_password(*credentials(ci), "192.0.2.9")
    assert (await api.shown(ci["id"]))["last_used_address"] == "192.0.2.9"


async def test_the_address_is_the_clients(api: Any, registry: Registry, ci: dict[str, Any]) -> None:
    """As the gate believes it: who asks through the core is asked with it."""
    await registry.signin.password(*credentials(ci), "2001:db8::7")
    assert (await api.shown(ci["id"]))["last_used_address"] == "2001:db8::7"


# ---- secrets stay secret ----


async def test_secrets_are_written_nowhere(
    api: Any, registry: Registry, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await api.made(api.project_robot("alpha", "ci", "repository:push"))
    chosen = await api.made(api.system_robot("chosen", secret="Correct-horse-7"))
    told = [made["secret"], chosen["secret"], "Battery-staple-8", "weak-one"]
    told.append((await api("ann", "PATCH", f"/robots/{made['id']}", {"overlap": True})).json()["secret"])
    await api("admin", "PATCH", f"/robots/{chosen['id']}", {"secret": "Battery-staple-8"})
    await api("admin", "PATCH", f"/robots/{chosen['id']}", {"secret": "weak-one"})
    await api.signed_in(Credentials(made["name"], told[-1]))
    await registry.journal.flush()
    events = await registry.journal.events()
    assert [each.kind for each in events] == ["robot.create", "robot.create", "robot.refresh", "robot.refresh"]
    texts = [msgspec.json.encode(events).decode(), caplog.text]
    texts += [(await api("admin", "GET", path)).text for path in ("/robots", "/robots?q=Level=project,ProjectID=1")]
    texts += [(await api("admin", "GET", f"/robots/{each['id']}")).text for each in (made, chosen)]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files or registry.database.dialect == "postgresql"
    texts += [file.read_bytes().decode("latin-1") for file in files]
    for text in texts:
        for secret in told:
            assert secret not in text
    for text in texts[:6]:
        assert "sha256$" not in text
        assert "pbkdf2$" not in text


async def test_what_the_journal_tells(api: Any, registry: Registry) -> None:
    made = await api.made(api.project_robot("alpha", "ci", duration=7), who="ann")
    await api.changed(made["id"], "ann", disable=True)
    await api("ann", "PATCH", f"/robots/{made['id']}", {})
    await api("ann", "DELETE", f"/robots/{made['id']}")
    await api.made(api.system_robot())
    events = await registry.journal.events()
    kinds = [each.kind for each in events]
    assert kinds == ["robot.create", "robot.update", "robot.refresh", "robot.delete", "robot.create"]
    for each in events[:4]:
        assert each.actor == "ann"
        assert each.details["subject"] == f"robot:{made['id']}"
        assert each.details["name"] == "robot$alpha+ci"
        assert each.details["level"] == "project"
        assert each.details["namespace"] == "alpha"
    assert events[0].details["permissions"] == [
        {"kind": "project", "namespace": "alpha", "access": ["repository:pull"]}
    ]
    assert (events[1].details["disable"], events[2].details["overlap"]) == (True, False)
    assert (events[4].details["level"], events[4].details["namespace"]) == ("system", None)
