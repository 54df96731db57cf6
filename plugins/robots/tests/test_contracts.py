"""Robots keep the contracts of plugins and of sign-ins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from corereg import Identity, Namespace, Registry
from corereg.testing.auth import NOBODY, AuthContract, CheckPassword
from corereg.testing.client import Credentials
from corereg.testing.plugins import PluginContract
from corereg_robots.permissions import Access, RobotPermission
from corereg_robots.store import Fields

CHOSEN = "Correct-horse-7"


class TestSignIn(AuthContract):
    """With a secret that was made, and one that somebody chose."""

    @pytest.fixture
    async def known(self, registry: Registry) -> Sequence[Credentials]:
        (plugin,) = (each.plugin for each in registry.plugins if each.name == "robots")
        fields = Fields(
            description="",
            disabled=False,
            duration=-1,
            permissions=(RobotPermission("project", "alpha", (Access("repository", "pull"),)),),
        )
        store, session = plugin._robots(), registry.session()
        _, made = await store.create(session, "ci", Namespace(1, "alpha"), fields)
        await store.create(session, "ci", None, fields, CHOSEN)
        return [Credentials("robot$alpha+ci", made), Credentials("robot$ci", CHOSEN)]

    @pytest.fixture
    async def check_password(self, registry: Registry) -> CheckPassword:
        (plugin,) = (each.plugin for each in registry.plugins if each.name == "robots")

        async def check(name: str, password: str) -> Identity | None:
            # What is not written like a robot's name costs no look-up; what could be learnt is which robots there are.
            name = name.replace(NOBODY, "robot$alpha+nobody")
            found: Identity | None = await plugin.check_password(name, password, None)
            return found

        return check


class TestPlugin(PluginContract):
    name = "robots"
