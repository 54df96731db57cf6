"""Examples keep the contract of every plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from corereg.testing.plugins import PluginContract

from .conftest import EXAMPLES


def path_of(name: str) -> str:
    """An example as ``plugins = [...]`` names it."""
    return str(EXAMPLES / f"{name}.py")


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example writes, or looks for, is in the test's folder."""
    monkeypatch.setenv("AUDIT_FILE", str(tmp_path / "audit.jsonl"))
    monkeypatch.setenv("BANNER_FILE", str(tmp_path / "banner.txt"))


class TestGoldenBase(PluginContract):
    name = "golden_base"
    plugin = path_of("golden_base")


class TestAuditLines(PluginContract):
    name = "audit_lines"
    plugin = path_of("audit_lines")


class TestPushBudget(PluginContract):
    name = "push_budget"
    plugin = path_of("push_budget")


class TestBuildAgents(PluginContract):
    name = "build_agents"
    plugin = path_of("build_agents")


class TestMaintenanceBanner(PluginContract):
    name = "maintenance_banner"
    plugin = path_of("maintenance_banner")
    open_routes = frozenset({"GET /banner"})


class TestMemoryStorage(PluginContract):
    name = "memory_storage"
    plugin = path_of("memory_storage")
