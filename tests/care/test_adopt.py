"""Taking over what another registry stored: everything that is whole, nothing that is not, as often as one likes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from corereg import Digest, Refusal, Registry, Tag, asgi, hookimpl
from corereg.care.adopt import Adopted, AdoptOptions
from corereg.care.adopt import adopt as take_over
from corereg.store.schema import collector_holds, journal
from corereg.store.work import Silent, Stopped
from corereg.testing.client import Credentials, RegistryClient, expect
from corereg.testing.registry import Person, scratch

from .distribution import OCI_MANIFEST, Distribution

pytestmark = [pytest.mark.anyio, pytest.mark.corereg_files]
PASSWORD = "a Password for tests only 1"


@pytest.fixture
def there(tmp_path: Path) -> Distribution:
    return Distribution(tmp_path / "storage")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with scratch(tmp_path, people={"admin": Person(PASSWORD)}) as registry:
        yield registry


async def adopt(registry: Registry, **options: object) -> Adopted:
    return await take_over(registry.house, registry.session(), Silent(), AdoptOptions(**options))  # type: ignore[arg-type]


async def pulled(registry: Registry, repository: str, reference: str) -> str:
    """Pull the manifest and every blob it names; the manifest's digest."""
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        answer = expect(await client.get_manifest(repository, reference), 200)
        document = answer.json()
        for child in document.get("manifests", []):
            assert await pulled(registry, repository, child["digest"]) == child["digest"]
        for each in [document["config"], *document["layers"]] if "layers" in document else []:
            assert Digest.of(await client.pull_blob(repository, each["digest"])) == each["digest"]
        return str(Digest.of(answer.content))


async def everything(registry: Registry) -> dict[str, list[tuple[object, ...]]]:
    """All rows that an adoption may write, without their times."""
    found = {}
    for table in ("repositories", "blobs", "blob_links", "manifests", "manifest_members", "tags"):
        rows = await registry.database.rows(sa.text(f"SELECT * FROM {table}"))
        found[table] = sorted(tuple(map(repr, row)) for row in rows)
    return found


async def kinds(registry: Registry) -> list[str]:
    return [row[0] for row in await registry.database.rows(sa.select(journal.c.kind).order_by(journal.c.serial))]


# ---- what is whole ----


async def test_images_indexes_and_referrers_pull_with_the_digests_they_had(
    there: Distribution, registry: Registry
) -> None:
    one = there.image("team/app", "1", layers=(b"base", b"one"))
    two = there.image("team/app", layers=(b"base", b"two"))
    index = there.index("team/app", [one, two], "latest", "all")
    outer = there.index("team/app", [index], "outer")
    there.image("team/app", subject=one, artifactType="application/x.sbom", layers=(b"{}",))
    lone = there.image("team/deep/er", "v1")

    found = await adopt(registry)

    assert found.counts == {}
    assert (found.repositories, found.manifests, found.tags) == (2, 6, 5)
    for reference, expected in (("1", one), ("latest", index), ("all", index), ("outer", outer)):
        assert await pulled(registry, "team/app", reference) == expected["digest"]
    assert await pulled(registry, "team/deep/er", "v1") == lone["digest"]
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        referrers = (await client.request("GET", f"/v2/team/app/referrers/{one['digest']}")).json()
    assert [each["artifactType"] for each in referrers["manifests"]] == ["application/x.sbom"]


async def test_nothing_in_the_storage_changes(there: Distribution, registry: Registry) -> None:
    there.image("team/app", "1")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in there.root.rglob("*")}
    await adopt(registry)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in there.root.rglob("*")} == before


async def test_once_more_is_the_same(there: Distribution, registry: Registry) -> None:
    there.index("team/app", [there.image("team/app", "1")], "all")
    await adopt(registry)
    rows, told = await everything(registry), len(await kinds(registry))
    again = await adopt(registry)
    assert await everything(registry) == rows
    assert (again.manifests, again.tags, again.blobs, again.present) == (0, 0, 0, 2)
    assert (await kinds(registry))[told:] == ["collection.hold", "collection.release"]


async def test_a_dry_run_counts_the_same_and_writes_nothing(there: Distribution, registry: Registry) -> None:
    there.index("team/app", [there.image("team/app", "1")], "all")
    there.blob("team/app", b"nobody needs it")
    would = await adopt(registry, dry_run=True)
    assert await kinds(registry) == []
    did = await adopt(registry)
    assert (would.manifests, would.tags, would.blobs) == (did.manifests, did.tags, did.blobs) == (2, 2, 3)


async def test_one_that_was_stopped_goes_on(there: Distribution, registry: Registry) -> None:
    for number in range(5):
        there.image(f"team/app{number}", "1", layers=(b"%d" % number,))

    class Impatient(Silent):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            if self.checks == 6:
                raise Stopped

    with pytest.raises(Stopped):
        await take_over(registry.house, registry.session(), Impatient())
    assert await registry.database.rows(sa.select(collector_holds.c.name)), "blobs without rows are not collected"
    found = await adopt(registry)
    assert 0 < found.manifests < 5
    assert [await pulled(registry, f"team/app{number}", "1") for number in range(5)]
    assert await registry.database.rows(sa.select(collector_holds.c.name)) == []


async def test_what_was_pushed_since_stays(there: Distribution, registry: Registry) -> None:
    """A tag that somebody has moved is not moved back."""
    old = there.image("team/app", "latest", layers=(b"old",))
    new = there.image("team/app", layers=(b"new",))
    await adopt(registry)
    session = registry.session()
    stored = await session.manifest("team/app", Digest.parse(new["digest"]))
    await session.put_manifest("team/app", Tag.parse("latest"), stored.body, stored.media_type)
    await adopt(registry)
    assert await pulled(registry, "team/app", "latest") == new["digest"] != old["digest"]


async def test_every_manifest_is_told_of_as_a_push(there: Distribution, registry: Registry) -> None:
    image = there.image("team/app", "1", "2")
    await adopt(registry)
    (event,) = [each for each in await registry.journal.events(limit=1000) if each.kind == "manifest.push"]
    assert (event.repository, event.digest, event.tags) == ("team/app", image["digest"], ("1", "2"))
    assert event.details["details"] == {"adopted": True} if "details" in event.details else event.details["adopted"]


# ---- what is not ----


async def test_what_is_broken_is_told_and_left_out(there: Distribution, registry: Registry) -> None:
    whole = there.image("team/app", "whole", layers=(b"whole",))
    no_layer = there.image("team/app", "no-layer", layers=(b"gone",))
    there.blob_path(str(Digest.of(b"gone"))).unlink()
    short = there.image("team/app", "short", layers=(b"too long",))
    there.blob_path(str(Digest.of(b"too long"))).write_bytes(b"too")
    absent = there.image("team/app", "absent", layers=(b"absent",))
    there.blob_path(absent["digest"]).unlink()
    corrupt = there.image("team/app", "corrupt", layers=(b"corrupt",))
    body = there.blob_path(corrupt["digest"]).read_bytes()
    there.blob_path(corrupt["digest"]).write_bytes(body.replace(b"linux", b"minix").replace(b"layers", b"lay3rs"))
    there.manifest("team/app", {"schemaVersion": 1, "name": "app", "tag": "old", "fsLayers": []}, "old")
    there.index("team/app", [whole, no_layer], "index")
    there.link("team/app", "_manifests/tags/dangling/current", str(Digest.of(b"nowhere")))
    there.link("team/app", "_manifests/tags/nonsense/current", "sha256:nonsense")
    there.link("team/Upper", "_layers/sha256/" + "0" * 64, "sha256:" + "0" * 64)
    (there.root / "repositories/team/app/_layers/sha256" / ("1" * 64)).mkdir()
    (there.root / "repositories/team/app/_layers/sha256" / ("1" * 64) / "link").touch()

    found = await adopt(registry)

    left_out = ["no-layer", "short", "absent", "corrupt", "old", "index", "dangling"]
    assert found.counts == {
        "absent": 1,
        "corrupt": 1,
        "link": 1,
        "missing": 2,
        "name": 1,
        "schema1": 1,
        "size": 1,
        "tag": len(left_out) + 1,
    }
    told = {each.where for each in found.problems if each.kind == "tag"}
    assert told == {f"team/app:{tag}" for tag in [*left_out, "nonsense"]}
    assert (await registry.session().tags("team/app", "", 100)).names == ["whole"]
    assert await pulled(registry, "team/app", "whole") == whole["digest"]
    assert short["digest"] not in str(await everything(registry))


async def test_what_misses_something_may_be_kept(there: Distribution, registry: Registry) -> None:
    whole = there.image("team/app", layers=(b"whole",))
    other = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"elsewhere")), "size": 9}
    index = there.index("team/app", [whole, other], "sparse")
    found = await adopt(registry, allow_missing=True)
    assert found.counts == {"missing": 1}
    async with RegistryClient(app=asgi(registry), credentials=Credentials("admin", PASSWORD)) as client:
        answer = expect(await client.get_manifest("team/app", "sparse"), 200)
    assert Digest.of(answer.content) == index["digest"]


# ---- policies and names ----


class Picky:
    """Wants no artifact that is called unsafe."""

    name = "picky"

    @hookimpl
    async def admit(self, operation: object) -> Refusal | None:
        unsafe = "unsafe" in getattr(operation, "tags", ())
        return Refusal("nothing unsafe comes in here") if unsafe else None


async def test_a_policy_that_refuses_one_image_costs_no_other(there: Distribution, tmp_path: Path) -> None:
    for tag in ("a", "b", "unsafe", "c", "d"):
        there.image("team/app", tag, layers=(tag.encode(),))
    async with scratch(tmp_path, Picky()) as registry:
        found = await adopt(registry)
        assert found.counts == {"refused": 1, "tag": 1}
        assert "nothing unsafe comes in here" in {each.message for each in found.problems}
        assert (await registry.session().tags("team/app", "", 100)).names == ["a", "b", "c", "d"]
        assert found.held_until is not None, "the refused one's blobs are nobody's yet"


async def test_one_repository_alone_and_one_word_into_a_namespace(there: Distribution, registry: Registry) -> None:
    there.image("team/app", "1", layers=(b"app",))
    word = there.image("word", "1", layers=(b"word",))
    found = await adopt(registry, repositories=("word", "typo"), namespace="library")
    assert (found.repositories, found.counts) == (1, {"name": 1})
    assert found.held_until is not None
    assert await pulled(registry, "library/word", "1") == word["digest"]
    assert await registry.catalog.repository_id("team/app") is None


def no_text(folder: Path, name: bytes) -> None:
    """An old file whose name is no UTF-8."""
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (1, 1))


async def test_names_that_are_no_text_are_told_and_left_out(there: Distribution, registry: Registry) -> None:
    """A file's name may be any bytes, and a log is text."""
    there.image("team/app", "1")
    root = registry.config.data / "storage" / "docker" / "registry" / "v2" / "repositories"
    for name in (
        b"caf\xe9/_layers/x",
        b"team/app/_manifests/tags/caf\xe9/current/link",
        b"team/app/_layers/\xe9/a/link",
    ):
        no_text(root, name)
    lines: list[str] = []

    class Listening(Silent):
        def log(self, line: str) -> None:
            lines.append(line.encode().decode())

    found = await take_over(registry.house, registry.session(), Listening())
    assert (found.repositories, found.manifests, found.tags) == (1, 1, 1)
    assert found.counts == {"link": 1, "name": 1, "tag": 1}
    assert any(line.startswith("caf\\udce9: ") for line in lines)
    assert {each.kind for each in found.problems if "\\udce9" in f"{each.where} {each.message}"} == {
        "link",
        "name",
        "tag",
    }
    assert await pulled(registry, "team/app", "1")
