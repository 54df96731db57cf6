"""Figures for people: medians, their ratios, how far the runs lay apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmark.load import Sample
from benchmark.rows import Row
from benchmark.target import Target


@dataclass(frozen=True)
class Cell:
    """All runs of one row against one target; `note` says why there is none."""

    row: Row
    samples: Sequence[Sample]
    note: str = ""

    @property
    def values(self) -> Sequence[float]:
        return [self.row.value(each) for each in self.samples]

    @property
    def median(self) -> float | None:
        return median(self.values) if self.samples else None

    @property
    def errors(self) -> int:
        return sum(each.errors for each in self.samples)

    @property
    def cpu(self) -> float | None:
        """The server's processor time for one request, in milliseconds; None when it is not ours to see."""
        costs = [each.cpu / each.requests * 1e3 for each in self.samples if each.cpu and each.requests]
        return median(costs) if costs else None

    def __str__(self) -> str:
        if self.median is None:
            return self.note or "-"
        said = f"{_figure(self.median)} {self.row.unit}".replace(" /s", "/s")
        if len(self.samples) > 1:
            said += f" ({_figure(min(self.values))}..{_figure(max(self.values))})"
        return said + (f", {self.errors} errors" if self.errors else "")

    def as_json(self) -> dict[str, Any]:
        samples = [asdict(each) for each in self.samples]
        return {"median": self.median, "unit": self.row.unit, "note": self.note, "cpu_ms": self.cpu, "samples": samples}


Cells = Mapping[str, Mapping[str, Cell]]
"""By the row's key, then by the target's name."""


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(subject: Cell, other: Cell) -> float | None:
    """The subject's median over the other's."""
    return subject.median / other.median if subject.median and other.median else None


def speed(rows: Sequence[Row], targets: Sequence[Target], subject: Target, cells: Cells) -> str:
    """The Markdown table of one subject beside everyone who is not another subject or another server's ceiling."""
    others = [
        each for each in targets if each is not subject and (each.role == "peer" or each.name == ceiling(subject.name))
    ]
    head = [subject.name]
    for each in others:
        head += [each.name, "of it" if each.role == "empty" else "ratio"]
    lines = []
    for row in rows:
        own = cells[row.key][subject.name]
        line = [row.title, str(own)]
        for each in others:
            cell = cells[row.key][each.name]
            line += [str(cell), _against(own, cell, each)]
        lines.append(line)
    return markdown(["", *head], lines)


def ceiling(subject: str) -> str:
    """The name of the empty app on the subject's server."""
    return subject.replace("corereg", "empty", 1)


def _against(own: Cell, cell: Cell, target: Target) -> str:
    found = ratio(own, cell)
    if found is None:
        return "-"
    return f"{found:.0%}" if target.role == "empty" else f"**{found:.2f}**"


def cost(rows: Sequence[Row], targets: Sequence[Target], cells: Cells) -> str:
    """The Markdown table of processor time a request, which a busy machine disturbs less than the speed."""
    lines = []
    for row in rows:
        found = [cells[row.key][each.name].cpu for each in targets]
        lines.append([row.title, *("-" if each is None else f"{each:.3g} ms" for each in found)])
    return markdown(["processor time a request", *(each.name for each in targets)], lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: words left, figures right."""
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *lines))
