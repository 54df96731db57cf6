"""The very first start: one administrator, whose password is shown once."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from corereg import Config, PluginError, Registry
from corereg_accounts.administrator import _address
from corereg_accounts.passwords import Passwords, check_strength
from corereg_accounts.users import Users

pytestmark = pytest.mark.anyio

Make = Callable[..., Registry]


async def names(registry: Registry, passwords: Passwords) -> list[str]:
    return [user.name for user in await Users(registry.database, passwords).everyone()]


def shown(text: str) -> list[str]:
    return re.findall(r"with the password (\S+)$", text, flags=re.MULTILINE)


async def test_the_password_is_made_up_and_shown_once(
    make_registry: Make,
    passwords: Passwords,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("COREREG_ADMIN_PASSWORD")
    caplog.set_level(logging.DEBUG)
    async with make_registry() as registry:
        printed = capsys.readouterr()
        (password,) = shown(printed.err)
        assert not printed.out
        assert len(password) >= 20
        check_strength(password)
        assert "docker login localhost:8080 -u admin" in printed.err
        admin = await Users(registry.database, passwords).check("admin", password)
        assert admin is not None
        assert admin.administrator
    async with make_registry():
        assert capsys.readouterr().err == ""
    assert password not in caplog.text


async def test_the_password_is_given(
    make_registry: Make, passwords: Passwords, admin_password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with make_registry() as registry:
        assert await Users(registry.database, passwords).check("admin", admin_password) is not None
    printed = capsys.readouterr().err
    assert "the password from COREREG_ADMIN_PASSWORD" in printed
    assert admin_password not in printed


@pytest.mark.parametrize("weak", ["", "admin", "harbor12345", "nodigitsHere"])
async def test_a_weak_password_keeps_the_registry_from_starting(
    make_registry: Make, passwords: Passwords, monkeypatch: pytest.MonkeyPatch, weak: str
) -> None:
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", weak)
    with pytest.raises(PluginError, match="COREREG_ADMIN_PASSWORD: a password has 8 to 128 characters"):
        await make_registry().open()
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", "Strong-enough-1")
    async with make_registry() as registry:
        assert await names(registry, passwords) == ["admin"]


async def test_workers_that_start_at_once_make_one(
    make_registry: Make, passwords: Passwords, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COREREG_ADMIN_PASSWORD")
    workers = [make_registry() for _ in range(4)]
    await asyncio.gather(*(worker.open() for worker in workers))
    try:
        (password,) = shown(capsys.readouterr().err)
        for worker in workers:
            assert await names(worker, passwords) == ["admin"]
            assert await worker.signin.password("admin", password, None)
        assert len(await workers[0].journal.events()) == 1
    finally:
        for worker in workers:
            await worker.close()


async def test_nobody_is_made_where_somebody_is(make_registry: Make, passwords: Passwords) -> None:
    async with make_registry() as registry:
        users = Users(registry.database, passwords)
        await users.create(registry.session(), "alice", "Correct-horse-7")
        await users.delete(registry.session(), await users.named("admin"))
    async with make_registry() as registry:
        assert await names(registry, passwords) == ["alice"]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"port": 5000}, "localhost:5000"),
        ({"host": "0.0.0.0"}, "localhost:8080"),
        ({"host": "10.1.2.3"}, "10.1.2.3:8080"),
        ({"host": "2001:db8::1"}, "[2001:db8::1]:8080"),
        ({"external_url": "https://registry.example.com"}, "registry.example.com"),
    ],
)
def test_the_address_that_is_told(tmp_path: Path, server: dict[str, object], said: str) -> None:
    overrides = {f"server.{key}": value for key, value in server.items()}
    assert _address(Config.load(overrides={"data": str(tmp_path), **overrides})) == said
