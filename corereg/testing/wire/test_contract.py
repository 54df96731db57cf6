"""The contract as ``pytest -p corereg.testing.plugin --pyargs corereg.testing.wire --corereg-url ...`` collects it."""

from __future__ import annotations

from corereg.testing.wire import WireContract


class TestWire(WireContract):
    """The registry at ``--corereg-url``, or one in this process."""
