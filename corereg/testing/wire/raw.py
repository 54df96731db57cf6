"""What no HTTP client would send: requests written to the socket byte by byte.

Smuggling shapes, broken framing, slow clients, clients that vanish, clients that wait for 100 Continue. The tests need
a server at an address (``--corereg-url``) and skip for an application in this process.
"""

from __future__ import annotations

from corereg.testing.wire.connections import ConnectionWire
from corereg.testing.wire.framing import FramingWire


class RawWire(FramingWire, ConnectionWire):
    """Framing, hostile and human: what a server must survive, refuse or wait for."""
