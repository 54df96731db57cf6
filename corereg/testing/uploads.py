"""Uploads in any order: a state machine that plays with a registry and a model side by side.

Hypothesis makes up requests (chunks in and out of order, streams, status, closing rightly and wrongly, cancelling,
mounting, pushing the same blob again) and the registry must answer each as the model says; the shortest story that
goes wrong is shown as a failing test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from corereg.testing.client import Body, RegistryClient, digest, expect, with_query


class Piece(bytes):
    """Some bytes. What hypothesis prints of them stays readable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if len(self) < 20 else f"bytes({len(self)})"


def _large(size: int) -> Piece:
    return Piece(b"x" * size)


# Small, so that blobs meet again; and a few sizes around what servers read and buffer at once.
PIECES = st.one_of(
    st.sampled_from([b"", b"a", b"b", b"ab", b"\x00"]).map(Piece),
    st.binary(max_size=8).map(Piece),
    st.sampled_from([65536, 65537, 300_000]).map(_large),
)
SOLID = PIECES.filter(bool)


class Upload(msgspec.Struct, eq=False):
    """What the model knows of one upload."""

    repository: str
    location: str
    received: bytes = b""
    alive: bool = True

    def __repr__(self) -> str:
        return f"<{'' if self.alive else 'ended '}upload of {len(self.received)} bytes>"

    @property
    def range(self) -> str:
        """The Range its status must show; an empty upload shows 0-0 by custom."""
        return f"0-{max(len(self.received) - 1, 0)}"


class UploadMachine(RuleBasedStateMachine):
    """Two repositories, any number of uploads. Runs in a worker thread; the client in the event loop."""

    uploads = Bundle("uploads")

    def __init__(self, client: RegistryClient, repository: str, capabilities: Collection[str]) -> None:
        super().__init__()
        self.client = client
        self.capabilities = capabilities
        own = f"{repository}/{uuid4().hex}"
        self.repositories = (f"{own}/a", f"{own}/b")
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.changed: tuple[str, str] | None = None

    def body(self, upload: Upload, data: bytes, *, streamed: bool = False) -> Body:
        """What is refused unread is sent whole and small: whether a client that sends on still hears the refusal is
        another promise, which belongs to the server (`corereg.testing.wire.RawWire`).
        """
        if not upload.alive:
            return data[:8]
        return _pieces([data]) if streamed else data

    def say(self, method: str, target: str, content: Body = b"", **headers: str) -> httpx2.Response:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return from_thread.run(partial(self.client.request, method, target, headers=fields, content=content))

    def store(self, repository: str, name: str, data: bytes) -> None:
        self.blobs[repository, name] = data
        self.changed = (repository, name)

    def algorithm(self, *, sha512: bool) -> str:
        return "sha512" if sha512 and "sha512" in self.capabilities else "sha256"

    # Starting

    @rule(target=uploads, where=st.integers(0, 1))
    def start(self, where: int) -> Upload:
        repository = self.repositories[where]
        answer = expect(self.say("POST", f"/v2/{repository}/blobs/uploads/"), 202)
        assert answer.headers["range"] == "0-0"
        return Upload(repository, answer.headers["location"])

    @rule(target=uploads, where=st.integers(0, 1), sha512=st.booleans())
    def start_with_an_algorithm(self, where: int, *, sha512: bool) -> Upload:
        repository = self.repositories[where]
        query = f"?digest-algorithm={self.algorithm(sha512=sha512)}" if "digest_algorithm" in self.capabilities else ""
        answer = expect(self.say("POST", f"/v2/{repository}/blobs/uploads/{query}"), 202)
        return Upload(repository, answer.headers["location"])

    @rule(where=st.integers(0, 1), data=PIECES, sha512=st.booleans(), right=st.booleans())
    def push_in_one_post(self, where: int, data: bytes, *, sha512: bool, right: bool) -> None:
        if "single_post" not in self.capabilities:
            return
        repository = self.repositories[where]
        name = digest(data if right else data + b"!", self.algorithm(sha512=sha512))
        answer = self.say("POST", f"/v2/{repository}/blobs/uploads/?digest={name}", data)
        if right:
            expect(answer, 201)
            self.store(repository, name, data)
        else:
            expect(answer, 400, code="DIGEST_INVALID")

    @rule(where=st.integers(0, 1), number=st.integers(0, 50))
    def mount(self, where: int, number: int) -> None:
        source, here = self.repositories[where], self.repositories[1 - where]
        known = sorted(name for repository, name in self.blobs if repository == source)
        name = known[number % len(known)] if known else digest(b"never pushed")
        answer = self.say("POST", f"/v2/{here}/blobs/uploads/?mount={name}&from={source}")
        if known and "mount" in self.capabilities:
            expect(answer, 201)
            self.store(here, name, self.blobs[source, name])
        elif not known:
            expect(answer, 202)

    # Receiving

    def check_received(self, upload: Upload, answer: httpx2.Response, data: bytes) -> None:
        if not upload.alive:
            expect(answer, 404, code="BLOB_UPLOAD_UNKNOWN")
            return
        expect(answer, 202)
        upload.received += data
        assert answer.headers["range"] == upload.range
        upload.location = answer.headers["location"]

    @rule(upload=uploads, data=PIECES)
    def patch(self, upload: Upload, data: bytes) -> None:
        self.check_received(upload, self.say("PATCH", upload.location, self.body(upload, data)), data)

    @rule(upload=uploads, parts=st.lists(SOLID, max_size=4))
    def patch_as_a_stream(self, upload: Upload, parts: list[bytes]) -> None:
        data = b"".join(parts)
        body = _pieces(parts) if upload.alive else self.body(upload, data)
        self.check_received(upload, self.say("PATCH", upload.location, body), data)

    @rule(upload=uploads, data=SOLID, streamed=st.booleans())
    def patch_in_order(self, upload: Upload, data: bytes, *, streamed: bool) -> None:
        start = len(upload.received)
        data = data if upload.alive else data[:8]
        body = self.body(upload, data, streamed=streamed)
        answer = self.say("PATCH", upload.location, body, Content_Range=f"{start}-{start + len(data) - 1}")
        self.check_received(upload, answer, data)

    @rule(upload=uploads, data=SOLID, by=st.integers(-3, 3).filter(bool))
    def patch_out_of_order(self, upload: Upload, data: bytes, by: int) -> None:
        data = data[:8]
        start = max(len(upload.received) + by, 0)
        if start == len(upload.received):
            return
        answer = self.say("PATCH", upload.location, data, Content_Range=f"{start}-{start + len(data) - 1}")
        if upload.alive:
            assert expect(answer, 416).headers["range"] == upload.range
        else:
            expect(answer, 404, code="BLOB_UPLOAD_UNKNOWN")

    @rule(upload=uploads, data=SOLID, by=st.integers(1, 3))
    def patch_shorter_than_it_says(self, upload: Upload, data: bytes, by: int) -> None:
        data = data[:8]
        start = len(upload.received)
        answer = self.say("PATCH", upload.location, data, Content_Range=f"{start}-{start + len(data) - 1 + by}")
        if upload.alive:
            expect(answer, 400, code="SIZE_INVALID")
        else:
            expect(answer, 404, code="BLOB_UPLOAD_UNKNOWN")

    @rule(upload=uploads, method=st.sampled_from(["GET", "HEAD"]))
    def status(self, upload: Upload, method: str) -> None:
        answer = self.say(method, upload.location)
        if upload.alive:
            assert expect(answer, 204).headers["range"] == upload.range
        else:
            expect(answer, 404, code="BLOB_UPLOAD_UNKNOWN")

    # Ending

    def close(self, upload: Upload, last: bytes, name: str, content_range: str | None) -> httpx2.Response:
        target = with_query(upload.location, digest=name)
        return self.say("PUT", target, last, **({} if content_range is None else {"Content_Range": content_range}))

    @rule(upload=uploads, last=PIECES, sha512=st.booleans(), ranged=st.booleans())
    def put(self, upload: Upload, last: bytes, *, sha512: bool, ranged: bool) -> None:
        last = last if upload.alive else last[:8]
        data = upload.received + last
        name = digest(data, self.algorithm(sha512=sha512))
        text = f"{len(upload.received)}-{len(data) - 1}" if ranged and last else None
        answer = self.close(upload, last, name, text)
        if not upload.alive:
            expect(answer, 404, code="BLOB_UPLOAD_UNKNOWN")
            return
        assert expect(answer, 201).headers.get("docker-content-digest", name) == name
        upload.alive = False
        self.store(upload.repository, name, data)

    @rule(upload=uploads, last=PIECES, sha512=st.booleans())
    def put_with_another_digest(self, upload: Upload, last: bytes, *, sha512: bool) -> None:
        last = last if upload.alive else last[:8]
        name = digest(upload.received + last + b"!", self.algorithm(sha512=sha512))
        answer = self.close(upload, last, name, None)
        expect(answer, *((400,) if upload.alive else (404,)))
        upload.alive = False

    @rule(upload=uploads)
    def put_without_a_digest(self, upload: Upload) -> None:
        expect(self.say("PUT", upload.location), *((400,) if upload.alive else (400, 404)))

    @rule(upload=uploads, last=SOLID)
    def put_out_of_order(self, upload: Upload, last: bytes) -> None:
        last = last[:8]
        start = len(upload.received) + 1
        answer = self.close(upload, last, digest(upload.received + last), f"{start}-{start + len(last) - 1}")
        expect(answer, *((416,) if upload.alive else (404,)))

    @rule(upload=uploads)
    def cancel(self, upload: Upload) -> None:
        expect(self.say("DELETE", upload.location), *((204,) if upload.alive else (404,)))
        upload.alive = False

    @rule(upload=uploads)
    def speak_to_it_in_the_other_repository(self, upload: Upload) -> None:
        other = next(name for name in self.repositories if name != upload.repository)
        expect(self.say("GET", upload.location.replace(upload.repository, other)), 404)

    # What must hold after every step

    @invariant()
    def what_was_stored_is_there(self) -> None:
        """The blob of the last step; all of them at the end of the story."""
        if self.changed is not None:
            self.check_blob(*self.changed)
            self.changed = None

    def check_blob(self, repository: str, name: str) -> None:
        answer = from_thread.run(partial(self.client.request, "GET", f"/v2/{repository}/blobs/{name}", follow=True))
        assert expect(answer, 200).content == self.blobs[repository, name]

    def teardown(self) -> None:
        for repository, name in self.blobs:
            self.check_blob(repository, name)


def _pieces(parts: list[bytes]) -> Callable[[], Any]:
    async def make() -> Any:
        for part in parts:
            yield part
            await checkpoint()

    return make


async def explore_uploads(
    client: RegistryClient, repository: str, capabilities: Collection[str], examples: int = 30
) -> None:
    """Play `examples` stories against the registry, in new repositories under `repository`.

    Call it from the event loop in which `client` lives.
    """
    await client.authorization("POST", f"/v2/{repository}/blobs/uploads/")
    # A story of HTTP requests is slow by hypothesis' standards, and its data is in a registry that it does not know.
    patient = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )

    class Machine(UploadMachine):
        def __init__(self) -> None:
            super().__init__(client, repository, capabilities)

    await to_thread.run_sync(partial(run_state_machine_as_test, Machine, settings=patient))
