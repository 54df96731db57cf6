"""Any history: hypothesis makes up stories, and after every step each counter must say what the namespace holds.

What it holds is added up twice: by `reconcile`, in SQL, and here, in Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from anyio import from_thread, to_thread
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from corereg import Digest, ManifestUnknown, Namespace, OCIError, Registry, Session, Tag, tables
from corereg_quotas.reconcile import reconcile
from corereg_quotas.schema import counters

from .stage import INDEX, MANIFEST, Projects, digest_of, image, index, ledger, push_blob, set_limit

pytestmark = pytest.mark.anyio

REPOSITORIES = ("a/one", "a/two", "a/team/one", "b/one", "b/two")
LAYERS = (b"x" * 1000, b"y" * 200, b"z" * 30)
repositories = st.sampled_from(REPOSITORIES)
layers = st.sampled_from(LAYERS)
manifests = st.tuples(st.lists(layers, min_size=1, max_size=2, unique=True).map(tuple), st.sampled_from(["", "note"]))


class Stories(RuleBasedStateMachine):
    """Two namespaces, one more below the first from time to time, repositories that share what they hold."""

    def __init__(self, registry: Registry, projects: Projects, numbers: Iterator[int], done: Counter[str]) -> None:
        super().__init__()
        self.registry, self.projects, self.done = registry, projects, done
        self.session: Session = registry.session()
        self.prefix = f"s{next(numbers)}"

    def name(self, repository: str) -> str:
        """Each story has namespaces of its own."""
        return f"{self.prefix}{repository}"

    def act(self, what: str, act: Callable[..., Awaitable[Any]], *arguments: Any) -> bool:
        """Whether it was done; a refusal is as good as any answer, and must leave everything as it was."""
        try:
            from_thread.run(partial(act, *arguments))
        except OCIError as error:
            self.done[f"{what} refused {error.status}"] += 1
            return False
        self.done[what] += 1
        return True

    @initialize()
    def begin(self) -> None:
        for name in "ab":
            self.act("create", self.projects.create, self.registry, self.name(name))

    @rule(repository=repositories, layer=layers)
    def push(self, repository: str, layer: bytes) -> None:
        self.act("push", push_blob, self.session, self.name(repository), layer)

    @rule(repository=repositories)
    def cancel(self, repository: str) -> None:
        async def cancel() -> None:
            await self.session.cancel_upload(await self.session.start_upload(self.name(repository)))

        self.act("cancel", cancel)

    @rule(repository=repositories, source=repositories, layer=layers)
    def mount(self, repository: str, source: str, layer: bytes) -> None:
        arguments = (self.name(repository), digest_of(layer), self.name(source))
        self.act("mount", self.session.mount, *arguments)

    @rule(repository=repositories, manifest=manifests)
    def put(self, repository: str, manifest: tuple[tuple[bytes, ...], str]) -> None:
        """As docker does."""
        parts, note = manifest
        for layer in parts:
            self.push(repository, layer)
        arguments = (self.name(repository), Tag("latest"), image(*parts, note=note), MANIFEST)
        self.act("put", self.session.put_manifest, *arguments)

    @rule(repository=repositories, first=manifests, second=manifests)
    def put_index(self, repository: str, first: tuple[Any, str], second: tuple[Any, str]) -> None:
        self.put(repository, first)
        self.put(repository, second)
        members = {image(*parts, note=note) for parts, note in (first, second)}
        arguments = (self.name(repository), Tag("all"), index(*sorted(members)), INDEX)
        self.act("put index", self.session.put_manifest, *arguments)

    @rule(repository=repositories, layer=layers)
    def delete_blob(self, repository: str, layer: bytes) -> None:
        self.act("delete blob", self.session.delete_blob, self.name(repository), digest_of(layer))

    @rule(pick=st.integers(0, 20), what=st.sampled_from(["artifact", "manifest", "tag"]))
    def delete(self, pick: int, what: str) -> None:
        async def delete() -> None:
            name, digest, tag = await self.some_tag(pick)
            if what == "artifact":
                await self.session.delete_artifact(name, digest)
            elif what == "manifest":
                await self.session.delete_manifest(name, digest)
            else:
                await self.session.delete_tag(name, digest, tag)

        self.act(f"delete {what}", delete)

    @rule(repository=repositories)
    def delete_repository(self, repository: str) -> None:
        self.act("delete repository", self.session.delete_repository, self.name(repository))

    @rule(pick=st.integers(0, 20), into=repositories)
    def copy(self, pick: int, into: str) -> None:
        async def copy() -> None:
            name, digest, _ = await self.some_tag(pick)
            await self.session.copy_artifact(name, digest, self.name(into), [Tag("copied")])

        self.act("copy", copy)

    async def some_tag(self, pick: int) -> tuple[str, Digest, Tag]:
        """One of the tags that are there."""
        names = [self.name(repository) for repository in REPOSITORIES]
        rows = await self.registry.database.rows(
            sa.select(tables.repositories.c.name, tables.tags.c.digest, tables.tags.c.name)
            .join(tables.tags, tables.tags.c.repository_id == tables.repositories.c.id)
            .where(tables.repositories.c.name.in_(names))
            .order_by(tables.repositories.c.name, tables.tags.c.name)
        )
        if not rows:
            raise ManifestUnknown
        name, digest, tag = rows[pick % len(rows)]
        return name, Digest(digest), Tag(tag)

    @rule(namespace=st.sampled_from("ab"), hard=st.sampled_from([-1, 500, 1500, 3000]))
    def limit(self, namespace: str, hard: int) -> None:
        self.act("limit", set_limit, self.registry, self.name(namespace), hard)

    @rule()
    def team(self) -> None:
        """The namespace below is made, or deleted with whatever its repositories hold."""
        name = self.name("a/team")
        if name in self.projects.namespaces:
            self.act("delete team", self.projects.delete, self.registry, name)
        else:
            self.act("create team", self.projects.create, self.registry, name)

    @invariant()
    def every_counter_is_right(self) -> None:
        folders = {self.name(repository).rpartition("/")[0] for repository in REPOSITORIES}
        assert from_thread.run(partial(reconcile, ledger(self.registry), folders, check=True)) == []
        assert from_thread.run(self.counted) == from_thread.run(self.held)

    def mine(self) -> list[Namespace]:
        own = (self.name("a"), self.name("b"))
        return [each for each in self.projects.namespaces.values() if each.name.startswith(own)]

    async def counted(self) -> dict[str, int]:
        names = [each.name for each in self.mine()]
        columns = (counters.c.namespace, counters.c.used)
        rows = await self.registry.database.rows(sa.select(*columns).where(counters.c.namespace.in_(names)))
        return {row[0]: row[1] for row in rows}

    async def held(self) -> dict[str, int]:
        """The same, from single rows."""
        mine = self.mine()
        found: dict[str, dict[tuple[str, str], int]] = {each.name: {} for each in mine}
        repository, link, blob, manifest = tables.repositories, tables.blob_links, tables.blobs, tables.manifests
        for kind, select in (
            (
                "blob",
                sa.select(repository.c.name, blob.c.digest, blob.c.size).select_from(repository.join(link).join(blob)),
            ),
            ("manifest", sa.select(repository.c.name, manifest.c.digest, manifest.c.size).join(manifest)),
        ):
            for name, digest, size in await self.registry.database.rows(select):
                owner = _owner(mine, name)
                if owner is not None:
                    found[owner.name][kind, digest] = size
        return {name: sum(sizes.values()) for name, sizes in found.items()}


def _owner(namespaces: list[Namespace], repository: str) -> Namespace | None:
    return max((each for each in namespaces if each.holds(repository)), key=lambda each: len(each.name), default=None)


EXPECTED = {
    *("push", "mount", "put", "put index", "copy", "cancel", "limit", "create team", "delete team"),
    *("delete blob", "delete artifact", "delete manifest", "delete tag", "delete repository"),
    *("push refused 403", "put refused 403", "copy refused 403"),
}


async def test_stories(registry: Registry, projects: Projects) -> None:
    numbers, done = count(), Counter[str]()

    class Machine(Stories):
        def __init__(self) -> None:
            super().__init__(registry, projects, numbers, done)

    patient = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    await to_thread.run_sync(partial(run_state_machine_as_test, Machine, settings=patient))
    assert set(done) >= EXPECTED, f"stories told too little: {dict(done)}"
