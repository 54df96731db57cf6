"""storage_fs keeps what every plugin promises."""

from __future__ import annotations

from pathlib import Path

from corereg import Config
from corereg.testing.plugins import PluginContract


class TestPlugin(PluginContract):
    """The contract's tests, over this plugin."""

    name = "storage_fs"

    def config(self, folder: Path) -> Config:
        return Config(data=folder)
