"""`corereg plugins new`: what it writes works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import Corereg


def pytest_of(folder: Path, *paths: Path) -> str:
    """The last line of a pytest run of its own, which the generated files have to themselves."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COREREG"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(map(str, paths[1:]))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_a_policy_passes_its_tests(corereg: Corereg, house: Path) -> None:
    result = corereg("plugins", "new", "no_latest", "--kind", "policy")
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == ["no_latest.py", "test_no_latest.py"]
    code = [line for line in (house / "no_latest.py").read_text().splitlines() if line.strip()]
    assert len(code) <= 15
    assert re.match(r"\d+ passed", pytest_of(house, house / "test_no_latest.py"))


def test_a_policy_serves_at_once(corereg: Corereg, house: Path) -> None:
    corereg("plugins", "new", "no_latest", "--kind", "policy")
    (house / "corereg.toml").write_text('plugins = ["storage_fs", "./policy.py", "./no_latest.py"]\n')
    assert corereg("config", "check").exit_code == 0
    assert "no_latest" in corereg("plugins", "list").stdout


@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed: pip install 'corereg[check]'")
def test_a_plugin_passes_its_tests(corereg: Corereg, house: Path) -> None:
    result = corereg("plugins", "new", "motd-board")
    assert result.exit_code == 0, result.output
    site = house / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(house / "motd_board")], check=True, capture_output=True)
    # The tests run on what was installed, not on the tree they were made in.
    tests = house / "motd_board" / "tests"
    assert re.match(r"\d+ passed", pytest_of(house, tests, site))


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed: pip install 'corereg[check]'")
def test_what_is_written_is_clean(corereg: Corereg, house: Path) -> None:
    corereg("plugins", "new", "motd")
    corereg("plugins", "new", "rule", "--kind", "policy")
    ruff = [sys.executable, "-m", "ruff"]
    check = ["check", "--isolated", "--line-length", "120", "--select", "E,F,I,UP,B,PT"]
    shape = ["format", "--isolated", "--line-length", "120", "--check"]
    for command in ([*ruff, *check, "."], [*ruff, *shape, "."]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=house / "motd")
        assert done.returncode == 0, done.stdout
    for command in ([*ruff, *check], [*ruff, *shape]):
        done = subprocess.run(
            [*command, "rule.py", "test_rule.py"], capture_output=True, text=True, check=False, cwd=house
        )
        assert done.returncode == 0, done.stdout


def test_nothing_is_overwritten(corereg: Corereg, house: Path) -> None:
    (house / "rule.py").write_text("mine")
    result = corereg("plugins", "new", "rule", "--kind", "policy")
    assert result.exit_code == 5
    assert "rule.py is there already" in result.stderr
    assert (house / "rule.py").read_text() == "mine"
    assert not (house / "test_rule.py").exists()


@pytest.mark.parametrize("name", ["class", "2fast", "Upper", "a/b", "../x", "ü", "a" * 41, "x.y"])
def test_names_that_cannot_be(corereg: Corereg, house: Path, name: str) -> None:
    result = corereg("plugins", "new", name)
    assert result.exit_code == 2
    assert "cannot be a plugin's name" in result.stderr
    assert sorted(path.name for path in house.iterdir()) == ["corereg.toml", "policy.py"]
