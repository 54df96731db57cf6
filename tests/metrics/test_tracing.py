"""Traces: spans of a request, their parents, and that nothing is there when nobody asked."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from corereg import ConfigError, Registry, asgi
from corereg.config import Config, TracingConfig
from corereg.testing.client import AppTransport
from corereg.testing.registry import scratch

otel = pytest.importorskip("corereg.tracing.otel")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

pytestmark = pytest.mark.anyio

ADMIN = ("admin", "a password for tests only")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def registry(
    tmp_path: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Registry]:
    monkeypatch.setattr(otel, "OTLPSpanExporter", lambda **_: exporter)
    async with scratch(tmp_path, tracing=TracingConfig(endpoint="http://127.0.0.1:9/v1/traces")) as registry:
        yield registry


async def spans(registry: Registry, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    assert registry.tracer._provider.force_flush()
    return {span.name: span for span in exporter.get_finished_spans()}


def client(registry: Registry) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=AppTransport(asgi(registry)), base_url="http://registry", auth=ADMIN)


async def test_a_push_is_a_tree_of_spans(registry, exporter) -> None:
    async with client(registry) as speaks:
        place = (await speaks.post("/v2/demo/app/blobs/uploads/")).headers["location"]
        await spans(registry, exporter)
        exporter.clear()
        digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        mark = "&" if "?" in place else "?"
        answer = await speaks.put(f"{place}{mark}digest={digest}", content=b"foo", headers={"traceparent": PARENT})
        assert answer.status_code == 201
    found = await spans(registry, exporter)
    request = found["PUT finish"]
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["corereg.request.id"] == answer.headers["x-request-id"]
    assert "digest=" not in str(dict(request.attributes)), "a query may hold what is nobody's business"
    change = found["session.change"]
    assert change.parent.span_id == request.context.span_id
    assert change.attributes["corereg.operation"] == "blob.push"
    assert {"storage.put", "database.transaction"} <= set(found)
    assert {span.context.trace_id for span in found.values()} == {request.context.trace_id}


async def test_a_refusal_is_an_answer_and_no_failure(registry, exporter) -> None:
    async with client(registry) as speaks:
        assert (await speaks.get("/v2/demo/app/manifests/none")).status_code == 404
    span = (await spans(registry, exporter))["GET get_manifest"]
    assert span.attributes["http.response.status_code"] == 404
    assert not span.events


async def test_who_calls_decides_whether_it_is_traced(registry, exporter) -> None:
    async with client(registry) as speaks:
        await speaks.get("/healthz", headers={"traceparent": NOT_SAMPLED})
        await speaks.get("/healthz", headers={"traceparent": "hostile\r\nx"[:7]})
    assert len([name for name in (await spans(registry, exporter)) if name == "GET get_healthz"]) == 1
    assert len([each for each in exporter.get_finished_spans() if each.name == "GET get_healthz"]) == 1


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what is exported."""

    got: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest()
        message.ParseFromString(body)
        self.got.append(message)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    got: list[ExportTraceServiceRequest] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Receiver,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
    server.shutdown()
    thread.join()
    server.server_close()


async def test_closing_the_registry_sends_what_is_left_over_the_wire(tmp_path, receiver) -> None:
    url, got = receiver
    registry = scratch(tmp_path, tracing=TracingConfig(endpoint=url, service="ours"))
    async with registry, client(registry) as speaks:
        await speaks.get("/healthz")
    (resource,) = [each for message in got for each in message.resource_spans][:1]
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "ours"
    names = [
        span.name
        for message in got
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert "GET get_healthz" in names


def test_nothing_is_imported_when_nothing_is_traced(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from corereg import Config, Registry, asgi\n"
        "async def main():\n"
        f"    async with Registry(Config(data=Path({str(tmp_path)!r})), plugins=['storage_fs']) as registry:\n"
        "        asgi(registry)\n"
        "asyncio.run(main())\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_missing_extra_is_told_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "corereg.tracing.otel")
    config = Config(data=tmp_path, tracing=TracingConfig(endpoint="http://127.0.0.1:4318/v1/traces"))
    with pytest.raises(ConfigError, match=r"corereg\[otel\]"):
        Registry(config, plugins=["storage_fs"])
