"""The text that Prometheus reads: exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from corereg.metrics.families import LATENCIES, Labels, Numbers, Value

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[Numbers]) -> bytes:
    """All families as text; those without a value are left out."""
    lines: list[str] = []
    for family in sorted(families, key=lambda each: each.name):
        if not family.values:
            continue
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in sorted(family.values.items()):
            lines += _samples(family, labels, value)
    return ("\n".join(lines) + "\n").encode()


def _samples(family: Numbers, labels: Labels, value: Value) -> Iterator[str]:
    pairs = [f'{name}="{_escaped(text)}"' for name, text in zip(family.labels, labels, strict=True)]
    if family.kind != "histogram":
        yield f"{family.name}{_braced(pairs)} {_number(value[0])}"
        return
    below = 0.0
    for bound, count in zip((*map(str, LATENCIES), "+Inf"), value, strict=False):
        below += count
        yield f"{family.name}_bucket{_braced([*pairs, _bound(bound)])} {_number(below)}"
    yield f"{family.name}_sum{_braced(pairs)} {_number(value[-1])}"
    yield f"{family.name}_count{_braced(pairs)} {_number(below)}"


def _bound(bound: str) -> str:
    return f'le="{bound}"'


def _braced(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
