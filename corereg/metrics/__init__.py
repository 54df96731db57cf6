"""What is counted while the registry works, and how Prometheus reads it.

Counters are plain numbers in dictionaries: an event loop needs no lock, and a pull pays for one look-up. They become
text when somebody asks. Several workers of one server meet on a `Board`, so that whichever answers tells of all.
"""

from __future__ import annotations

from corereg.metrics.board import Board
from corereg.metrics.families import Counter, Gauge, Histogram, Numbers, sums
from corereg.metrics.registry import Metrics
from corereg.metrics.requests import Requests
from corereg.metrics.text import CONTENT_TYPE, render

__all__ = [
    "CONTENT_TYPE",
    "Board",
    "Counter",
    "Gauge",
    "Histogram",
    "Metrics",
    "Numbers",
    "Requests",
    "render",
    "sums",
]
