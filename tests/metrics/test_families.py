"""Counting, adding up, telling: the parts without a registry."""

from __future__ import annotations

import os

import pytest

from corereg.metrics import Board, Counter, Histogram, Metrics, Requests, render, sums
from corereg.metrics.board import HALF


def samples(text: bytes) -> dict[str, float]:
    """What Prometheus would read, by name with labels."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_a_histogram_tells_of_each_bucket_all_that_is_below() -> None:
    times = Histogram("t", "Times.", "what")
    for seconds in (0.0005, 0.001, 0.3, 1000.0):
        times.observe(seconds, "x")
    found = samples(render([times.numbers()]))
    assert found['t_bucket{what="x",le="0.001"}'] == 2
    assert found['t_bucket{what="x",le="0.25"}'] == 2
    assert found['t_bucket{what="x",le="0.5"}'] == 3
    assert found['t_bucket{what="x",le="60.0"}'] == 3
    assert found['t_bucket{what="x",le="+Inf"}'] == found['t_count{what="x"}'] == 4
    assert found['t_sum{what="x"}'] == pytest.approx(1000.3015)


def test_a_label_cannot_begin_another_line() -> None:
    counter = Counter("c", "Counts.", "what")
    counter.add('a"} 1\nforged{x="\\')
    lines = render([counter.numbers()]).decode().splitlines()
    assert lines[2:] == ['c{what="a\\"} 1\\nforged{x=\\"\\\\"} 1']


def test_a_method_that_a_client_made_up_is_no_label() -> None:
    requests = Requests()
    for number in range(100):
        requests.observe(f"X{number}", "unknown", 404, 0.1, 0, 0)
    found = samples(render(requests.numbers()))
    assert found['corereg_http_requests_total{method="other",operation="unknown",code="404"}'] == 100
    assert not any("X1" in name for name in found)


def test_several_processes_are_added_up() -> None:
    parts = []
    for _ in range(3):
        requests = Requests()
        requests.observe("GET", "get_blob", 200, 0.2, 5, 7)
        requests.observe("GET", "get_blob", 206, 0.2, 0, 3)
        parts.append(requests.numbers())
    found = samples(render(sums(parts)))
    assert found['corereg_http_requests_total{method="GET",operation="get_blob",code="200"}'] == 3
    assert found['corereg_http_request_duration_seconds_count{method="GET",operation="get_blob"}'] == 6
    assert found['corereg_http_response_bytes_total{operation="get_blob"}'] == 30


def test_a_successor_counts_on_and_the_others_see_both() -> None:
    board = Board(2)
    first, second = Metrics(), Metrics()
    first.join(board, 1)
    second.join(board, 2)
    first.uploads.add("committed", by=5)
    first.receiving.add()
    first.publish()
    successor = Metrics()
    successor.join(board, 1)
    successor.uploads.add("committed", by=2)
    second.uploads.add("committed")
    successor.publish()
    for asked in (second, successor):
        found = samples(render(asked.numbers()))
        assert found['corereg_uploads_total{outcome="committed"}'] == 8
        assert found.get("corereg_uploads_receiving", 0) == 0, "what the dead one was doing is over"
        assert found['process_start_time_seconds{worker="1"}'] > 0
        assert found['process_start_time_seconds{worker="2"}'] > 0


def test_a_write_that_was_cut_off_leaves_what_was_there_before() -> None:
    board = Board(1)
    counter = Counter("c", "Counts.")
    counter.add(by=1)
    assert board.write(1, [counter.numbers()])
    counter.add(by=1)
    assert board.write(1, [counter.numbers()])
    start = board._start(1, 0)  # the second write's half
    board._memory[start + 40] ^= 0xFF
    (kept,) = board.read(1)
    assert kept.values == {(): [1.0]}


def test_what_does_not_fit_is_told_and_not_written() -> None:
    board = Board(1)
    counter = Counter("c", "Counts.", "what")
    counter.add("small")
    assert board.write(1, [counter.numbers()])
    counter.add("x" * HALF)
    assert not board.write(1, [counter.numbers()])
    assert board.read(1)[0].values == {("small",): [1.0]}


def test_what_one_process_writes_another_one_reads() -> None:
    board = Board(2)
    child = os.fork()
    if not child:
        metrics = Metrics()
        metrics.join(board, 2)
        metrics.uploads.add("committed", by=3)
        metrics.publish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert samples(render(board.read(2)))['corereg_uploads_total{outcome="committed"}'] == 3
