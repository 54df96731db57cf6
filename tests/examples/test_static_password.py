"""The sign-in for a handful of machines keeps the contract of all sign-ins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corereg import asgi
from corereg.testing.auth import AuthContract, CheckPassword
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.plugins import PluginContract

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KNOWN = [Credentials("ci", "a-long-secret"), Credentials("deploy", "another=secret")]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATIC_PASSWORDS", ",".join("=".join(each) for each in KNOWN))


class TestSignIn(AuthContract):
    @pytest.fixture
    def known(self) -> Sequence[Credentials]:
        return KNOWN

    @pytest.fixture
    def check_password(self, load: Callable[[str], ModuleType]) -> CheckPassword:
        hook: CheckPassword = load("static_password").check_password
        return hook


class TestPlugin(PluginContract):
    name = "static_password"
    plugin = str(EXAMPLES / "static_password.py")


@pytest.mark.anyio
async def test_machines_push_and_pull_and_no_more(open_house: Any) -> None:
    async with open_house("static_password") as (registry, _):
        client = RegistryClient(app=asgi(registry), credentials=KNOWN[1])
        async with client:
            await client.push_image("demo/app", "latest")
            assert (await client.get_manifest("demo/app", "latest")).status_code == 200
            assert (await client.request("DELETE", "/v2/demo/app/manifests/latest")).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["", "ci", "ci=", "=secret", ",,"])
async def test_without_a_password_nobody_gets_in(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("STATIC_PASSWORDS", given)
    check = load("static_password").check_password
    assert await check("ci", "") is None
    assert await check("ci", "secret") is None
    assert await check("", "secret") is None
