"""What one process takes: processor time, memory, files. On Linux; elsewhere there is processor time alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

from corereg.metrics.families import Numbers

LABELS = ("worker",)


def of_process(worker: str, started: float) -> list[Numbers]:
    """The families that Prometheus's own clients have, with the number of the worker."""
    found = [
        ("process_cpu_seconds_total", "counter", "Processor time, of the system and the user.", time.process_time()),
        ("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.", started),
    ]
    memory, files = _memory(), _files()
    if memory is not None:
        found.append(("process_resident_memory_bytes", "gauge", "Memory of the process.", memory))
    if files is not None:
        found.append(("process_open_fds", "gauge", "Open files and connections.", files))
    return [Numbers(name, kind, told, LABELS, {(worker,): [value]}) for name, kind, told, value in found]


def _memory() -> float | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _files() -> float | None:
    try:
        return float(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - a count, no paths
    except OSError:
        return None
