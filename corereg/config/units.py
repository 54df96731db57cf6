"""Durations and sizes as people write them: ``"1h30m"`` is seconds, ``"4MiB"`` is bytes.

Both are plain `int` everywhere in Python; only files, environment and print-outs know the readable form. What
`format_duration` and `format_size` print, `parse_duration` and `parse_size` read back exactly. Errors are
sentences without a subject (``must be ...``): who knows the key puts it in front.
"""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(\d+)w)? ?(?:(\d+)d)? ?(?:(\d+)h)? ?(?:(\d+)m)? ?(?:(\d+)s)?", re.ASCII)
_SECONDS = (604_800, 86_400, 3_600, 60, 1)
_LETTERS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
LONGEST = 36_500 * 86_400
"""The longest duration taken, in seconds (a hundred years): times are kept in microseconds in 64 bits."""

_SIZE = re.compile(r"(\d+)(?:\.(\d+))? ?([A-Za-z]*)", re.ASCII)
_BINARY = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_DECIMAL = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
_BYTES = {"": 1, "b": 1} | {name.lower(): factor for name, factor in _BINARY + _DECIMAL}
LARGEST = 2**63 - 1
"""The largest size taken, in bytes: sizes are kept in 64 bits."""


def parse_duration(value: object) -> int:
    """Seconds of ``"30m"``, ``"1h30m"``, ``"7d"``, ``"90"`` or ``90``. Raises ValueError with a sentence."""
    if isinstance(value, str):
        seconds = _seconds(value.strip())
    elif isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    else:
        raise ValueError('must be a duration such as "30m", "1h30m", "7d" or a whole number of seconds')
    if seconds < 0:
        raise ValueError("cannot be negative")
    if seconds > LONGEST:
        raise ValueError("cannot be longer than 36500d")
    return seconds


def _seconds(text: str) -> int:
    if _whole(text):
        return int(text)
    found = _DURATION.fullmatch(text)
    if not text or found is None or len(text) > 64:
        raise ValueError('must be a duration such as "30m", "1h30m", "7d" (units w d h m s, largest first)')
    return sum(int(number) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True) if number)


def format_duration(seconds: int) -> str:
    """Seconds as ``parse_duration`` reads them: 5400 -> ``1h30m``, 604800 -> ``7d``, 0 -> ``0s``."""
    parts = []
    for letter, unit in _LETTERS:
        number, seconds = divmod(seconds, unit)
        if number:
            parts.append(f"{number}{letter}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """Bytes of ``"4MiB"``, ``"10GB"``, ``"1.5GiB"``, ``"512"`` or ``512``. Raises ValueError with a sentence."""
    if isinstance(value, str):
        size = _bytes(value.strip())
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise ValueError('must be a size such as "4MiB", "10GB" or a whole number of bytes')
    if size < 0:
        raise ValueError("cannot be negative")
    if size > LARGEST:
        raise ValueError("cannot be larger than 2^63 - 1 bytes")
    return size


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None or len(text) > 64:
        raise ValueError('must be a size such as "4MiB", "10GB", "512"')
    whole, fraction, unit = found.groups(default="")
    factor = _BYTES.get(unit.lower())
    if factor is None:
        if unit.lower() in {"k", "m", "g", "t"}:
            big = unit.upper()
            raise ValueError(
                f"has the ambiguous unit {unit}: write {big}iB (powers of 1024) or {big}B (powers of 1000)"
            )
        raise ValueError(f"has the unknown unit {unit}: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")
    scale: int = 10 ** len(fraction)
    parts, rest = divmod(int(fraction or 0) * factor, scale)
    if rest:
        raise ValueError("must be a whole number of bytes")
    return int(whole) * factor + parts


def format_size(size: int) -> str:
    """Bytes as ``parse_size`` reads them, exactly: 4194304 -> ``4MiB``, 10**10 -> ``10GB``, 1025 -> ``1025B``."""
    return min((_exact(size, _BINARY), _exact(size, _DECIMAL)), key=len)


def _exact(size: int, units: tuple[tuple[str, int], ...]) -> str:
    for name, factor in units:
        if size and size % factor == 0:
            return f"{size // factor}{name}"
    return f"{size}B"


def _whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20
