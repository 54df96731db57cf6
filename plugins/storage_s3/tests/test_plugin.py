"""storage_s3 keeps what every plugin promises."""

from __future__ import annotations

from corereg.testing.plugins import PluginContract


class TestPlugin(PluginContract):
    """The contract's tests, over this plugin."""

    name = "storage_s3"
