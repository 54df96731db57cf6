"""A backup holds all that its moment knew, says so when it does not, and becomes the same registry again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from corereg import DatabaseError, Digest, Registry, Tag, asgi
from corereg.care.backup import Backup, blob_path, complete, create, read, verify
from corereg.care.dump import tables_of
from corereg.care.errors import BackupError
from corereg.care.restore import restore
from corereg.store.schema import collector_holds, signing_keys
from corereg.store.storage import blob_key
from corereg.store.work import Silent
from corereg.testing.client import EMPTY, Credentials, RegistryClient, blob, expect, image
from corereg.testing.registry import Person, scratch

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]
PASSWORD = "a Password for tests only 1"
PEOPLE = {"admin": Person(PASSWORD)}
RESTORER = Path(__file__).with_name("restorer.py")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """With three images."""
    async with scratch(tmp_path / "data", people=PEOPLE) as registry:
        for number in range(3):
            await push(registry, f"t{number}")
        yield registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


async def push(registry: Registry, tag: str) -> str:
    layer = blob(os.urandom(5000))
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        await client.push("library/app", tag, image(EMPTY, [layer]), EMPTY, layer)
    return str(layer.digest)


async def back_up(registry: Registry, folder: Path) -> Backup:
    return await create(registry.house, registry.session(), registry.schemas, folder, Silent())


async def bring_back(data: Path, folder: Path, **options: bool) -> None:
    await anyio.Path(data).mkdir(exist_ok=True)
    await refill(scratch(data, people=PEOPLE), folder, **options)


async def refill(registry: Registry, folder: Path, **options: bool) -> None:
    """As the command does."""
    await registry.database.open()
    await registry.storage.open()
    try:
        await restore(folder, registry.database, registry.storage, registry.schemas, Silent(), **options)
    finally:
        await registry.storage.close()
        await registry.database.close()


async def whole(registry: Registry) -> list[str]:
    """The tags, each of which pulls with all its blobs."""
    tags = (await registry.session().tags("library/app", "", 10_000)).names
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        for tag in tags:
            manifest = expect(await client.get_manifest("library/app", tag), 200).json()
            for each in [manifest["config"], *manifest["layers"]]:
                assert Digest.of(await client.pull_blob("library/app", each["digest"])) == each["digest"]
    return tags


async def rows(registry: Registry) -> dict[str, list[str]]:
    return {
        table.name: sorted(map(repr, await registry.database.rows(sa.select(table))))
        for table in tables_of(registry.schemas)
        if table.name not in {"journal", "journal_cursors", "job_schedules", "signing_keys"}
    }


async def test_every_row_and_every_blob_comes_back(registry: Registry, folder: Path, tmp_path: Path) -> None:
    made = await back_up(registry, folder)
    assert (made.blobs, made.copied, made.damaged, made.left_out) == (4, 4, (), ())
    assert (await verify(folder, Silent()))[1] == []
    await bring_back(tmp_path / "new", folder)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        assert await rows(restored) == await rows(registry)
        assert await whole(restored) == ["t0", "t1", "t2"]
        keys = sa.select(signing_keys.c.id)
        assert await restored.database.rows(keys) == await registry.database.rows(keys)


async def test_nobody_else_may_read_it(registry: Registry, folder: Path) -> None:
    await back_up(registry, folder)
    assert open_to_others(folder) == []


async def test_pushes_go_on_meanwhile(registry: Registry, folder: Path, tmp_path: Path) -> None:
    pushed = 0

    class Busy(Silent):
        async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
            nonlocal pushed
            pushed += 1
            await push(registry, f"later{pushed}")
            held = await registry.database.rows(sa.select(collector_holds.c.name))
            assert held, "the collector must not take what the snapshot names"

    async with anyio.create_task_group() as group:

        async def forever() -> None:
            number = 0
            while True:
                number += 1
                await push(registry, f"beside{number}")

        group.start_soon(forever)
        await create(registry.house, registry.session(), registry.schemas, folder, Busy())
        group.cancel_scope.cancel()
    assert await registry.database.rows(sa.select(collector_holds.c.name)) == []
    assert (await verify(folder, Silent()))[1] == []
    await bring_back(tmp_path / "new", folder)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        assert {"t0", "t1", "t2"} <= set(await whole(restored))


async def test_a_second_backup_copies_only_what_is_new(registry: Registry, folder: Path) -> None:
    first = await back_up(registry, folder)
    await push(registry, "new")
    second = await back_up(registry, folder)
    assert (second.blobs, second.copied) == (5, 1)
    assert complete(folder) == ([first.id, second.id], [])
    assert read(folder).id == second.id


async def test_a_flipped_bit_and_a_missing_file_are_found(registry: Registry, folder: Path, tmp_path: Path) -> None:
    layers = [await push(registry, "flipped"), await push(registry, "missing")]
    made = await back_up(registry, folder)
    flipped, missing = (blob_path(folder, layer) for layer in layers)
    flip(flipped)
    missing.unlink()
    problems = (await verify(folder, Silent()))[1]
    assert sorted(problem.split()[0] for problem in problems) == sorted([str(flipped), str(missing)])
    with pytest.raises(BackupError, match=r"is missing|is damaged"):
        await bring_back(tmp_path / "new", folder)

    flip(folder / "backups" / made.id / "tags.jsonl.gz")
    (problem,) = (await verify(folder, Silent()))[1]
    assert "tags.jsonl.gz is missing or damaged" in problem
    flip(folder / "backups" / made.id / "backup.json")
    with pytest.raises(BackupError, match="is damaged"):
        await verify(folder, Silent())


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_what_the_registry_itself_has_lost_is_told(registry: Registry, folder: Path, tmp_path: Path) -> None:
    lost, wrong = await push(registry, "lost"), await push(registry, "wrong")
    await registry.storage.delete(blob_key(lost))
    flip(Path(registry.storage.path(blob_key(wrong)) or ""))
    made = await back_up(registry, folder)
    assert {each.digest for each in made.damaged} == {lost, wrong}
    assert (await verify(folder, Silent()))[1] == []
    await bring_back(tmp_path / "new", folder)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        assert await restored.catalog.blob("library/app", lost) is None
        assert await restored.catalog.manifest_head("library/app", Tag.parse("lost")) is not None


async def test_new_keys_make_old_tokens_worthless(registry: Registry, folder: Path, tmp_path: Path) -> None:
    await back_up(registry, folder)
    await bring_back(tmp_path / "new", folder, new_keys=True)
    keys = sa.select(signing_keys.c.id)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        old, new = await registry.database.rows(keys), await restored.database.rows(keys)
        assert len(new) == 1
        assert old != new


async def test_numbers_go_on(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """A reader of the journal is never shown a serial twice, though the events it had were dropped."""
    last = (await registry.journal.events(limit=1000))[-1].serial
    async with registry.database.transaction() as tx:
        await tx.execute(sa.text("DELETE FROM journal"))
    await back_up(registry, folder)
    await bring_back(tmp_path / "new", folder)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        await push(restored, "more")
        assert min(each.serial for each in await restored.journal.events(limit=1000)) > last


async def test_only_into_what_is_empty(registry: Registry, folder: Path, tmp_path: Path) -> None:
    await back_up(registry, folder)
    before = await rows(registry)
    with pytest.raises(BackupError, match="is not empty"):
        await bring_back(tmp_path / "data", folder)
    assert await rows(registry) == before
    stray = tmp_path / "new/storage/docker/registry/v2/blobs/sha256/00" / ("0" * 64) / "data"
    await anyio.Path(stray.parent).mkdir(parents=True)
    await anyio.Path(stray).write_bytes(b"somebody else's")
    with pytest.raises(BackupError, match="the storage is not empty"):
        await bring_back(tmp_path / "new", folder)


async def test_a_backup_that_was_killed_says_that_it_is_incomplete(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    await anyio.to_thread.run_sync(kill, "create", tmp_path / "data", folder)
    with pytest.raises(BackupError, match="only incomplete ones"):
        await verify(folder, Silent())
    made = await back_up(registry, folder)
    whole_ones, rest = complete(folder)
    assert (whole_ones, len(rest)) == ([made.id], 1)
    assert (await verify(folder, Silent()))[1] == []


async def test_a_restore_that_was_killed_is_served_by_nobody_and_goes_on(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    await back_up(registry, folder)
    await anyio.to_thread.run_sync(kill, "restore", tmp_path / "new", folder)
    half = scratch(tmp_path / "new", people=PEOPLE)
    with pytest.raises(DatabaseError, match="was cut off"):
        await half.open()
    await bring_back(tmp_path / "new", folder)
    async with scratch(tmp_path / "new", people=PEOPLE) as restored:
        assert await whole(restored) == ["t0", "t1", "t2"]


def kill(what: str, data: Path, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, RESTORER, what, data, folder, "1"], check=False, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
