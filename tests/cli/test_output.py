"""Formats, columns, colour: what scripts and people rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from corereg.client.output import coloured, moment, size
from corereg.client.table import table, width

from .conftest import Corereg
from .standin import Standin

LABELS = [
    {"id": 1, "name": "审核", "scope": "g", "color": "#0065ab", "description": "看过"},
    {"id": 2, "name": "stable", "scope": "g", "color": "", "description": None},
]


@pytest.fixture
def labels(there: Standin) -> Standin:
    there.on("GET /labels", LABELS)
    return there


def test_a_table_lines_up_in_chinese(corereg: Corereg, labels: Standin) -> None:
    lines = corereg("label", "list").stdout.splitlines()
    assert lines == [
        "NAME    ID  SCOPE   COLOR    DESCRIPTION",
        "审核    1   global  #0065ab  看过",
        "stable  2   global  -        -",
    ]


def test_wide_and_combining_signs() -> None:
    assert width("项目") == 4
    assert width("e\N{COMBINING ACUTE ACCENT}") == 1
    assert list(table(("A", "B"), [("项目", "1")])) == ["A     B", "项目  1"]


def test_json(corereg: Corereg, labels: Standin) -> None:
    for words in (("-o", "json"), ("--json",)):
        assert json.loads(corereg("label", "list", *words).stdout) == {"items": LABELS, "next": None}


def test_json_lines(corereg: Corereg, labels: Standin) -> None:
    assert [json.loads(line) for line in corereg("label", "list", "-o", "jsonl").stdout.splitlines()] == LABELS


def test_yaml(corereg: Corereg, labels: Standin) -> None:
    text = corereg("label", "list", "-o", "yaml").stdout
    assert yaml.safe_load(text) == {"items": LABELS, "next": None}
    assert "审核" in text


def test_names(corereg: Corereg, labels: Standin) -> None:
    assert corereg("label", "list", "-o", "name").stdout == "审核\nstable\n"


def test_the_format_of_the_environment(corereg: Corereg, labels: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREREG_OUTPUT", "name")
    assert corereg("label", "list").stdout == "审核\nstable\n"
    assert corereg("label", "list", "-o", "table").stdout.startswith("NAME")


def test_an_unknown_format_is_a_mistake(corereg: Corereg, labels: Standin) -> None:
    done = corereg("label", "list", "-o", "xml")
    assert (done.exit_code, done.stdout, labels.asked) == (2, "", [])


def test_columns(corereg: Corereg, labels: Standin) -> None:
    assert corereg("label", "list", "--columns", "id,name").stdout.splitlines() == [
        "ID  NAME",
        "1   审核",
        "2   stable",
    ]
    document = json.loads(corereg("label", "list", "--columns", "id", "--json").stdout)
    assert document["items"] == [{"id": 1}, {"id": 2}]
    done = corereg("label", "list", "--columns", "id,nmae")
    assert done.exit_code == 2
    assert "did you mean name?" in done.stderr


def test_a_change_prints_a_sentence_or_a_document(corereg: Corereg, there: Standin) -> None:
    there.on("POST /labels", status=201, location="/api/v2.0/labels/7")
    assert corereg("label", "create", "x").stdout == "created x\n"
    assert json.loads(corereg("label", "create", "x", "--json").stdout) == {"id": 7, "name": "x", "scope": "g"}
    assert corereg("label", "create", "x", "-o", "name").stdout == "x\n"


def test_no_colour_in_a_pipe(corereg: Corereg, labels: Standin) -> None:
    assert "\x1b" not in corereg("label", "list").output


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
    ],
)
def test_colour_on_a_terminal(environ: dict[str, str], expected: bool) -> None:
    assert coloured(Terminal(), environ) is expected  # type: ignore[arg-type]


def test_colour_can_be_forced(tmp_path: Path) -> None:
    with (tmp_path / "pipe").open("w") as pipe:
        assert coloured(pipe, {}) is False
        assert coloured(pipe, {"CLICOLOR_FORCE": "1"}) is True
        assert coloured(pipe, {"CLICOLOR_FORCE": "0"}) is False


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1, "unlimited"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 * 2**30, "10.0 GiB"), (2**50, "1024 TiB")],
)
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-11-25T07:32:01.500Z", "2026-11-25 07:32"),
        ("0001-01-01T00:00:00.000Z", "-"),
        (1_800_000_000, "2027-01-15 08:00"),
        ("soon", "soon"),
    ],
)
def test_moments(value: int | str, text: str) -> None:
    assert moment(value) == text
