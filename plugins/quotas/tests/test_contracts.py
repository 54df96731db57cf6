"""Quotas keep the contract of plugins."""

from __future__ import annotations

from corereg.testing.plugins import PluginContract


class TestPlugin(PluginContract):
    name = "quotas"
