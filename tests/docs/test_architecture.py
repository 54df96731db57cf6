"""The architecture page names what is there, and its floors are those that the architecture's test holds."""

from __future__ import annotations

import re

from corereg.plugins import HOOKS
from tests.architecture.test_floors import BESIDE, FLOORS

from .blocks import DOCS, ROOT

PAGE = DOCS / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_floors_are_those_of_the_house() -> None:
    rows = re.findall(r"^\| `(corereg[\w.]*)` \| (\d+) \|", TEXT, flags=re.MULTILINE)
    assert {name: int(floor) for name, floor in rows} == FLOORS
    assert [name for name, _ in rows] == list(FLOORS), "in the same order"


def test_the_drawing_has_the_same_floors() -> None:
    drawn: dict[str, int] = {}
    for line in re.findall(r"^ {4,}(\d+ {3}.+)$", TEXT, flags=re.MULTILINE):
        floor, rooms = re.match(r"(\d+) {3}(\S.*?)(?: {3,}|$)", line).groups()  # type: ignore[union-attr]
        drawn |= {
            "corereg" if room == "corereg" else f"corereg.{room}": int(floor)
            for room in rooms.replace("(face)", "").split()
        }
    assert drawn == FLOORS


def test_the_neighbours_that_meet_are_told() -> None:
    sentence = re.search(r"^`corereg\.\w+` may import.*?\.$", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert sentence is not None
    told = re.findall(r"`(corereg\.\w+)` may import `(corereg\.\w+)`", " ".join(sentence[0].split()))
    assert set(told) == set(BESIDE)


def test_every_module_that_is_named_exists() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:corereg|tests|examples|plugins|scripts)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
        for module in re.findall(r"`(corereg(?:\.\w+)+)`", text):
            path = ROOT.joinpath(*module.split("."))
            known = path.is_dir() or path.with_suffix(".py").is_file() or _is_name(module)
            assert known, f"{page.name}: {module}"


def _is_name(module: str) -> bool:
    """``corereg.testing.storage.StorageContract``, or a file such as ``corereg.toml``."""
    place, _, name = module.rpartition(".")
    if module in {"corereg.toml", "corereg.db"}:
        return True
    path = ROOT.joinpath(*place.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.is_file() and re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) is not None


def test_files_named_after_their_room_exist() -> None:
    for room, names in re.findall(r"In `(corereg/\w+/)`(.+?)(?=\bIn `|\n\n)", TEXT, flags=re.DOTALL):
        for name in re.findall(r"`(\w+\.py)`", names):
            assert (ROOT / room / name).is_file(), f"{room}{name}"


def test_every_hook_that_is_named_exists() -> None:
    named = set(re.findall(r"`(provide_\w+|check_password|complete_identity|grants|admit|commit|observe)`", TEXT))
    assert named <= set(HOOKS)
