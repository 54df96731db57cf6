"""All that one registry counts in this process, and, with a board, in all of its server's."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from corereg.metrics.board import Board
from corereg.metrics.families import Counter, Gauge, Histogram, Numbers, sums
from corereg.metrics.process import of_process
from corereg.metrics.requests import Requests

log = logging.getLogger(__name__)


class Metrics:
    """Two registries in one process have two of them; nothing here is global."""

    def __init__(self, version: str = "") -> None:
        self.requests = Requests()
        self.uploads = Counter("corereg_uploads_total", "Uploads of blobs, by what became of them.", "outcome")
        self.receiving = Gauge("corereg_uploads_receiving", "Requests that send bytes of a blob now.")
        self.caches = Counter("corereg_cache_requests_total", "Questions to a cache.", "cache", "result")
        self.storage = Histogram("corereg_storage_operation_duration_seconds", "Calls of the storage.", "operation")
        self.storage_errors = Counter(
            "corereg_storage_errors_total", "Calls of the storage that failed.", "operation", "error"
        )
        self.storage_bytes = Counter("corereg_storage_bytes_total", "Bytes to and from the storage.", "direction")
        self.transactions = Histogram(
            "corereg_database_transaction_duration_seconds", "Write transactions, the wait for their turn included."
        )
        self.jobs = Histogram("corereg_job_duration_seconds", "Tasks that ended, by kind.", "kind", "outcome")
        self.jobs_running = Gauge("corereg_jobs_running", "Tasks that are at work now.", "kind")
        self._version = version
        self._board: Board | None = None
        self._worker = 1
        self._before: list[Numbers] = []
        self._full = False
        self._started = time.time()

    def join(self, board: Board, worker: int) -> None:
        """Count on from what whoever had this place before has put down, and write there from now on."""
        self._board, self._worker = board, worker
        self._before = [family for family in board.read(worker) if family.kind != "gauge" and not _own(family)]
        self.publish()

    def publish(self) -> None:
        """Put down, for the other workers, what is counted now."""
        if self._board is None or self._board.write(self._worker, self._own()) or self._full:
            return
        self._full = True
        log.warning(
            "the metrics of worker %d take more room than there is; what others tell of it is old", self._worker
        )

    def numbers(self, more: Sequence[Numbers] = ()) -> list[Numbers]:
        """What all workers have counted, and `more`, which is true of the whole registry."""
        own = self._own()
        others: list[Sequence[Numbers]] = []
        if self._board is not None:
            self.publish()
            others = [self._board.read(each) for each in range(1, self._board.count + 1) if each != self._worker]
        build: dict[tuple[str, ...], list[float]] = {(self._version, platform.python_version()): [1.0]}
        about = Numbers("corereg_build_info", "gauge", "The versions that run.", ("version", "python"), build)
        return [*sums([own, *others]), about, *more]

    def _own(self) -> list[Numbers]:
        families = (
            self.uploads,
            self.receiving,
            self.caches,
            self.storage,
            self.storage_errors,
            self.storage_bytes,
            self.transactions,
            self.jobs,
            self.jobs_running,
        )
        now = [*self.requests.numbers(), *(each.numbers() for each in families)]
        return [*sums([self._before, now]), *of_process(str(self._worker), self._started)]


def _own(family: Numbers) -> bool:
    """Whether the numbers are those of one process, which end with it."""
    return family.labels[:1] == ("worker",)


def gauge(name: str, help: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Numbers:  # noqa: A002 - the format's word
    """Numbers that were just looked up."""
    return Numbers(name, "gauge", help, labels, {key: [float(value)] for key, value in values.items()})
