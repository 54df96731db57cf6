"""The wire contract, against the registry of this process or the one at --corereg-url."""

from __future__ import annotations

from corereg.testing.wire import WireContract


class TestWire(WireContract):
    pass
