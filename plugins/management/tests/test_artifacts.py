"""Artifacts, as lists and by themselves: fields, filters, order, what is left out."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import msgspec
import pytest

from corereg import Artifact, Config, hookimpl, tables
from corereg.testing.client import DOCKER_CONFIG, DOCKER_IMAGE, EMPTY, Content, blob, expect, image, index

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NEVER = "0001-01-01T00:00:00.000Z"
HERE = "library/app"


async def test_an_image(api) -> None:
    pushed = await api.push(HERE, "v1", annotations={"org.opencontainers.image.title": "app"})
    found = await api.get(api.of(HERE, "v1"))
    (tag,) = found.pop("tags")
    assert TIME.fullmatch(found.pop("push_time"))
    assert TIME.fullmatch(tag.pop("push_time"))
    assert found.pop("icon").startswith("sha256:")
    members = api_sizes(pushed)
    assert found == {
        "id": 1,
        "type": "IMAGE",
        "media_type": "application/vnd.oci.image.config.v1+json",
        "manifest_media_type": "application/vnd.oci.image.manifest.v1+json",
        "artifact_type": "application/vnd.oci.image.config.v1+json",
        "project_id": 1,
        "repository_id": 1,
        "repository_name": HERE,
        "digest": pushed.digest,
        "size": len(pushed.body) + members,
        "pull_time": NEVER,
        "extra_attrs": {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}},
        "annotations": {"org.opencontainers.image.title": "app"},
        "addition_links": {
            "build_history": {
                "absolute": False,
                "href": f"/api/v2.0{api.of(HERE, pushed.digest, 'additions', 'build_history')}",
            }
        },
    }
    assert tag == {
        "id": 1,
        "repository_id": 1,
        "artifact_id": 1,
        "name": "v1",
        "pull_time": NEVER,
        "immutable": False,
    }
    assert await api.get(api.of(HERE, pushed.digest)) == await api.get(api.of(HERE, "v1"))


def api_sizes(manifest: Content) -> int:
    """Bytes of config and layers, each once."""
    document = json.loads(manifest.body)
    return sum({each["digest"]: each["size"] for each in [document["config"], *document["layers"]]}.values())


async def test_a_layer_that_comes_twice_counts_once(api) -> None:
    layer = blob(b"the same again")
    pushed = await api.client.push(HERE, "twice", image(EMPTY, [layer, layer]), EMPTY, layer)
    assert (await api.get(api.of(HERE, "twice")))["size"] == len(pushed.body) + len(EMPTY.body) + len(layer.body)


async def test_the_list_is_newest_first_and_has_pages(api) -> None:
    pushed = [(await api.push(HERE, f"v{number}")).digest for number in range(5)]
    answer = await api.answer("GET", api.of(HERE) + "?page=2&page_size=2")
    assert [each["digest"] for each in answer.json()] == [pushed[2], pushed[1]]
    assert answer.headers["x-total-count"] == "5"
    assert 'rel="prev"' in answer.headers["link"]
    assert 'rel="next"' in answer.headers["link"]
    assert await api.names(api.of(HERE) + "?sort=push_time&page_size=1") == pushed[:1]
    assert len(await api.names(api.of(HERE) + "?page_size=-1")) == 5


async def test_children_and_accessories_are_not_in_the_list(api) -> None:
    children = [await api.push(HERE, None) for _ in range(2)]
    whole = await api.push_index(HERE, "multi", *children)
    lonely = await api.push(HERE, None)
    signature = await api.push(HERE, None, subject=whole.descriptor())
    assert await api.names(api.of(HERE)) == [lonely.digest, whole.digest]
    everything = {whole.digest, lonely.digest, signature.digest, *(child.digest for child in children)}
    assert set(await api.names(api.of(HERE) + "?q=base%3D*")) == everything


async def test_a_child_with_a_tag_is_in_the_list_as_long_as_it_has_it(api) -> None:
    child = await api.push(HERE, "amd64")
    whole = await api.push_index(HERE, "multi", child)
    assert await api.names(api.of(HERE)) == [whole.digest, child.digest]
    await api.call("DELETE", api.of(HERE, "amd64", "tags", "amd64"))
    assert await api.names(api.of(HERE)) == [whole.digest]


async def test_a_tag_that_moves_on_leaves_an_untagged_child_behind(api) -> None:
    child = await api.push(HERE, "latest")
    whole = await api.push_index(HERE, "multi", child)
    other = await api.push(HERE, "latest")
    assert await api.names(api.of(HERE)) == [other.digest, whole.digest]


async def test_children_of_a_deleted_index_stand_alone(api) -> None:
    child = await api.push(HERE, None)
    await api.push_index(HERE, "one", child)
    await api.push_index(HERE, "two", child, annotations={"a": "b"})
    await api.call("DELETE", api.of(HERE, "one"))
    assert child.digest not in await api.names(api.of(HERE)), "the other index still needs it"
    await api.call("DELETE", api.of(HERE, "two"))
    assert await api.names(api.of(HERE)) == [child.digest]


async def test_an_index_tells_of_its_children(api) -> None:
    children = [await api.push(HERE, None) for _ in range(2)]
    whole = await api.push_index(HERE, "multi", *children)
    found = await api.get(api.of(HERE, "multi"))
    sizes = [(await api.get(api.of(HERE, child.digest)))["size"] for child in children]
    assert found["size"] == len(whole.body) + sum(sizes)
    assert found["type"] == "IMAGE"
    assert found["media_type"] == found["manifest_media_type"] == "application/vnd.oci.image.index.v1+json"
    assert found["extra_attrs"] == found["addition_links"] == {}
    assert found["references"] == [
        {
            "parent_id": found["id"],
            "child_id": place,
            "child_digest": child.digest,
            "platform": {"architecture": f"arch{number}", "os": "linux"},
            "annotations": {},
            "urls": [],
        }
        for number, (child, place) in enumerate(zip(children, (1, 2), strict=True))
    ]
    assert "references" not in await api.get(api.of(HERE, children[0].digest))


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("tags=*", {"one", "two"}),
        ("tags=nil", {"none"}),
        ("tags=v1", {"one"}),
        ("tags=~V", {"one", "two"}),
        ("tags=~%", set()),
        ("tags=~_", set()),
        ("tags={v1 v2}", {"one", "two"}),
        ("tags=(v1 extra)", {"one"}),
        ("tags=(v1 v2)", set()),
        ("type=IMAGE", {"one", "two", "none"}),
        ("type=CHART", set()),
        ("media_type=application/vnd.oci.image.config.v1+json", {"one", "two", "none"}),
        ("artifact_type=application/vnd.oci.image.config.v1+json", {"one", "two", "none"}),
        ("digest=one", {"one"}),
        ("digest=~one,tags=v2", set()),
        ("unheard=of", {"one", "two", "none"}),
        ("tags=x' OR '1'='1", set()),
        ("digest=x') OR 1=1 --", set()),
    ],
)
async def test_q(api, q: str, expected: set[str]) -> None:
    digests = {
        "one": (await api.push(HERE, "v1")).digest,
        "two": (await api.push(HERE, "v2")).digest,
        "none": (await api.push(HERE, None)).digest,
    }
    await api.call("POST", api.of(HERE, "v1", "tags"), 201, {"name": "extra"})
    for name, digest in digests.items():
        q = q.replace(f"={name}", f"={digest}").replace(f"~{name}", f"~{digest}")
    answer = await api.answer("GET", f"{api.of(HERE)}?q={quote(q)}")
    assert {each["digest"] for each in expect(answer, 200).json()} == {digests[name] for name in expected}
    assert answer.headers["x-total-count"] == str(len(expected))


@pytest.mark.parametrize("q", ["tags", "tags=", "=v1", "tags=[a~b]", "tags={v1"])
async def test_q_that_cannot_be_read(api, q: str) -> None:
    await api.push(HERE, "v1")
    await api.get(f"{api.of(HERE)}?q={quote(q)}", 400)


async def test_what_was_not_asked_for_is_left_out(api) -> None:
    await api.push(HERE, "v1")
    (found,) = await api.get(api.of(HERE) + "?with_tag=false")
    assert not {"tags", "labels", "scan_overview", "sbom_overview", "accessories", "inherited_accessories"} & set(found)
    asked = "?with_label=true&with_accessory=true&with_scan_overview=true&with_sbom_overview=true"
    (found,) = await api.get(api.of(HERE) + asked + "&with_inherited_accessory=1")
    assert (found["labels"], found["accessories"], found["inherited_accessories"]) == ([], [], [])
    assert "scan_overview" not in found, "there is none as long as nobody scans"


class Others:
    """Knows labels, and which tags are locked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Artifact], frozenset[str]]] = []

    @hookimpl(optionalhook=True)
    async def describe_artifacts(self, artifacts, wanted):
        self.asked.append((list(artifacts), wanted))
        return {
            each: {"labels": [{"id": 1, "name": each.repository}], "immutable_tags": ["v1"], "digest": "mine"}
            for each in artifacts[:1]
        }

    @hookimpl(optionalhook=True)
    async def narrow_artifacts(self, term):
        if term.key == "labels":
            return tables.manifests.c.size > (0 if term.values == (1, 2) else 10**9)
        return None


async def test_other_plugins_are_asked_once_a_page_and_only_for_what_is_wanted(opened) -> None:
    others = Others()
    api = await opened(others)
    newer = [(await api.push(HERE, f"v{number}")).digest for number in range(3)][::-1]
    await api.get(api.of(HERE))
    assert others.asked == []
    found = await api.get(api.of(HERE) + "?with_label=true&with_immutable_status=true")
    assert others.asked == [([Artifact(HERE, each) for each in newer], frozenset({"labels", "immutable_tags"}))]
    assert [each["labels"] for each in found] == [[{"id": 1, "name": HERE}], [], []]
    assert [each["digest"] for each in found] == newer, "what was not wanted is not believed"
    assert not any(tag["immutable"] for each in found for tag in each["tags"]), "v1 is not the first one's tag"


async def test_locked_tags_are_told(opened) -> None:
    api = await opened(Others())
    await api.push(HERE, "v1")
    (found,) = await api.get(api.of(HERE) + "?with_immutable_status=true")
    assert [tag["immutable"] for tag in found["tags"]] == [True]
    (tag,) = await api.get(api.of(HERE, "v1", "tags") + "?with_immutable_status=true")
    assert tag["immutable"]
    (tag,) = await api.get(api.of(HERE, "v1", "tags"))
    assert not tag["immutable"]


async def test_other_plugins_narrow_the_list(opened) -> None:
    api = await opened(Others())
    await api.push(HERE, "v1")
    for values, count in (("(1 2)", 1), ("(3)", 0)):
        answer = await api.answer("GET", api.of(HERE) + f"?q={quote(f'labels={values}')}")
        assert (len(answer.json()), answer.headers["x-total-count"]) == (count, str(count))


async def test_all_of_a_project(api) -> None:
    one = await api.push("library/a", "v1")
    two = await api.push("library/b/c", "v1")
    await api.push("secret/a", "v1")
    for project in ("library", "1"):
        assert await api.names(f"/projects/{project}/artifacts") == [two.digest, one.digest]
    assert await api.names("/projects/library/artifacts?q=repository_name%3Dlibrary/a") == [one.digest]
    await api.get("/projects/nowhere/artifacts", 404)


async def test_the_latest_of_each_repository(api) -> None:
    await api.push("library/a", "v1")
    a = await api.push("library/a", "v2")
    b = await api.push("library/b", "v1")
    docker = Content(DOCKER_CONFIG, b"{}")
    await api.client.push("library/a", "docker", image(docker, media_type=DOCKER_IMAGE), docker)
    latest = "/projects/library/artifacts?latest_in_repository=true"
    kind = quote("media_type=application/vnd.oci.image.config.v1+json")
    answer = await api.answer("GET", f"{latest}&q={kind}")
    assert [each["digest"] for each in answer.json()] == [b.digest, a.digest]
    assert answer.headers["x-total-count"] == "2"
    await api.get(latest, 400)
    await api.get(f"{latest}&q={kind},artifact_type%3Dx", 400)


async def test_pulls_are_told(api) -> None:
    pushed = await api.push(HERE, "v1")
    await api.call("POST", api.of(HERE, "v1", "tags"), 201, {"name": "v2"})
    for reference in ("v1", "v1", pushed.digest):
        expect(await api.client.get_manifest(HERE, reference), 200)
    expect(await api.client.get_manifest(HERE, "v1", method="HEAD"), 200)
    await api.settled()
    assert (await api.get(api.repository(HERE)))["pull_count"] == 3
    found = await api.get(api.of(HERE, "v1"))
    pulled = {tag["name"]: tag["pull_time"] != NEVER for tag in found["tags"]}
    assert (found["pull_time"] != NEVER, pulled) == (True, {"v1": True, "v2": False})


async def test_an_event_that_is_told_twice_counts_once(api) -> None:
    await api.push(HERE, "v1")
    expect(await api.client.get_manifest(HERE, "v1"), 200)
    await api.settled()
    (plugin,) = (each.plugin for each in api.registry.plugins if each.name == "management")
    for event in await api.registry.journal.events():
        await plugin.observe(event)
    assert (await api.get(api.repository(HERE)))["pull_count"] == 1


async def test_pulls_need_not_be_told(api) -> None:
    await api.push(HERE, "v1")
    await api.call("PUT", "/configurations", 200, {"pull_count_update_disable": True, "pull_time_update_disable": True})
    expect(await api.client.get_manifest(HERE, "v1"), 200)
    await api.settled()
    assert (await api.get(api.repository(HERE)))["pull_count"] == 0
    assert (await api.get(api.of(HERE, "v1")))["pull_time"] == NEVER


async def test_ids_are_never_given_twice(api) -> None:
    await api.push(HERE, "v1")
    first = await api.get(api.of(HERE, "v1"))
    await api.call("DELETE", api.of(HERE, "v1"))
    await api.push(HERE, "v1")
    second = await api.get(api.of(HERE, "v1"))
    assert second["id"] > first["id"]
    assert second["tags"][0]["id"] > first["tags"][0]["id"]


@pytest.mark.parametrize("reference", ["nothing", "sha256:" + "0" * 64])
async def test_an_artifact_that_is_not_there(api, reference: str) -> None:
    await api.push(HERE, "v1")
    await api.get(api.of(HERE, reference), 404)
    await api.get(api.of("library/nothing", reference), 404)
    await api.call("DELETE", api.of(HERE, reference), 404)


@pytest.mark.parametrize("reference", ["sha256:abc", "-x", "%00", "a%20b"])
async def test_a_reference_that_is_none(api, reference: str) -> None:
    await api.push(HERE, "v1")
    await api.get(api.of(HERE, reference), 400)


async def test_what_an_index_needs_is_not_deleted(api) -> None:
    child = await api.push(HERE, "child")
    await api.push_index(HERE, "multi", child)
    answer = await api.answer("DELETE", api.of(HERE, "child"))
    assert (
        expect(answer, 412).json()["errors"][0]["message"].startswith("the deleting artifact is referenced by others")
    )
    await api.get(api.of(HERE, "child"))


async def test_deleting_takes_what_hangs_on_it(api) -> None:
    pushed = await api.push(HERE, "v1")
    signature = await api.push(HERE, None, subject=pushed.descriptor())
    await api.call("DELETE", api.of(HERE, "v1"))
    assert await api.names(api.of(HERE) + "?q=base%3D*") == []
    expect(await api.client.get_manifest(HERE, signature.digest), 404)


async def test_sparse_indexes_grow_with_their_children(opened) -> None:
    sparse = msgspec.structs.replace(Config().protocol, allow_sparse=True)
    api = await opened(protocol=sparse)
    layer = blob(b"comes later")
    child = image(EMPTY, [layer])
    whole = await api.client.push(HERE, "sparse", index([child]))
    found = await api.get(api.of(HERE, "sparse"))
    assert (found["size"], found["references"][0]["child_id"]) == (len(whole.body), 0)
    await api.client.push(HERE, None, child, EMPTY, layer)
    found = await api.get(api.of(HERE, "sparse"))
    assert found["size"] == len(whole.body) + len(child.body) + len(layer.body) + len(EMPTY.body)
    assert found["references"][0]["child_id"] == 2
    assert await api.names(api.of(HERE)) == [whole.digest]
