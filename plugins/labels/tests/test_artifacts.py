"""Labels on artifacts: put on and taken off, shown in pages of artifacts, searched by, gone with what carried them."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from corereg import Artifact, BadRequest, Digest, Grant, Registry, Term, parse_q, tables
from corereg.testing.statements import statements_of
from corereg_labels import Labels

pytestmark = pytest.mark.anyio


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


async def carried(labels: Labels, repository: str, digest: str) -> list[str]:
    artifact = Artifact(repository, digest)
    found = await labels.describe_artifacts([artifact])
    return [each.name for each in found[artifact]["labels"]]


# ---- on and off ----


async def test_on_and_off(api: Any, labels: Labels, registry: Registry) -> None:
    digest = await api.image("alpha/team/app", "v1")
    mine, everybodys = await api.made("mine", 1), await api.made("global")
    serial = (await registry.journal.events(limit=1000))[-1].serial
    answer = await api.attach("alpha/team/app", "v1", mine, "ann")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await api.attach("alpha/team/app", digest, everybodys, "ann")).status_code == 200
    assert await carried(labels, "alpha/team/app", digest) == ["global", "mine"]
    answer = await api.detach("alpha/team/app", digest, mine, "ann")
    assert (answer.status_code, answer.content) == (200, b"")
    assert await carried(labels, "alpha/team/app", digest) == ["global"]
    told = [
        (each.kind, each.actor, each.repository, each.digest, each.details)
        for each in await registry.journal.events(after=serial)
    ]
    assert told == [
        ("label.attach", "ann", "alpha/team/app", digest, {"id": mine, "name": "mine", "namespace": "alpha"}),
        ("label.attach", "ann", "alpha/team/app", digest, {"id": everybodys, "name": "global", "namespace": "alpha"}),
        ("label.detach", "ann", "alpha/team/app", digest, {"id": mine, "name": "mine", "namespace": "alpha"}),
    ]


async def test_twice(api: Any, labels: Labels) -> None:
    digest = await api.image("alpha/app")
    mine = await api.made("mine", 1)
    assert (await api.attach("alpha/app", "latest", mine)).status_code == 200
    assert code(await api.attach("alpha/app", digest, mine)) == (409, "CONFLICT")
    assert (await api.detach("alpha/app", "latest", mine)).status_code == 200
    assert code(await api.detach("alpha/app", "latest", mine)) == (404, "NOT_FOUND")


async def test_the_same_image_in_another_repository(api: Any, labels: Labels, registry: Registry) -> None:
    digest = await api.image("alpha/app")
    await registry.session().copy_artifact("alpha/app", Digest.parse(digest), "alpha/copy")
    await api.attach("alpha/app", digest, await api.made("mine", 1))
    assert await carried(labels, "alpha/copy", digest) == []
    assert await carried(labels, "alpha/app", digest) == ["mine"]


@pytest.mark.parametrize("reference", ["v2", "sha256:" + "0" * 64])
async def test_an_artifact_that_is_not_there(api: Any, reference: str) -> None:
    digest = await api.image("alpha/app")
    await api.image("beta/app", "v2")
    label = await api.made("global")
    assert code(await api.attach("alpha/app", reference, label)) == (404, "NOT_FOUND")
    assert code(await api.detach("alpha/app", reference, label)) == (404, "NOT_FOUND")
    assert code(await api.attach("alpha/other", digest, label)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("reference", ["sha256:x", "-v1", "%00", "v1%00", "a%20b"])
async def test_a_reference_that_is_none(api: Any, reference: str) -> None:
    await api.image("alpha/app")
    assert 400 <= (await api.attach("alpha/app", reference, await api.made("global"))).status_code < 500


@pytest.mark.parametrize("name", ["app%00", "%00", "..%252F..%252Fbeta%252Fapp", "..", "%252Fapp", "app%252F"])
async def test_a_repository_that_cannot_be(api: Any, name: str) -> None:
    await api.image("beta/app")
    label = await api.made("global")
    path = f"/projects/alpha/repositories/{name}/artifacts/latest/labels"
    assert (await api("ann", "POST", path, {"id": label})).status_code == 404


@pytest.mark.parametrize("body", [None, [], {"id": "one"}])
async def test_a_body_of_another_shape(api: Any, body: Any) -> None:
    await api.image("alpha/app")
    assert (await api("admin", "POST", api.path("alpha/app", "latest"), body)).status_code == 422


@pytest.mark.parametrize("label", [0, -1, 99])
async def test_a_label_that_is_not_there(api: Any, label: int) -> None:
    await api.image("alpha/app")
    assert code(await api.attach("alpha/app", "latest", label)) == (404, "NOT_FOUND")
    assert code(await api.detach("alpha/app", "latest", label)) == (404, "NOT_FOUND")


# ---- who may ----


async def test_the_label_of_another_project(api: Any, labels: Labels) -> None:
    """Not even an administrator mixes them; and the answer is that of a label that is not there."""
    digest = await api.image("alpha/app")
    other = await api.made("secret plans", 2)
    for who in ("admin", "ann"):
        for act in (api.attach, api.detach):
            foreign, missing = await act("alpha/app", "latest", other, who), await act("alpha/app", "latest", 99, who)
            assert foreign.status_code == missing.status_code == 404
            assert foreign.text.replace(str(other), "99") == missing.text
    assert await carried(labels, "alpha/app", digest) == []


async def test_artifacts_of_others(api: Any, labels: Labels, people: dict[str, list[Grant]]) -> None:
    """Every nested path with somebody else's project in it."""
    digest = await api.image("beta/app")
    label, other = await api.made("global"), await api.made("other", 2)
    assert (await api.attach("beta/app", "latest", label, "ben")).status_code == 200
    for who, status in (("ann", 403), ("guest", 403), ("nobody", 403), (None, 401)):
        for each in (label, other):
            assert (await api.attach("beta/app", "latest", each, who)).status_code == status
            assert (await api.detach("beta/app", "latest", each, who)).status_code == status
            assert (await api.attach("beta/none", "latest", each, who)).status_code == status
            assert (await api.attach("ghost/app", "latest", each, who)).status_code == status
    people["attacher"] = [Grant("beta/*", "artifact-label", frozenset({"create"}))]
    assert (await api.attach("beta/app", "latest", other, "attacher")).status_code == 200
    assert (await api.detach("beta/app", "latest", other, "attacher")).status_code == 403
    people["detacher"] = [Grant("beta/app", "artifact-label", frozenset({"delete"}))]
    assert (await api.detach("beta/app", "latest", other, "detacher")).status_code == 200
    assert await carried(labels, "beta/app", digest) == ["global"]
    assert (await api.attach("ghost/app", "latest", label, "admin")).status_code == 404


# ---- gone with what carried them ----


async def test_a_label_goes_from_all_artifacts(api: Any, labels: Labels) -> None:
    digests = {name: await api.image(name) for name in ("alpha/app", "beta/app")}
    label, other = await api.made("global"), await api.made("other")
    for name in digests:
        await api.attach(name, "latest", label)
        await api.attach(name, "latest", other)
    assert (await api("admin", "DELETE", f"/labels/{label}")).status_code == 200
    for name, digest in digests.items():
        assert await carried(labels, name, digest) == ["other"]


async def test_an_artifact_takes_its_labels_along(api: Any, labels: Labels, registry: Registry) -> None:
    digest = await api.image("alpha/app")
    label = await api.made("mine", 1)
    await api.attach("alpha/app", digest, label)
    await registry.session().delete_artifact("alpha/app", Digest.parse(digest))
    assert await carried(labels, "alpha/app", digest) == []
    assert await registry.database.rows(sa.text("SELECT label_id FROM labels_attachments")) == []
    assert (await api.shown(label))["name"] == "mine"


async def test_a_repository_takes_its_labels_along(api: Any, registry: Registry) -> None:
    await api.image("alpha/app")
    await api.attach("alpha/app", "latest", await api.made("mine", 1))
    await registry.session().delete_repository("alpha/app")
    assert await registry.database.rows(sa.text("SELECT label_id FROM labels_attachments")) == []


@pytest.mark.parametrize("gone", ["label", "artifact"])
async def test_what_goes_in_the_same_moment(
    api: Any, labels: Labels, registry: Registry, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Between the look and the writing: the keys of the table say no, and that is a 404."""
    digest = await api.image("alpha/app")
    label = await api.made("mine", 1)
    store = labels._labels()
    look = store._digest

    async def then_gone(repository: str, reference: str) -> tuple[int, str]:
        found = await look(repository, reference)
        if gone == "label":
            await store.delete(registry.session(), await store.with_id(label))
        else:
            await registry.session().delete_artifact(repository, Digest.parse(digest))
        return found

    monkeypatch.setattr(store, "_digest", then_gone)
    assert code(await api.attach("alpha/app", digest, label)) == (404, "NOT_FOUND")
    assert await registry.database.rows(sa.text("SELECT label_id FROM labels_attachments")) == []


# ---- what management asks ----


async def test_a_page_costs_one_statement(api: Any, labels: Labels, registry: Registry) -> None:
    artifacts = [Artifact(name, await api.image(name)) for name in ("alpha/a", "alpha/b", "beta/c")]
    for name in ("z", "y"):
        label = await api.made(name)
        for each in artifacts[:2]:
            await api.attach(each.repository, each.digest, label)
    wanted = [*artifacts, Artifact("alpha/none", artifacts[0].digest)]
    with statements_of(registry.database) as seen:
        found = await labels.describe_artifacts(wanted)
        assert len(seen) == 1
        assert await labels.describe_artifacts([]) == {}
        assert len(seen) == 1
    assert {each: [label.name for label in said["labels"]] for each, said in found.items()} == {
        artifacts[0]: ["y", "z"],
        artifacts[1]: ["y", "z"],
        artifacts[2]: [],
        wanted[3]: [],
    }


async def test_what_an_artifact_shows_of_a_label_is_the_label(api: Any, labels: Labels) -> None:
    digest = await api.image("alpha/app")
    label = await api.made("mine", 1, color="#ff0000")
    await api.attach("alpha/app", digest, label)
    artifact = Artifact("alpha/app", digest)
    (shown,) = (await labels.describe_artifacts([artifact]))[artifact]["labels"]
    assert {name: getattr(shown, name) for name in shown.__struct_fields__} == await api.shown(label)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("labels={one}", {"a", "b"}),
        ("labels=one", {"a", "b"}),
        ("labels=(one)", {"a", "b"}),
        ("labels=(one two)", {"b"}),
        ("labels=(two one)", {"b"}),
        ("labels={one two}", {"a", "b", "c"}),
        ("labels=(one two three)", set()),
        ("labels={three}", set()),
        ("labels=99", set()),
        ("labels=()", {"a", "b", "c", "d"}),
        ("labels={}", set()),
    ],
)
async def test_artifacts_by_their_labels(api: Any, labels: Labels, registry: Registry, q: str, found: set[str]) -> None:
    digests = {await api.image("alpha/app", tag): tag for tag in ("a", "b", "c", "d")}
    numbers = {name: await api.made(name) for name in ("one", "two", "three")}
    for tag, names in {"a": ["one"], "b": ["one", "two"], "c": ["two"]}.items():
        for name in names:
            assert (await api.attach("alpha/app", tag, numbers[name])).status_code == 200
    for name, number in numbers.items():
        q = q.replace(name, str(number))
    (term,) = parse_q(q)
    condition = await labels.narrow_artifacts(term)
    assert condition is not None
    rows = await registry.database.rows(sa.select(tables.manifests.c.digest).where(condition))
    assert {digests[digest] for (digest,) in rows} == found


async def test_labels_in_another_repository_do_not_count(api: Any, labels: Labels, registry: Registry) -> None:
    digest = await api.image("alpha/app")
    await registry.session().copy_artifact("alpha/app", Digest.parse(digest), "alpha/copy")
    label = await api.made("mine", 1)
    await api.attach("alpha/copy", digest, label)
    condition = await labels.narrow_artifacts(Term("labels", "is", (label,)))
    manifests, repositories = tables.manifests, tables.repositories
    select = sa.select(repositories.c.name).join(manifests, manifests.c.repository_id == repositories.c.id)
    assert [tuple(row) for row in await registry.database.rows(select.where(condition))] == [("alpha/copy",)]


@pytest.mark.parametrize("q", ["labels=mine", "labels=~1", "labels=[1~2]", "labels={1 mine}", "labels=' OR 1=1'"])
async def test_labels_are_asked_for_by_their_ids(labels: Labels, q: str) -> None:
    (term,) = parse_q(q)
    with pytest.raises(BadRequest, match="by their ids"):
        await labels.narrow_artifacts(term)


async def test_other_keys_are_for_others(labels: Labels) -> None:
    assert await labels.narrow_artifacts(Term("tags", "is", ("v1",))) is None
