"""The pages hold: what they tell a reader to type is typed, and does what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import DOCS, MARKS, ROOT, Block, blocks_of, is_run, pages
from .docker import docker_of
from .session import Session

RUN = [page for page in pages() if any(map(is_run, blocks_of(page))) and page.parent == DOCS]
WITH_DOCKER = [page for page in RUN if any("docker" in block.marks for block in blocks_of(page))]


def named(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def do(page: Path, folder: Path, docker: str) -> None:
    """Do everything on a page."""
    with docker_of(docker, folder / "docker") as shell:
        session = Session(folder / "page", shell)
        try:
            for block in blocks_of(page):
                session.do(block)
        finally:
            session.close()


@pytest.mark.parametrize("page", RUN, ids=named)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    do(page, tmp_path, "http")


@pytest.mark.parametrize("page", WITH_DOCKER, ids=named)
def test_a_page_does_what_it_says_with_docker(page: Path, tmp_path: Path) -> None:
    do(page, tmp_path, "engine")


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_block_says_what_becomes_of_it(page: Path) -> None:
    for block in blocks_of(page):
        where = f"{named(page)}:{block.line}"
        if block.language in {"sh", "python"}:
            assert block.file or block.marks, f"{where}: a block to run, a file, or `elsewhere`?"
        assert block.marks <= MARKS.get(block.language, frozenset()), f"{where}: {sorted(block.marks)}"
        if block.language == "python":
            compile(block.text, where, "exec")


@pytest.mark.parametrize("page", pages(), ids=named)
def test_what_is_installed_is_there(page: Path) -> None:
    for block in blocks_of(page):
        if "install" not in block.marks:
            continue
        for line in re.findall(r"pip install (.+)", block.text):
            for word in line.split():
                path = word.strip("'\"").partition("[")[0]
                if path.startswith(".") and not any((each.file or "").startswith(path[2:]) for each in blocks_of(page)):
                    assert (ROOT / path / "pyproject.toml").is_file(), f"{named(page)}: {word}"


# ---- two languages ----


def commands(page: Path) -> list[tuple[str, frozenset[str], str | None, str]]:
    """The blocks of a page without what is written for people: comments and docstrings."""
    return [(each.language, each.marks, each.file, _bare(each)) for each in blocks_of(page)]


def _bare(block: Block) -> str:
    text = re.sub(r'""".*?"""', "", block.text, flags=re.DOTALL) if block.language == "python" else block.text
    if block.language in {"sh", "toml", "python"}:
        text = re.sub(r"(?:^|(?<=\s))#.*", "", text)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def test_the_chinese_tutorial_types_the_same() -> None:
    assert commands(DOCS / "zh" / "tutorial.md") == commands(DOCS / "tutorial.md")


def test_chinese_and_latin_letters_are_parted_by_a_space() -> None:
    for page in (DOCS / "zh").glob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"\]\([^)]*\)", "]", text)
        close = re.findall(r".{0,8}(?:[\u4e00-\u9fff][A-Za-z0-9`]|[A-Za-z0-9`][\u4e00-\u9fff]).{0,8}", text)
        assert not close, close


# ---- words ----


@pytest.mark.parametrize("page", pages(), ids=named)
def test_no_page_tells_of_the_machine_it_was_written_on(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/tmp/|/root/|\.\./shared|pypi\.|pythonhosted", text)


def test_the_conventions_are_told() -> None:
    """`blocks` explains every mark it knows."""
    words = {word for marks in MARKS.values() for word in marks}
    text = (Path(__file__).with_name("blocks.py")).read_text(encoding="utf-8")
    told = text.partition('"""\n\nfrom')[0]
    assert all(word in told for word in words)


def test_the_version_in_the_tutorial_is_this_one() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("corereg"), "--version"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert f"{done.stdout.strip()} · Python" in (DOCS / "tutorial.md").read_text(encoding="utf-8")
