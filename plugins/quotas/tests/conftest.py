"""Registries with quotas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from corereg import EVERYTHING, Config, Registry, Session
from corereg_quotas import Quotas

from .stage import ALICE, MemoryStorage, Projects


@pytest.fixture
def projects() -> Projects:
    return Projects()


@pytest.fixture
def make_registry(tmp_path: Path, projects: Projects) -> Callable[..., Registry]:
    """One more registry on the same data; `quotas` False is a time without this plugin."""
    storage = MemoryStorage()

    def make(*plugins: object, quotas: bool = True, **config: Any) -> Registry:
        mine = [Quotas()] if quotas else []
        return Registry(Config(data=tmp_path, **config), plugins=[storage, *mine, projects, *plugins])

    return make


@pytest.fixture
async def registry(make_registry: Callable[..., Registry]) -> AsyncIterator[Registry]:
    """An open registry that delivers no events by itself: a test says when."""
    registry = make_registry()
    await registry.open(background=False)
    yield registry
    await registry.close()


@pytest.fixture
def session(registry: Registry) -> Session:
    return registry.session(ALICE, grants=[EVERYTHING])
