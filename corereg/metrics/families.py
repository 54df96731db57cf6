"""Counter, Gauge, Histogram: numbers by label values, without locks: each belongs to one event loop."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager

import msgspec

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the buckets of every histogram, in seconds; what took longer is in the last one."""

Labels = tuple[str, ...]
Value = list[float]
"""One number, or a histogram's: how many in each bucket, then all seconds together."""


class Numbers(msgspec.Struct, frozen=True):
    """A family as it is at one moment: what it is called, and a value for each tuple of label values."""

    name: str
    kind: str
    help: str
    labels: Labels
    values: dict[Labels, Value]


class Family:
    """What is common to the three kinds."""

    kind = ""

    def __init__(self, name: str, help: str, *labels: str) -> None:  # noqa: A002 - the format's word
        self.name = name
        self.help = help
        self.labels = labels
        self.values: dict[Labels, Value] = {}

    def numbers(self) -> Numbers:
        """A copy."""
        return Numbers(
            self.name, self.kind, self.help, self.labels, {key: list(value) for key, value in self.values.items()}
        )


class Counter(Family):
    """A number that only grows."""

    kind = "counter"

    def add(self, *labels: str, by: float = 1) -> None:
        """Count one, or `by`."""
        found = self.values.get(labels)
        if found is None:
            self.values[labels] = [by]
        else:
            found[0] += by


class Gauge(Family):
    """A number that goes up and down; over several workers it is their sum."""

    kind = "gauge"

    def set(self, *labels: str, to: float) -> None:
        """It is `to` now."""
        self.values[labels] = [to]

    def add(self, *labels: str, by: float = 1) -> None:
        """One more, or `by`."""
        self.values.setdefault(labels, [0.0])[0] += by


class Histogram(Family):
    """How long something takes."""

    kind = "histogram"

    def observe(self, seconds: float, *labels: str) -> None:
        """It took so long once more."""
        found = self.values.get(labels)
        if found is None:
            found = self.values[labels] = empty()
        found[bisect_left(LATENCIES, seconds)] += 1
        found[-1] += seconds

    @contextmanager
    def timed(self, *labels: str) -> Generator[None]:
        """Around what is timed, also when it fails."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - begun, *labels)


def empty() -> Value:
    """The value of a histogram that has seen nothing."""
    return [0.0] * (len(LATENCIES) + 2)


def sums(parts: Iterable[Sequence[Numbers]]) -> list[Numbers]:
    """Families of several processes as one: values of the same labels are added."""
    found: dict[str, Numbers] = {}
    for family in (family for part in parts for family in part):
        known = found.setdefault(family.name, msgspec.structs.replace(family, values={}))
        add(known.values, family.values)
    return list(found.values())


def add(known: dict[Labels, Value], more: Mapping[Labels, Value]) -> None:
    """Add values to values, in place."""
    for labels, value in more.items():
        before = known.get(labels)
        if before is None or len(before) != len(value):
            known[labels] = list(value)
        else:
            for place, number in enumerate(value):
                before[place] += number
