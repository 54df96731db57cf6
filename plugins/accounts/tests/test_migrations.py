"""Data of the first tables goes on in the newest ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg import Registry, Schema
from corereg.testing.plugins import CORE, connect, upgrade
from corereg_accounts.passwords import Passwords
from corereg_accounts.schema import SCHEMA
from corereg_accounts.users import Users

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]

PASSWORD = "Correct-horse-7"


async def test_users_of_the_first_tables(
    tmp_path: Path, make_registry: Callable[..., Registry], passwords: Passwords
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    assert SCHEMA.migrations is not None
    shutil.copy(SCHEMA.migrations / "0001_users.py", old)
    database = connect(f"sqlite:{tmp_path / 'corereg.db'}")
    await database.open()
    await upgrade(database, [CORE, Schema("accounts", SCHEMA.metadata, old)])
    insert = (
        "INSERT INTO accounts_users (name, name_key, email, realname, comment, password_hash, administrator, disabled, "
        "created_at, updated_at) VALUES (:name, :name, NULL, '', '', :hash, 1, 0, 1, 2)"
    )
    async with database.transaction() as tx:
        for name in ("alice", "bob"):
            kept = await passwords.hash(PASSWORD)
            await tx.execute(sa.text(insert).bindparams(name=name, hash=kept))
        await tx.execute(sa.text("DELETE FROM accounts_users WHERE name = 'bob'"))
    await database.close()
    async with make_registry() as registry:
        users = Users(registry.database, passwords)
        alice = await users.check("alice", PASSWORD)
        assert alice is not None
        assert (alice.id, alice.administrator, alice.local, alice.vouched_administrator) == (1, True, True, False)
        assert (alice.created_at, alice.source) == (1, "accounts")
        assert [each.name for each in await users.everyone()] == ["alice"], "no second first administrator"
        carol = await users.create(registry.session(), "carol", PASSWORD)
        assert carol.id == 3, "the id of somebody who was deleted before is not given again"
