"""Each example says how to start a registry with it, and the command it names starts one."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import EXAMPLES

COMMAND = re.compile(r"^ {4}((?:\w+=\S+ )*)corereg serve$", re.MULTILINE)


def docstring(path: Path) -> str:
    """What the file says about itself."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=True) or ""


FILES = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))
PLUGINS = [path for path in FILES if COMMAND.search(docstring(path))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    text = docstring(path)
    assert re.search(r"corereg serve|hypercorn |corereg\.toml", text)
    assert path.name in text


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_the_command_would_start(path: Path, tmp_path: Path) -> None:
    found = COMMAND.search(docstring(path))
    assert found is not None
    variables = dict(word.split("=", 1) for word in shlex.split(found[1]))
    assert f"examples/{path.name}" in variables["COREREG__PLUGINS"].split(",")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    done = subprocess.run(
        [Path(sys.executable).with_name("corereg"), "serve", "--check-only", "--data", tmp_path / "data"],
        cwd=tmp_path,
        env=os.environ | variables | {"COREREG_ADMIN_PASSWORD": "a Password for tests only 1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
