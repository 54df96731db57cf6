"""What a test on a socket needs: it dials, is refused, and looks whether the server still lives."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio
import anyio.abc
import pytest

from corereg.testing.client import RegistryClient, expect
from corereg.testing.wire.line import Answer, Closed, Dial, Line

strict = pytest.mark.corereg_needs("strict_framing")


class SocketWire:
    """A test that writes to the socket itself; its other fixtures are those of the contract it is part of."""

    pytestmark: ClassVar[Any] = pytest.mark.anyio

    @pytest.fixture
    def dial(self, corereg_address: tuple[str, int, bool], client: RegistryClient, declared: frozenset[str]) -> Dial:
        """Opens connections to the server."""
        # Not a mark of the class: a contract that inherits from it would skip all its tests.
        if "socket" not in declared:
            pytest.skip("the registry declares that it lacks: socket")
        host, port, secure = corereg_address

        @asynccontextmanager
        async def connect() -> AsyncIterator[Line]:
            stream: anyio.abc.ByteStream
            if secure:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = await anyio.connect_tcp(host, port, ssl_context=context, tls_standard_compatible=False)
            else:
                stream = await anyio.connect_tcp(host, port)
            async with stream:
                yield Line(stream, client.host)

        return connect

    async def refusal(self, dial: Dial, data: bytes) -> Answer | None:
        """What the server says to `data`; None when it just closes the connection."""
        async with dial() as line:
            await line.send(data)
            try:
                return await line.answer()
            except Closed:
                return None

    async def check_alive(self, client: RegistryClient) -> None:
        """Whatever was sent, the next visitor is served."""
        expect(await client.request("GET", "/v2/"), 200)
