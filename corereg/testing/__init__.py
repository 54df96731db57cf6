"""Contracts that whoever writes a plugin, or another registry, runs against it; and a client to speak to a registry.

Each contract is a class of pytest tests to inherit from: ``class TestOurs(StorageContract)`` and a fixture or two.
The names are loaded when they are asked for, so that importing one contract needs no other one's libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

_HOMES = {
    "AuthContract": "corereg.testing.auth",
    "People": "corereg.testing.registry",
    "PluginContract": "corereg.testing.plugins",
    "RegistryClient": "corereg.testing.client",
    "StorageContract": "corereg.testing.storage",
    "UploadMachine": "corereg.testing.uploads",
    "WireContract": "corereg.testing.wire",
}

# The contracts are imported, not collected: without this their assertions would fail without saying why.
pytest.register_assert_rewrite(*sorted(set(_HOMES.values())))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
