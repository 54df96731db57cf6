"""Requests: the one thing that is counted on every pull, so all of it lies in one list for each kind of answer."""

from __future__ import annotations

from bisect import bisect_left

from corereg.metrics.families import LATENCIES, Labels, Numbers, Value, empty

METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
_SECONDS, _RECEIVED, _SENT = -3, -2, -1
FASTEST = LATENCIES[0]


class Requests:
    """Requests by method, operation and status: how many, how long, how many bytes."""

    def __init__(self) -> None:
        self.running = 0
        self._entries: dict[tuple[str, str, int], Value] = {}

    def observe(self, method: str, operation: str, status: int, seconds: float, received: int, sent: int) -> None:
        """One was answered. `operation` is the handler's name, never anything a client wrote."""
        entry = self._entries.get((method, operation, status))
        if entry is None:
            if method not in METHODS:
                method = OTHER
            entry = self._entries.setdefault((method, operation, status), [*empty(), 0.0, 0.0])
        entry[0 if seconds <= FASTEST else bisect_left(LATENCIES, seconds)] += 1
        entry[_SECONDS] += seconds
        if received:
            entry[_RECEIVED] += received
        if sent:
            entry[_SENT] += sent

    def numbers(self) -> list[Numbers]:
        """As Prometheus sees them."""
        counts: dict[Labels, Value] = {}
        times: dict[Labels, Value] = {}
        received: dict[Labels, Value] = {}
        sent: dict[Labels, Value] = {}
        for (method, operation, status), entry in self._entries.items():
            counts[method, operation, str(status)] = [sum(entry[: len(LATENCIES) + 1])]
            _plus(times, (method, operation), entry[:_RECEIVED])
            _plus(received, (operation,), [entry[_RECEIVED]])
            _plus(sent, (operation,), [entry[_SENT]])
        by_operation = ("operation",)
        return [
            Numbers("corereg_http_requests_total", "counter", "Requests that were answered.",
                    ("method", "operation", "code"), counts),
            Numbers("corereg_http_request_duration_seconds", "histogram",
                    "Seconds from the head of a request to the end of its answer.", ("method", "operation"), times),
            Numbers("corereg_http_request_bytes_total", "counter", "Bytes of their bodies.", by_operation, received),
            Numbers("corereg_http_response_bytes_total", "counter", "Bytes of answers' bodies.", by_operation, sent),
            Numbers("corereg_http_requests_running", "gauge", "Requests under way.", (), {(): [self.running]}),
        ]  # fmt: skip


def _plus(into: dict[Labels, Value], labels: Labels, value: Value) -> None:
    before = into.get(labels)
    into[labels] = list(value) if before is None else [a + b for a, b in zip(before, value, strict=True)]
