"""The project that every registry begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corereg import Config, Registry
from corereg.config import DatabaseConfig
from corereg_projects import Projects

from .conftest import MemoryStorage

pytestmark = pytest.mark.anyio


async def test_library(api: Any) -> None:
    said = await api.get("/library", None)
    assert (said["project_id"], said["owner_id"], said["owner_name"]) == (1, 1, "admin")
    assert said["metadata"] == {"public": "true"}
    (member,) = await api.get("/1/members")
    assert (member["entity_name"], member["role_name"]) == ("admin", "projectAdmin")


async def test_of_several_workers_one_makes_it(make_registry: Callable[..., Registry]) -> None:
    registries = [make_registry() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for registry in registries:
            group.start_soon(registry.open)
    try:
        for registry in registries:
            namespace = await registry.plugins.resolve_namespace("library")
            assert namespace is not None
            assert namespace.id == 1
            assert await registry.plugins.resolve_namespace(2) is None
    finally:
        for registry in registries:
            await registry.close()


async def test_what_was_deleted_stays_deleted(node: Any) -> None:
    _, api = await node()
    assert (await api("DELETE", "/library")).status_code == 200
    _, api = await node()
    assert (await api("GET", "/library")).status_code == 404
    assert await api.create("library") == 2


async def test_without_anybody_who_knows_users(tmp_path: Path, database: DatabaseConfig) -> None:
    """Then nobody owns it, and no user who comes later does by accident."""
    async with Registry(Config(data=tmp_path, database=database), plugins=[MemoryStorage, Projects]) as registry:
        (plugin,) = (each.plugin for each in registry.plugins if each.name == "projects")
        (found,) = await plugin.search_projects(registry.session(), "library")
        assert (found.owner_id, found.owner_name, found.current_user_role_ids) == (0, "", [])
