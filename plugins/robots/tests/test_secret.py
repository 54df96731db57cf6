"""Secrets: made, chosen, kept so that nobody can read them."""

from __future__ import annotations

import hashlib
import re

import pytest

from corereg import BadRequest
from corereg_robots.secret import check_strength, generate, opens, seal

CHOSEN = "Correct-horse-7"


def test_a_secret_that_was_made() -> None:
    made = {generate() for _ in range(100)}
    assert len(made) == 100
    for each in made:
        assert re.fullmatch("[A-Za-z0-9]{43}", each), "no shell, no URL and no YAML changes it"
        kept = seal(each, chosen=False)
        assert kept == f"sha256${hashlib.sha256(each.encode()).hexdigest()}"
        assert opens(each, kept)


def test_a_secret_that_somebody_chose() -> None:
    one, two = seal(CHOSEN, chosen=True), seal(CHOSEN, chosen=True)
    assert one != two, "two robots of one secret do not show it"
    assert CHOSEN not in one
    assert hashlib.sha256(CHOSEN.encode()).hexdigest() not in one
    assert opens(CHOSEN, one)
    assert opens(CHOSEN, two)


@pytest.mark.parametrize("chosen", [True, False])
@pytest.mark.parametrize("wrong", ["", "Correct-horse-8", f"{CHOSEN}\0", f"\0{CHOSEN}", f"{CHOSEN} ", "\ud800"])
def test_wrong_ones(wrong: str, chosen: bool) -> None:
    assert not opens(wrong, seal(CHOSEN, chosen=chosen))


@pytest.mark.parametrize("kept", ["", "sha256$", "plain$Correct-horse-7", "Correct-horse-7", "$$$"])
def test_what_is_kept_otherwise_opens_for_nobody(kept: str) -> None:
    assert not opens(CHOSEN, kept)
    assert not opens("", kept)


@pytest.mark.parametrize(
    "weak", ["Short-7", "no-upper-case-7", "NO-LOWER-CASE-7", "No-digits-here", "Aa1" * 43, "Ctrl\x00char-7"]
)
def test_what_will_not_do(weak: str) -> None:
    with pytest.raises(BadRequest, match="the secret must be 8-128") as refused:
        check_strength(weak)
    assert weak not in str(refused.value)


@pytest.mark.parametrize("good", ["Abcdefg1", "Aa1" * 42 + "Aa"])
def test_what_will_do(good: str) -> None:
    check_strength(good)
