"""Spans by OpenTelemetry, sent over OTLP/HTTP; the extra ``otel``.

Nothing global is set: two registries in one process send to two places. Headers for the collector (its token) come from
``OTEL_EXPORTER_OTLP_HEADERS``, which the exporter reads by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from corereg.config import TracingConfig

FAREWELL = 3.0
"""Seconds the exporter has for what is left when the registry closes."""


class OpenTelemetry:
    """The spans of one registry. `exporter` replaces the one that sends over the network."""

    on = False

    def __init__(self, config: TracingConfig, version: str, exporter: SpanExporter | None = None) -> None:
        self._config = config
        self._version = version
        self._exporter = exporter
        self._propagator = TraceContextTextMapPropagator()
        self._tracer: Tracer = trace.NoOpTracer()
        self._provider: TracerProvider | None = None

    def open(self) -> None:
        """Begin; the exporter has a thread, so this comes after any fork."""
        exporter = self._exporter or OTLPSpanExporter(endpoint=self._config.endpoint, timeout=FAREWELL)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(self._config.sample)),
            resource=Resource.create({"service.name": self._config.service, "service.version": self._version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("corereg", self._version)
        self.on = True

    def close(self) -> None:
        """Send what is left, and end."""
        self.on = False
        if self._provider is not None:
            self._provider.force_flush(int(FAREWELL * 1000))
            self._provider.shutdown()
            self._provider = None
        self._tracer = trace.NoOpTracer()

    @contextmanager
    def span(self, name: str, /, **attributes: str | int) -> Iterator[Span]:
        """A child of the span around it, where there is one: what the registry does in the background has none. An
        exception that leaves it is recorded.
        """
        if not trace.get_current_span().get_span_context().is_valid:
            yield trace.INVALID_SPAN
            return
        with self._tracer.start_as_current_span(name, attributes=_dotted(attributes)) as span:
            yield span

    @contextmanager
    def root(self, name: str, headers: Mapping[str, str], /, **attributes: str | int) -> Iterator[Span]:
        """A server's span, the child of what ``traceparent`` names; without headers the first of a trace."""
        kind = SpanKind.SERVER if headers else SpanKind.INTERNAL
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        context = self._propagator.extract(carrier)
        with self._tracer.start_as_current_span(
            name, context=context, kind=kind, attributes=_dotted(attributes)
        ) as span:
            yield span


def _dotted(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    """``http__request__method`` -> ``http.request.method``: names of the semantic conventions, as keywords can be."""
    return {name.replace("__", "."): value for name, value in attributes.items()}
