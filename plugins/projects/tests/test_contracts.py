"""Projects keep the contract of plugins, and the documented hooks say what they must."""

from __future__ import annotations

from corereg.plugins import specified
from corereg.testing.plugins import PluginContract
from corereg_projects import hooks


class TestPlugin(PluginContract):
    name = "projects"
    open_routes = frozenset({"GET /api/v2.0/projects"})


def test_hooks_of_our_own_are_explained() -> None:
    assert specified(hooks) == ("find_principal", "describe_projects")
    for name in specified(hooks):
        text = getattr(hooks, name).__doc__
        assert all(label in text for label in ("Asked:", "Order:", "None:", "Raises:", "Example::")), name
