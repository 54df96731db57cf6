"""Bytes as people read them."""

from __future__ import annotations

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human(size: int) -> str:
    """``1.5 MiB``: powers of 1024, at most one decimal."""
    value = float(size)
    for unit in UNITS:
        if round(value, 1) < 1024 or unit == UNITS[-1]:  # 1023.99 KiB is 1 MiB, not 1024 KiB
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
