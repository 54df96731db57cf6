"""What a distribution imports, it declares; what `pip install` would not bring, nobody may lean on."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


def _named(requirement: str) -> str:
    """``sqlalchemy[asyncio]>=2`` -> ``sqlalchemy``."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return _normal(found[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _project(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def _imported(folder: Path) -> set[str]:
    """The top-level modules that the Python files below `folder` import."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name if folder != ROOT else "corereg")
def test_imports_are_declared(folder: Path) -> None:
    project = _project(folder)
    extras = project.get("optional-dependencies", {})
    declared = {_named(line) for lines in (project["dependencies"], *extras.values()) for line in lines}
    packages = [folder / "corereg"] if folder == ROOT else list(folder.glob("corereg_*"))
    providers = packages_distributions()
    undeclared = {
        module
        for package in packages
        for module in _imported(package) - {package.name}
        if not declared & {_normal(name) for name in providers.get(module, [module])}
    }
    assert undeclared == set()


def test_every_plugin_is_installed_for_the_tests() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("-e ./plugins/")] == [
        f"-e ./plugins/{folder.name}" for folder in PROJECTS[1:]
    ]


def test_every_plugin_can_be_found() -> None:
    for folder in PROJECTS[1:]:
        project = _project(folder)
        assert project["name"] == f"corereg-{folder.name.replace('_', '-')}"
        assert folder.name in project["entry-points"]["corereg"], f"{folder.name}: no entry point of its name"
        assert "corereg" in {_named(line) for line in project["dependencies"]}


def test_one_version() -> None:
    """The core and its first-party plugins are released together."""
    assert {_project(folder)["version"] for folder in PROJECTS} == {_project(ROOT)["version"]}


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    pinned = {_named(pin) for pin in pins if pin}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins if pin)
    for folder in PROJECTS:
        project = _project(folder)
        for lines in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
            assert {_named(line) for line in lines} - {"corereg"} <= pinned
