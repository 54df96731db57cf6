"""Columns of text for a person; two spaces apart, never cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence


def width(text: str) -> int:
    """Cells that a terminal takes for `text`; Chinese signs take two, an accent that stands for itself none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control and format characters are written out."""
    return "".join(
        sign
        if unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else sign.encode("unicode_escape").decode()
        for sign in text
    )


def sentences(text: str) -> str:
    """As `printable`, but lines stay lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines: the head, then each row."""
    lines = [head, *rows]
    widths = [max(width(line[at]) for line in lines) for at in range(len(head))]
    for line in lines:
        cells = (cell + " " * (size - width(cell)) for cell, size in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()
