"""Adopted content in the lists, the statistics and the quotas of the plugins, as if it had been pushed; a backup of a
registry that is read-only.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg import Registry, asgi
from corereg.care.adopt import Adopted, AdoptOptions
from corereg.care.adopt import adopt as take_over
from corereg.care.backup import create
from corereg.config import Config
from corereg.plugins import default_names
from corereg.store.schema import collector_holds
from corereg.store.work import Silent
from corereg.testing.client import Credentials, RegistryClient, expect

from .distribution import Distribution

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]
PASSWORD = "a Password for tests only 1"


async def adopt(registry: Registry, options: AdoptOptions) -> Adopted:
    return await take_over(registry.house, registry.session(), Silent(), options)


async def test_lists_statistics_and_quotas_say_what_was_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Distribution(tmp_path / "storage")
    base = b"base" * 1000
    one = there.image("team/app", "1", "latest", layers=(base, b"one"))
    two = there.image("team/app", layers=(base, b"two"))
    index = there.index("team/app", [one, two], "multi")
    there.image("team/other", "1", layers=(base,))
    there.image("word", "1", layers=(base,))
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    config = Config(data=tmp_path)
    async with (
        Registry(config, plugins=default_names()) as registry,
        RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD), sign_in="basic") as client,
    ):
        first = await adopt(registry, AdoptOptions(namespace="library"))
        assert first.missing_namespaces == ["team"]
        assert first.counts == {"namespace": 2}, "one line for each repository, not for each image"
        assert (first.manifests, first.held_until is not None) == (1, True)

        made = await client.request(
            "POST",
            "/api/v2.0/projects",
            headers={"Content-Type": "application/json"},
            content=b'{"project_name": "team", "storage_limit": -1}',
        )
        expect(made, 201)
        second = await adopt(registry, AdoptOptions(namespace="library"))
        assert (second.manifests, second.tags, second.counts, second.held_until) == (4, 4, {}, None)

        async def asked(path: str) -> object:
            return expect(await client.request("GET", f"/api/v2.0/{path}"), 200).json()

        repositories = {each["name"]: each["artifact_count"] for each in await asked("repositories")}  # type: ignore[attr-defined]
        assert repositories == {"library/word": 1, "team/app": 2, "team/other": 1}
        (artifact,) = await asked("projects/team/repositories/app/artifacts?q=tags%3Dmulti")  # type: ignore[misc]
        assert artifact["digest"] == index["digest"]
        assert {each["child_digest"] for each in artifact["references"]} == {one["digest"], two["digest"]}
        statistics = await asked("statistics")
        assert statistics["total_repo_count"] == 3  # type: ignore[index]

        used = {
            each["ref"]["name"]: each["used"]["storage"]
            for each in await asked("quotas")  # type: ignore[attr-defined]
        }
        stored = {path.parent.name: path.stat().st_size for path in there.root.rglob("data")}
        word = there.root / "repositories/word"
        alone = {
            path.parent.name for path in word.rglob("link") if "_layers" in path.parts or "revisions" in path.parts
        }
        others = {
            path.parent.name
            for path in (there.root / "repositories/team").rglob("link")
            if "_layers" in path.parts or "revisions" in path.parts
        }
        assert used == {
            "library": sum(stored[each] for each in alone),
            "team": sum(stored[each] for each in others),
        }


async def test_a_registry_that_is_read_only_starts_and_is_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", PASSWORD)
    config = Config(data=tmp_path)
    async with (
        Registry(config, plugins=default_names()) as registry,
        RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD), sign_in="basic") as client,
    ):
        await client.push_image("library/app", "1")
        answer = await client.request(
            "PUT",
            "/api/v2.0/configurations",
            headers={"Content-Type": "application/json"},
            content=b'{"read_only": true}',
        )
        expect(answer, 200)
        async with registry.database.transaction() as tx:  # as if the last start had counted nothing
            await tx.execute(sa.text("UPDATE quotas_counters SET used = used + 1"))
            await tx.execute(sa.text("DELETE FROM quotas_marks"))
    async with Registry(config, plugins=default_names()) as registry:
        made = await create(registry.house, registry.session(), registry.schemas, tmp_path / "backup", Silent())
        assert made.blobs
        assert not await registry.database.rows(sa.select(collector_holds))
