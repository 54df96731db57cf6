"""Accounts keep the contracts of plugins and of sign-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from argon2 import PasswordHasher

from corereg import Identity, Registry
from corereg.testing.auth import AuthContract, CheckPassword
from corereg.testing.client import Credentials
from corereg.testing.plugins import PluginContract

# A fifth of what people get: enough to be measured, little enough for two hundred checks.
MIDDLING = PasswordHasher(time_cost=2, memory_cost=16 * 1024, parallelism=1)


class TestSignIn(AuthContract):
    @pytest.fixture
    def known(self) -> Sequence[Credentials]:
        return [Credentials("alice", "Correct-horse-7"), Credentials("Zoë Müller", "Bättery-staple-8")]

    @pytest.fixture
    async def check_password(
        self, make_registry: Callable[..., Registry], known: Sequence[Credentials]
    ) -> AsyncIterator[CheckPassword]:
        async with make_registry(hasher=MIDDLING) as registry:
            (accounts,) = (each.plugin for each in registry.plugins if each.name == "accounts")
            for each in known:
                await accounts._users().create(registry.session(), each.name, each.password)

            async def check(name: str, password: str) -> Identity | None:
                return await accounts.check_password(name, password, None)

            yield check


class TestPlugin(PluginContract):
    name = "accounts"
    open_routes = frozenset({"POST /api/v2.0/users", "POST /c/login", "GET /c/log_out", "POST /c/userExists"})
