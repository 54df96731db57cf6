"""The fenced blocks of a page, and what their marks mean.

The word after the language says what becomes of a block; readers see only the language:

=====================  ===========================================================================================
``sh run``             typed in a shell, in the page's folder; must succeed (``fails``: must not)
``sh serve``           a registry that goes on running until the next such block, or the end of the page
``sh docker``          docker's lines: a real engine's where there is one, else the same pushes and pulls by HTTP
``python run``         a script
``... file=NAME``      a file of the page's folder
``text output``        what the block above printed: these lines in this order; ``…`` stands for anything
``sh install``         how to install; what the page wrote itself is installed, the rest is checked to be there
``sh elsewhere``       needs another machine, root or a network; shown, not run
=====================  ===========================================================================================
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

RUN = frozenset({"run", "serve", "docker"})
SHOWN = frozenset({"install", "elsewhere"})
MARKS = {
    "sh": RUN | SHOWN | {"fails"},
    "python": frozenset({"run"}),
    "text": frozenset({"output"}),
}

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block: where it begins (a line, from 1), its language, its marks, the file it is, its text."""

    line: int
    language: str
    marks: frozenset[str]
    file: str | None
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        file = next((word.removeprefix("file=") for word in words if word.startswith("file=")), None)
        marks = frozenset(word for word in words if not word.startswith("file="))
        found.append(Block(text.count("\n", 0, match.start()) + 1, language, marks, file, match["body"]))
    return found


def is_run(block: Block) -> bool:
    """Whether something of the block is tried."""
    return bool(block.marks & RUN)


def pages() -> list[Path]:
    """Every page, in whatever language."""
    return sorted(DOCS.rglob("*.md"))
