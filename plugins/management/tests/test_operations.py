"""The table of Harbor's operations says the truth."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

import corereg_management
from corereg import Registry, Storage, hookimpl

ROWS: list[dict[str, Any]] = tomllib.loads(
    Path(corereg_management.__file__).with_name("operations.toml").read_text(encoding="utf-8")
)["operations"]
FIRST_PARTY = {each.name for each in entry_points(group="corereg") if each.value.startswith("corereg_")}


class NoStorage:
    """A place for no bytes, so that a registry can be made."""

    @hookimpl
    def provide_storage(self, url: str) -> Any:
        return type("Nowhere", (Storage,), {name: MagicMock() for name in Storage.__abstractmethods__})()


def shape(method: str, path: str) -> tuple[str, str]:
    return method, re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


@pytest.fixture
def answered() -> dict[tuple[str, str], tuple[str, Any]]:
    """What the first-party plugins that are installed answer, by method and path."""
    registry = Registry(plugins=[NoStorage, *sorted(FIRST_PARTY - {"storage_fs"})])
    return {
        shape(route.method, route.path.removeprefix("/api/v2.0")): (plugin, route)
        for plugin, route in registry.routes
        if route.path.startswith("/api/v2.0/")
    }


def test_they_are_all_there() -> None:
    assert len(ROWS) == 203
    assert Counter(row["method"] for row in ROWS) == {
        "GET": 114,
        "POST": 34,
        "PUT": 31,
        "DELETE": 19,
        "PATCH": 4,
        "HEAD": 1,
    }
    assert max(Counter(row["id"] for row in ROWS).values()) == 1
    assert len({row["tag"] for row in ROWS}) == 38


def test_what_is_done_is_answered(answered) -> None:
    """By the plugin that the table names, under Harbor's tag and operationId."""
    wrong = []
    for row in ROWS:
        if not row["done"] or row["plugin"] not in FIRST_PARTY:
            continue
        plugin, route = answered.get(shape(row["method"], row["path"]), (None, None))
        name = route and re.sub(r"_([a-z])", lambda match: match[1].upper(), route.handler.__name__)
        if plugin != row["plugin"]:
            wrong.append(f"{row['id']}: {row['method']} {row['path']} is answered by {plugin}, not {row['plugin']}")
        elif route.tag and (route.tag, name.lower()) != (row["tag"], row["id"].lower()):
            wrong.append(f"{row['id']} ({row['tag']}) is called {name} ({route.tag})")
    assert wrong == []


def test_what_is_not_done_is_not_answered(answered) -> None:
    early = [row["id"] for row in ROWS if not row["done"] and shape(row["method"], row["path"]) in answered]
    assert early == [], "mark them as done"


def test_what_harbor_does_not_have_is_marked(answered) -> None:
    known = {shape(row["method"], row["path"]) for row in ROWS}
    ours = [(plugin, route) for key, (plugin, route) in answered.items() if key not in known and route.tag]
    assert [f"{plugin}: {route.method} {route.path}" for plugin, route in ours if not route.extension] == []
    harbors = [route.path for key, (_, route) in answered.items() if key in known and route.extension]
    assert harbors == []
