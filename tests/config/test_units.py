"""What is printed as a duration or size reads back as the same number; what is unclear is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corereg.config import format_duration, format_size, parse_duration, parse_size
from corereg.config.units import LARGEST, LONGEST


@given(st.integers(0, LONGEST))
def test_durations_come_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds == parse_duration(str(seconds))


@given(st.integers(0, LARGEST) | st.builds(lambda n, u: n * u, st.integers(0, 2000), st.sampled_from([1000, 2**20])))
def test_sizes_come_back(size):
    assert parse_size(format_size(size)) == size == parse_size(size)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1h30m", 5400), ("7d", 604800), ("2w", 1209600), ("1d 2h 3m 4s", 93784), (" 90 ", 90), ("0", 0)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (604800, "7d"), (0, "0s"), (90 * 86400, "90d"), (61, "1m1s"), (60, "1m")]
)
def test_durations_are_printed_readably(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "m", "30m1h", "1.5h", "-5m", "-5", "30 minutes", "30M", "1h1h", "1s" + " " * 99 + "x"),
        *("\u0663m", "9" * 5000, "9" * 30 + "d", "36501d", LONGEST + 1, -1, True, 1.5, None, []),
    ],
    ids=lambda value: f"{repr(value)[:12]}({len(repr(value))})",
)
def test_no_durations(value):
    with pytest.raises(ValueError, match=r"^(must|cannot) be"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4MiB", 4 * 2**20),
        ("10GB", 10**10),
        ("1.5GiB", 3 * 2**29),
        ("512", 512),
        ("512B", 512),
        ("1 kB", 1000),
        ("2tib", 2**41),
        ("0", 0),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(4 * 2**20, "4MiB"), (10**10, "10GB"), (1025, "1025B"), (0, "0B"), (1536 * 2**20, "1536MiB"), (1000, "1kB")],
)
def test_sizes_are_printed_readably(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    "value",
    [
        *("", "MiB", "4M", "4 g", "1.5", "0.3B", "-4MiB", "4XB", "4MiB5", "\u0663kB", "9" * 5000, "9" * 30),
        *(True, 1.5, None, {}, -1, 2**63),
    ],
    ids=lambda value: f"{repr(value)[:12]}({len(repr(value))})",
)
def test_no_sizes(value):
    with pytest.raises(ValueError, match=r"^(must|cannot) be|^has the "):
        parse_size(value)
