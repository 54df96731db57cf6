"""Labels keep the contract of plugins."""

from __future__ import annotations

from corereg.testing.plugins import PluginContract


class TestPlugin(PluginContract):
    name = "labels"
    open_routes = frozenset({"GET /api/v2.0/labels", "GET /api/v2.0/labels/{label_id}"})
