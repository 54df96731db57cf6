"""No header of an answer can end its line, whoever made it and whatever server runs below."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from corereg import OPEN, Response, Route, asgi, hookimpl
from corereg.oci.errors import Denied
from corereg.session import Session
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio

TRICK = "innocent\r\nset-cookie: sid=theirs"


class Careless:
    """A plugin that lets text of its callers into headers."""

    def __init__(self) -> None:
        self.closed = False

    @hookimpl
    def provide_routes(self) -> list[Route]:
        return [Route("GET", f"/{kind}", getattr(self, kind), OPEN) for kind in ("value", "name", "pieces", "refusal")]

    async def value(self, session: Session) -> Response:
        return Response(200, [("x-note", TRICK)], b"fine")

    async def name(self, session: Session) -> Response:
        return Response(200, [(TRICK, "note")], b"fine")

    async def pieces(self, session: Session) -> Response:
        return Response(200, [("x-note", "a\nb")], self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            self.closed = True

    async def refusal(self, session: Session) -> Response:
        message = "no"
        raise Denied(message, headers={"x-note": TRICK})


@pytest.mark.parametrize("kind", ["value", "name", "pieces", "refusal"])
async def test_a_header_with_the_end_of_a_line_is_a_fault_of_its_maker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    careless = Careless()
    async with scratch(tmp_path, careless) as registry:
        transport = AppTransport(asgi(registry))
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry.test") as client:
            answer = await client.get(f"/{kind}")
    assert answer.status_code == 500
    assert "number" in answer.json()["errors"][0]["message"]
    assert "set-cookie" not in answer.headers
    assert "x-note" not in answer.headers
    assert "holds the end of a line" in caplog.text
    assert careless.closed == (kind == "pieces"), "what was begun is let go of"
