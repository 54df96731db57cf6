"""What the tests of the examples share: each example is taken from its file, as a person takes it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from corereg import Registry, asgi
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.registry import Person, scratch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PASSWORD = "a Password for tests only 1"

House = tuple[Registry, RegistryClient]
OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """Import an example that is an application, with the test's folder as the working directory."""

    def load(name: str) -> ModuleType:
        monkeypatch.chdir(tmp_path)
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def open_house(tmp_path: Path) -> OpenHouse:
    """A registry with one example as its plugin, named by its path as in ``corereg.toml``, and an administrator."""

    @asynccontextmanager
    async def open_house(example: str, folder: str = "data", **sections: Any) -> AsyncIterator[House]:
        people = {"admin": Person(PASSWORD), "nobody": Person(PASSWORD, grants=())}
        registry = scratch(tmp_path / folder, str(EXAMPLES / f"{example}.py"), people=people, **sections)
        client = RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD))
        async with registry, client:
            yield registry, client

    return open_house
