"""What handlers return beside plain values."""

from __future__ import annotations

from pathlib import Path

import httpx2
import msgspec
import pytest

from corereg import OPEN, Registry, Route, Session, Told, asgi, hookimpl, openapi_document
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio


class Note(msgspec.Struct):
    """A text."""

    text: str


class Notes:
    """A plugin whose answers have headers."""

    @hookimpl
    def provide_routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v2.0/note", self.get_note, OPEN, "A note."),
            Route("PUT", "/api/v2.0/note", self.put_note, OPEN, "Another one."),
        ]

    async def get_note(self, session: Session) -> Told[Note]:
        return Told(Note("hello"), [("x-note", "7")])

    async def put_note(self, session: Session) -> None:
        return None


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return scratch(tmp_path, Notes)


async def test_headers_go_out_with_a_value(registry: Registry) -> None:
    async with (
        registry,
        httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as client,
    ):
        answer = await client.get("/api/v2.0/note")
    assert (answer.status_code, answer.json(), answer.headers["x-note"]) == (200, {"text": "hello"}, "7")
    assert answer.headers["content-type"] == "application/json"


def test_the_document_shows_the_value(registry: Registry) -> None:
    said = openapi_document(registry)["paths"]["/api/v2.0/note"]
    assert said["get"]["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Note"
    }
    assert "403" not in said["get"]["responses"]
    assert "403" in said["put"]["responses"], "a policy, or the check of cookies, may refuse any change"
