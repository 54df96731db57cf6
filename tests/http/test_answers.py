"""What handlers return beside plain values."""

from __future__ import annotations

import errno
from pathlib import Path

import httpx2
import msgspec
import pytest

from corereg import OPEN, Registry, Route, Session, Told, asgi, hookimpl, openapi_document
from corereg.store.database import Conflict, DatabaseBusy, DatabaseFull, DatabaseLost, DatabaseUnavailable
from corereg.store.storage import KeyMissing, StorageError, StorageUnavailable
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


class Trouble:
    """A plugin whose answer fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @hookimpl
    def provide_routes(self) -> list[Route]:
        return [Route("GET", "/api/v2.0/note", self.get_note, OPEN, "A note.")]

    async def get_note(self, session: Session) -> None:
        raise self._error


READ_ONLY = StorageError.of(OSError(errno.EROFS, "read-only"), "/srv/blobs")
FULL = StorageError.of(OSError(errno.ENOSPC, "full"), "/srv/blobs")
BEFORE = "the database postgresql://user@/srv/socket failed"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (DatabaseUnavailable(BEFORE), 503, "its database does not answer"),
        (DatabaseBusy(BEFORE), 503, "another change was made at the same moment"),
        (DatabaseLost(BEFORE), 503, "whether the change was made is not known"),
        (DatabaseFull(BEFORE), 507, "no room left"),
        (READ_ONLY, 503, "read-only"),
        (FULL, 507, "no room left"),
        (StorageUnavailable("the store at https://user@/srv/bucket"), 503, "its storage does not answer"),
        (StorageUnavailable("sha256:ab is just being removed; push it again"), 503, "sha256:ab is just being removed"),
        (Conflict("/srv violates a unique key of user@"), 409, "another change that was made at the same moment"),
        (KeyMissing("/srv/blobs/ab is not there."), 503, "its bytes are missing"),
    ],
)
async def test_what_is_for_the_operator_stays_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, status: int, told: str
) -> None:
    async with (
        scratch(tmp_path, Trouble(error)) as registry,
        httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry.test") as client,
    ):
        answer = await client.get("/api/v2.0/note")
    assert answer.status_code == status
    assert told in answer.json()["errors"][0]["message"]
    assert "/srv" not in answer.text
    assert "user@" not in answer.text
    assert str(error) in caplog.text


def test_the_document_shows_the_value(registry: Registry) -> None:
    said = openapi_document(registry)["paths"]["/api/v2.0/note"]
    assert said["get"]["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Note"
    }
    assert "403" not in said["get"]["responses"]
    assert "403" in said["put"]["responses"], "a policy, or the check of cookies, may refuse any change"
