"""The store: what changes, what is recorded, what is withdrawn, and who may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from corereg import Denied, Grant, Identity, OCIError, Operation, Refusal, Registry, Session, Unauthorized, hookimpl
from corereg_accounts.names import NameRefused
from corereg_accounts.passwords import PasswordRefused, Passwords
from corereg_accounts.schema import users as table
from corereg_accounts.users import LARGEST_ID, NameTaken, User, Users, UserUnknown

pytestmark = pytest.mark.anyio

PASSWORD = "Correct-horse-7"
OTHER = "Battery-staple-8"


@pytest.fixture
async def alice(users: Users, registry: Registry) -> User:
    return await users.create(registry.session(), "Alice", PASSWORD, email="alice@example.com")


async def told(registry: Registry) -> list[tuple[str, str, Any]]:
    """(kind, actor, details) of each event."""
    return [(event.kind, event.actor, dict(event.details)) for event in await registry.journal.events()]


# ---- making and finding ----


async def test_a_user_is_found_in_any_case_and_by_id(users: Users, alice: User) -> None:
    assert await users.named("aLiCe") == await users.with_id(alice.id) == await users.of(alice.identity()) == alice
    assert (alice.name, alice.email, alice.administrator, alice.disabled) == (
        "Alice",
        "alice@example.com",
        False,
        False,
    )
    assert alice.created_at == alice.updated_at > 1_700_000_000_000_000


@pytest.mark.parametrize("name", ["bob", "", "\0", "ａlice", "\ud800", "x" * 100_000])
async def test_nobody_else_is_found(users: Users, alice: User, name: str) -> None:
    with pytest.raises(UserUnknown):
        await users.named(name)


@pytest.mark.parametrize("number", [0, -1, 99, LARGEST_ID, LARGEST_ID + 1, 10**40])
async def test_ids_that_nobody_has(users: Users, number: int) -> None:
    assert await users.with_id(number) is None


@pytest.mark.parametrize(
    ("subject", "source"),
    [
        ("user:2", "ldap"),
        ("robot:2", "accounts"),
        ("user:", "accounts"),
        ("user:²", "accounts"),
        ("user:-2", "accounts"),
    ],
)
async def test_other_identities_are_no_users(users: Users, alice: User, subject: str, source: str) -> None:
    assert await users.of(Identity(name="Alice", subject=subject, source=source)) is None


@pytest.mark.parametrize("name", ["Alice", "alice", "ALICE"])
async def test_a_name_is_taken_in_every_case(users: Users, registry: Registry, alice: User, name: str) -> None:
    with pytest.raises(NameTaken):
        await users.create(registry.session(), name, PASSWORD)


async def test_of_two_that_want_one_name_one_gets_it(users: Users, registry: Registry) -> None:
    made = await asyncio.gather(
        *(users.create(registry.session(), name, PASSWORD) for name in ("bob", "Bob", "BOB")), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in made) == ["NameTaken", "NameTaken", "User"]


async def test_what_is_wrong_is_refused(users: Users, registry: Registry) -> None:
    session = registry.session()
    with pytest.raises(NameRefused):
        await users.create(session, "a$b", PASSWORD)
    with pytest.raises(NameRefused):
        await users.create(session, "bob", PASSWORD, email="bob")
    with pytest.raises(PasswordRefused):
        await users.create(session, "bob", "weak")
    assert [user.name for user in await users.everyone()] == ["admin"]


async def test_an_id_is_never_given_again(users: Users, registry: Registry, alice: User) -> None:
    await users.delete(registry.session(), alice)
    again = await users.create(registry.session(), "Alice", PASSWORD)
    assert again.id > alice.id
    assert again.subject != alice.subject


@pytest.mark.corereg_files
async def test_the_password_itself_is_kept_nowhere(
    users: Users, registry: Registry, alice: User, tmp_path: Any
) -> None:
    await users.set_password(registry.session(), alice, OTHER)
    await registry.journal.flush()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"$argon2id$" in kept
    assert PASSWORD.encode() not in kept
    assert OTHER.encode() not in kept


# ---- signing in ----


async def test_the_right_password(users: Users, alice: User) -> None:
    assert await users.check("alice", PASSWORD) == alice
    assert await users.check("alice", OTHER) is None
    assert await users.check("bob", PASSWORD) is None


async def test_a_disabled_user_hears_so_only_with_the_right_password(
    users: Users, registry: Registry, alice: User
) -> None:
    await users.set_disabled(registry.session(), alice, disabled=True)
    assert await users.check("alice", OTHER) is None
    with pytest.raises(Unauthorized, match="Alice is disabled; ask an administrator"):
        await users.check("alice", PASSWORD)
    await users.set_disabled(registry.session(), alice, disabled=False)
    assert await users.check("alice", PASSWORD) is not None


async def kept_of(users: Users, user: User) -> str:
    row = await users.database.row(sa.select(table.c.password_hash).where(table.c.id == user.id))
    assert row is not None
    return str(row[0])


async def test_an_old_hash_is_made_anew_at_the_next_sign_in(users: Users, registry: Registry, alice: User) -> None:
    before = await kept_of(users, alice)
    serial = registry.rights.serial
    with Passwords(PasswordHasher(time_cost=2, memory_cost=512, parallelism=1)) as today:
        later = Users(registry.database, today)
        assert await later.check("alice", OTHER) is None
        assert await kept_of(users, alice) == before
        assert await later.check("alice", PASSWORD) == alice
        after = await kept_of(users, alice)
        assert "m=512,t=2" in after
        assert await later.check("alice", PASSWORD) == alice
        assert await kept_of(users, alice) == after
    assert registry.rights.serial == serial, "nobody has to sign in again for that"


# ---- changing ----

Act = Callable[[Users, Session, User], Coroutine[Any, Any, None]]
CHANGES: dict[str, Act] = {
    "user.password": lambda users, session, user: users.set_password(session, user, OTHER),
    "user.disable": lambda users, session, user: users.set_disabled(session, user, disabled=True),
    "user.enable": lambda users, session, user: users.set_disabled(session, user, disabled=False),
    "user.update": lambda users, session, user: users.set_administrator(session, user, administrator=True),
    "user.delete": lambda users, session, user: users.delete(session, user),
}
REVOKING = {"user.password", "user.disable", "user.delete"}
ASKED_ANEW = {*REVOKING, "user.update"}
RIGHTS = {"user.delete": "delete"}


@pytest.mark.parametrize("kind", CHANGES)
async def test_every_change_is_recorded(users: Users, registry: Registry, alice: User, kind: str) -> None:
    await CHANGES[kind](users, registry.session(), alice)
    more = {"administrator": True} if kind == "user.update" else {}
    assert await told(registry) == [
        ("user.create", "system", {"name": "admin", "administrator": True, "subject": "user:1"}),
        ("user.create", "system", {"name": "Alice", "administrator": False, "subject": alice.subject}),
        (kind, "system", {"name": "Alice", "subject": alice.subject, **more}),
    ]


@pytest.mark.parametrize("kind", CHANGES)
async def test_what_was_handed_out_is_withdrawn(users: Users, registry: Registry, alice: User, kind: str) -> None:
    serial = registry.rights.serial
    await CHANGES[kind](users, registry.session(), alice)
    assert registry.rights.revoked(alice.subject, serial) is (kind in REVOKING)
    assert registry.rights.stale(alice.subject, (), serial) is (kind in ASKED_ANEW)
    assert not registry.rights.stale("user:1", (), serial), "nobody else is touched"


@pytest.mark.parametrize("kind", CHANGES)
async def test_every_change_needs_its_right(users: Users, registry: Registry, alice: User, kind: str) -> None:
    bob = Identity(name="bob", subject="user:99", source="accounts")
    with pytest.raises(Denied):
        await CHANGES[kind](users, registry.session(bob), alice)
    grant = Grant("system", "user", frozenset({RIGHTS.get(kind, "update")}))
    await CHANGES[kind](users, registry.session(bob, grants=[grant]), alice)
    assert (await told(registry))[-1][:2] == (kind, "bob")


async def test_making_a_user_needs_its_right(users: Users, registry: Registry) -> None:
    bob = Identity(name="bob", subject="user:99", source="accounts")
    with pytest.raises(Denied):
        await users.create(registry.session(bob), "carol", PASSWORD)
    await users.create(
        registry.session(bob, grants=[Grant("system", "user", frozenset({"create"}))]), "carol", PASSWORD
    )


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if kind != "user.delete"])
async def test_a_user_who_is_gone_cannot_be_changed(users: Users, registry: Registry, alice: User, kind: str) -> None:
    await users.delete(registry.session(), alice)
    events = len(await told(registry))
    with pytest.raises(UserUnknown, match="deleted a moment ago"):
        await CHANGES[kind](users, registry.session(), alice)
    assert len(await told(registry)) == events, "what did not happen is not recorded"


class NoNewUsers:
    """A company policy."""

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        if operation.kind == "user.create" and operation.details["name"] != "admin":
            return Refusal("users come from the directory; ask the help desk")
        return None

    @hookimpl
    async def commit(self, operation: Operation, tx: object) -> Refusal | None:
        return Refusal("not on Fridays") if operation.kind == "user.delete" else None


async def test_policies_are_asked(make_registry: Callable[..., Registry], passwords: Passwords) -> None:
    async with make_registry(NoNewUsers) as registry:
        users = Users(registry.database, passwords)
        with pytest.raises(OCIError, match="ask the help desk"):
            await users.create(registry.session(), "bob", PASSWORD)
        admin = await users.named("admin")
        with pytest.raises(OCIError, match="not on Fridays"):
            await users.delete(registry.session(), admin)
        assert await users.everyone() == [admin]
