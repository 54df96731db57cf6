"""Who may be called what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corereg_accounts.names import NameRefused, check_email, check_name, key_of, problem_of

GOOD = ["a", "alice", "Alice Smith", "a.b-c_d", "o'brien", "zoë", "алиса", "李雷", "user@example.com", "x" * 255, "1"]
BAD = {
    "empty": "",
    "too long": "x" * 256,
    "comma": "a,b",
    "quote": 'a"b',
    "tilde": "a~b",
    "hash": "a#b",
    "percent": "a%b",
    "dollar, which robots have": "robot$ci",
    "colon, which ends the name in Basic credentials": "a:b",
    "NUL": "a\0b",
    "line end": "alice\n",
    "tab": "a\tb",
    "space before": " alice",
    "space behind": "alice ",
    "no-break space": "a\u00a0b",
    "zero width": "a\u200bb",
    "turned around": "\u202eecila",
    "joined by nothing": "a\u034fb",
    "a Hangul letter that is not drawn": "a\u1160b",
    "an empty braille cell": "a\u2800b",
    "a variation of nothing": "a\ufe0fb",
    "full width": "ａdmin",
    "ligature": "oﬀice",
    "mathematical": "𝐚dmin",
    "Kelvin": "\u212aevin",
    "not composed": "zoe\u0308",
    "an accent alone": "\u0301a",
    "half a character": "\ud800",
    "the registry itself": "system",
    "nobody": "Anonymous",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_bad_names(name: str) -> None:
    with pytest.raises(NameRefused, match="the name of a user"):
        check_name(name)


@pytest.mark.parametrize(
    ("one", "other"), [("Alice", "alice"), ("ZOË", "zoë"), ("STRASSE", "straße"), ("ΣΟΦΟΣ", "σοφος")]
)
def test_case_makes_no_other_name(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


@given(st.text(max_size=300))
def test_whatever_is_given_has_an_answer(name: str) -> None:
    if problem_of(name) is None:
        key = key_of(name)
        assert key == key_of(key)
        assert ":" not in name
        assert name.encode()


@pytest.mark.parametrize("email", ["alice@example.com", "a+b@sub.example.org", "zoë@müller.example"])
def test_good_addresses(email: str) -> None:
    check_email(email)


@pytest.mark.parametrize(
    "email", ["", "alice", "@example.com", "a@b", "a b@c.d", "a@b.c\n", "a@@b.c", f"{'x' * 255}@b.c"]
)
def test_bad_addresses(email: str) -> None:
    with pytest.raises(NameRefused, match=r"alice@example\.com"):
        check_email(email)
