"""How robots may be called, and which robot a text means."""

from __future__ import annotations

import pytest

from corereg import BadRequest
from corereg_robots import Robots
from corereg_robots.names import HARBOR, SHELL_SAFE, Names, Naming, check_name, check_prefix, check_separator


def names(current: Naming = HARBOR, *former: str) -> Names:
    return Names(lambda: current, former)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("robot$ci", [("", "ci")]),
        ("robot$library+ci", [("library", "ci")]),
        ("robot-ci", [("", "ci")]),
        ("robot-library--ci", [("library", "ci")]),
        ("robot$a.b_c-d+e.f_g-h", [("a.b_c-d", "e.f_g-h")]),
        ("robot$team/app+ci", [("team/app", "ci")]),
        ("robot$123+1", [("123", "1")]),
    ],
)
def test_both_ways_of_writing_mean_a_robot(text: str, meant: list[tuple[str, str]]) -> None:
    assert names().parse(text) == meant
    assert names(SHELL_SAFE).parse(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ci",
        "robot$",
        "robot",
        "robot$+ci",
        "robot$library+",
        "robot$CI",
        "Robot$ci",
        "robot$ci ",
        " robot$ci",
        "robot$ci\n",
        "robot$c\x00i",
        "robot$a--b",
        "robot$ci\u200b",
        "robot$cі",
        "robot$" + "x" * 250,
        "admin",
    ],
)
def test_other_texts_mean_none(text: str) -> None:
    assert [each for each in names().parse(text) if each != ("a", "b")] == []


def test_a_prefix_of_ones_own() -> None:
    ours = names(Naming("bot.", "="), "svc-")
    assert ours.shown("library", "ci") == "bot.library=ci"
    assert ours.parse("bot.library=ci") == ours.parse("svc-library+ci") == ours.parse("robot$library=ci")
    assert ours.parse("svc-ci") == [("", "ci")]
    assert names().parse("svc-ci") == []


@pytest.mark.parametrize("name", ["ci", "a1", "0", "a.b-c_d", "x" * 200])
def test_good_names(name: str) -> None:
    check_name(name, f"robot${name}")


@pytest.mark.parametrize(
    "name", ["", "CI", "a+b", "a..b", "a--b", "-a", "a-", "a b", "a\n", "é", "а", "robot$ci", "a/b", "a:b", "\x00"]
)
def test_bad_names(name: str) -> None:
    with pytest.raises(BadRequest, match="robot name is not in lower case or contains illegal characters"):
        check_name(name, name)


def test_a_name_that_could_never_sign_in() -> None:
    check_name("x" * 249, "robot$" + "x" * 249)
    with pytest.raises(BadRequest, match="at most 255"):
        check_name("x" * 250, "robot$" + "x" * 250)


@pytest.mark.parametrize("prefix", ["", "a b", "a:b", "a\n", "ß", "a/b", "x" * 65])
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        check_prefix(prefix)
    with pytest.raises(ValueError, match="ASCII"):
        Robots(Robots.Settings(former_prefixes=(prefix,)))


@pytest.mark.parametrize("separator", ["", "-", ".", "_", "x", "1", "a-", "/", ":", " ", "$", "+" * 9])
def test_bad_separators(separator: str) -> None:
    """What a name could hold would let one text mean two robots."""
    with pytest.raises(ValueError, match="use"):
        check_separator(separator)


@pytest.mark.parametrize("separator", ["+", "--", "__", "-.", "=", "~"])
def test_good_separators(separator: str) -> None:
    check_separator(separator)
