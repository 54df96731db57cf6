"""Take over a CNCF Distribution folder or bucket in place: no blob is copied, none is changed.

Manifests are read once, their digests computed again, and kept in the database from then on; a blob's row points at the
key it has. What would be a broken image is reported and left out. Begun again it goes on where it was, and what was
pushed since stays as it is: run it beside a server that runs.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from corereg.care.distribution import Links, Problem, read_bytes, repository_links, repository_names
from corereg.care.holding import Hold
from corereg.care.parallel import parallel
from corereg.oci.digest import Digest
from corereg.oci.errors import DigestInvalid, ManifestInvalid, NameInvalid, OCIError
from corereg.oci.manifest import Manifest
from corereg.oci.names import check_repository
from corereg.session import FoundManifest, House, Session
from corereg.store.catalog import StoredBlob
from corereg.store.schema import blobs as blob_rows
from corereg.store.scopes import among
from corereg.store.storage import KeyMissing, Storage, blob_key, shown
from corereg.store.work import Work

BATCH = 100
"""Manifests of one transaction."""
BLOBS_BATCH = 500
"""Blobs of one transaction that has no manifests."""
REMEMBERED = 100_000
"""Blobs whose size is kept in memory: many repositories hold the same ones."""
TOLD = 10_000
"""Problems that are kept for the answer; all of them are logged and counted."""
HOLD = 7 * 86400
"""Seconds in which nothing is collected after an adoption that is not complete: its blobs have no rows yet."""
HOLD_NAME = "adopt"


class AdoptOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to take over. `repositories`: these alone, by their names there. `namespace`: where a repository goes whose
    name is one word. `allow_missing` keeps manifests whose members are not there. `dry_run` changes nothing.
    """

    repositories: tuple[str, ...] = ()
    namespace: str | None = None
    allow_missing: bool = False
    dry_run: bool = False


class Adopted(msgspec.Struct, kw_only=True):
    """What an adoption came to. `manifests`, `tags` and `blobs` are those that were taken over by this run (a dry run:
    would be), `present` manifests that were here before; `size` are the bytes of blobs and manifests it looked at.

    `held_until` (microseconds since 1970): nothing is collected until then, as not everything was taken over.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    present: int = 0
    size: int = 0
    missing_namespaces: list[str] = []
    counts: dict[str, int] = {}
    problems: list[Problem] = []
    held_until: int | None = None


async def adopt(house: House, session: Session, work: Work, options: AdoptOptions | None = None) -> Adopted:
    """Take over what lies in the registry's storage. Raises Stopped, StorageError, DatabaseError."""
    return await _Adoption(house, session, work, options or AdoptOptions()).run()


class _Sizes:
    """Which blobs there are, and how large they are."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: OrderedDict[str, StoredBlob | None] = OrderedDict()

    async def find(self, digests: Iterable[str]) -> dict[str, StoredBlob]:
        """Those of the blobs that are there: by their rows, else by what lies in the storage."""
        wanted = list(dict.fromkeys(digests))
        unknown = [digest for digest in wanted if digest not in self._known]
        if unknown:
            await self._look(unknown)
        found = {digest: blob for digest in wanted if (blob := self._known[digest]) is not None}
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _look(self, digests: Sequence[str]) -> None:
        columns = (blob_rows.c.digest, blob_rows.c.size, blob_rows.c.storage_key)
        rows = await self._house.database.rows(
            sa.select(*columns).where(among(self._house.database, blob_rows.c.digest, digests))
        )
        self._known.update({row[0]: StoredBlob(row[0], row[1], row[2]) for row in rows})
        absent = [digest for digest in digests if digest not in self._known]
        for digest, blob in zip(absent, await parallel(self._stat, absent), strict=True):
            self._known[digest] = blob

    async def _stat(self, digest: str) -> StoredBlob | None:
        key = blob_key(digest)
        stat = await self._house.storage.stat(key)
        return None if stat is None else StoredBlob(digest, stat.size, key)


class _Adoption:
    """One run."""

    def __init__(self, house: House, session: Session, work: Work, options: AdoptOptions) -> None:
        self.house = house
        self.session = session
        self.work = work
        self.options = options
        self.sizes = _Sizes(house)
        self.hold = Hold(session, HOLD_NAME, HOLD)
        self.found = Adopted()
        self.counts: Counter[str] = Counter()
        self.missing_namespaces: set[str] = set()

    async def run(self) -> Adopted:
        await self.work.progress("looking for repositories", 0)
        names = await repository_names(self.house.storage)
        wanted = [name for name in names if not self.options.repositories or name in self.options.repositories]
        for name in sorted(set(self.options.repositories) - set(names)):
            self.problem("name", name, "there is no such repository in the storage")
        for done, name in enumerate(wanted):
            await self.work.check()
            if not self.options.dry_run:
                await self.hold.renew()  # until its row is written, a blob is one that nobody knows
            await self.work.progress("repositories", done, len(wanted), self.found.size)
            await self._adopt_repository(name)
        await self.work.progress("repositories", len(wanted), len(wanted), self.found.size)
        if self.hold.until:
            await self._end_hold(everything=len(wanted) == len(names))
        self.found.missing_namespaces = sorted(self.missing_namespaces)
        self.found.counts = dict(sorted(self.counts.items()))
        return self.found

    def problem(self, kind: str, where: str, message: str) -> None:
        """Report, count and go on."""
        self.counts[kind] += 1
        where, message = shown(where), shown(message)  # names of files, which may be any bytes
        self.work.log(f"{where}: {message}")
        if len(self.found.problems) < TOLD:
            self.found.problems.append(Problem(kind, where, message))

    def target(self, name: str) -> str:
        """What a repository is called here."""
        return f"{self.options.namespace}/{name}" if self.options.namespace and "/" not in name else name

    async def _end_hold(self, *, everything: bool) -> None:
        if everything and not self.counts["refused"] and not self.counts["namespace"]:
            await self.hold.release()
        else:
            self.found.held_until = self.hold.until

    async def _lacks_namespace(self, target: str) -> bool:
        """Whether somebody knows namespaces here, and the repository would stand in none: nobody may push to it."""
        if not self.house.plugins.implementers("resolve_namespace"):
            return False
        if await self.house.plugins.namespace_of(target) is not None:
            return False
        first, between, _ = target.partition("/")
        if not between:
            message = "left out: its name is one word, and repositories stand in projects here; choose one: --namespace"
        else:
            message = f"left out: there is no project {first}; create it, and adopt again"
            self.missing_namespaces.add(first)
        self.problem("namespace", target, message)
        return True

    # ---- one repository ----

    async def _adopt_repository(self, name: str) -> None:
        target = self.target(name)
        try:
            check_repository(target)
        except NameInvalid as error:
            self.problem("name", name, error.message)
            return
        if await self._lacks_namespace(target):
            return
        links = await repository_links(self.house.storage, name)
        for each in links.problems:
            self.problem(each.kind, each.where, each.message)
        await _Repository(self, target, links).run()
        self.found.repositories += 1

    async def write(self, name: str, blobs: Sequence[StoredBlob], manifests: Sequence[FoundManifest]) -> set[str]:
        """Write rows; the manifests' digests that are there now. What is refused is halved until one is left."""
        if not blobs and not manifests:
            return set()
        if self.options.dry_run:
            self._count(len(blobs), len(manifests), sum(len(each.tags) for each in manifests))
            return {str(each.digest) for each in manifests}
        try:
            self._count(*await self.session.adopt(name, blobs, manifests))
        except OCIError as error:
            if len(manifests) > 1:
                half = len(manifests) // 2
                parts = (manifests[:half], manifests[half:])
                return {digest for part in parts for digest in await self.write(name, _needed(part, blobs), part)}
            where = f"{name}@{manifests[0].digest}" if manifests else name
            self.problem("refused", where, error.message)
            return set()
        return {str(each.digest) for each in manifests}

    def _count(self, blobs: int, manifests: int, tags: int) -> None:
        self.found.blobs += blobs
        self.found.manifests += manifests
        self.found.tags += tags


def _needed(manifests: Sequence[FoundManifest], blobs: Sequence[StoredBlob]) -> list[StoredBlob]:
    wanted = {str(member.digest) for each in manifests for member in each.manifest.blobs}
    return [blob for blob in blobs if blob.digest in wanted]


class _Repository:
    """One repository on its way into the database."""

    def __init__(self, adoption: _Adoption, name: str, links: Links) -> None:
        self.adoption = adoption
        self.house = adoption.house
        self.name = name
        self.links = links
        self.here: dict[str, int] = {}
        """Size of each manifest that the repository holds by now."""
        self.linked: set[str] = set()
        """Blobs it serves by now."""
        self.tags: dict[str, list[str]] = {}
        """Tags that are still to be set, by digest."""

    async def run(self) -> None:
        await self._read_rows()
        wanted = [digest for digest in self.links.revisions if digest not in self.here]
        self.adoption.found.present += len(self.links.revisions) - len(wanted)
        await self._tag_what_is_here()
        indexes: list[Digest] = []
        for batch in _batches(wanted, BATCH):
            await self._adopt_batch(batch, indexes)
        await self._adopt_indexes(indexes)
        await self._adopt_layers()
        for digest, tags in sorted(self.tags.items()):
            for tag in tags:
                self.adoption.problem("tag", f"{self.name}:{tag}", f"points at {digest}, which is not taken over")

    async def _read_rows(self) -> None:
        catalog = self.house.catalog
        repository_id = await catalog.repository_id(self.name)
        taken: set[str] = set()
        if repository_id is not None:
            self.here = {digest: size for digest, _, size, _ in await catalog.contents(repository_id)}
            self.linked = set(await catalog.links(repository_id))
            taken = {tag for tags in (await catalog.all_tags(repository_id)).values() for tag in tags}
        for tag, digest in self.links.tags.items():
            if tag not in taken:
                self.tags.setdefault(str(digest), []).append(str(tag))

    async def _tag_what_is_here(self) -> None:
        for batch in _batches([Digest.parse(digest) for digest in self.tags if digest in self.here], BATCH):
            found = []
            for digest in batch:
                stored = await self.house.catalog.manifest(self.name, digest)
                if stored is not None:
                    manifest = Manifest.parse(stored.body, stored.media_type)
                    found.append(FoundManifest(digest, manifest, tuple(self.tags[digest])))
            await self._write([], found)

    async def _adopt_batch(self, digests: Sequence[Digest], indexes: list[Digest] | None) -> None:
        """Take over manifests. Indexes are put off, where there is a list for them: their members come first."""
        await self.adoption.work.check()
        found = [each for each in await parallel(self._read, digests) if each is not None]
        if indexes is not None:
            indexes += [each.digest for each in found if each.manifest.is_index]
            found = [each for each in found if not each.manifest.is_index]
        blobs = await self.adoption.sizes.find(str(member.digest) for each in found for member in each.manifest.blobs)
        whole = [each for each in found if self._is_whole(each, blobs)]
        await self._write(list(_among(whole, blobs, self.linked)), whole)

    async def _write(self, blobs: Sequence[StoredBlob], manifests: Sequence[FoundManifest]) -> None:
        written = await self.adoption.write(self.name, blobs, manifests)
        for each in manifests:
            if str(each.digest) in written:
                self.here[str(each.digest)] = len(each.manifest.body)
                self.linked |= {str(member.digest) for member in each.manifest.blobs}
                self.adoption.found.size += len(each.manifest.body)
                self.tags.pop(str(each.digest), None)
        self.adoption.found.size += sum(blob.size for blob in blobs)

    async def _adopt_indexes(self, indexes: Sequence[Digest]) -> None:
        """Indexes of indexes after those; what is left when none comes forward any more lacks a member."""
        waiting = list(indexes)
        while waiting:
            others = set(map(str, waiting))
            ready: list[Digest] = []
            blocked: list[Digest] = []
            for batch in _batches(waiting, BATCH):
                for found in await parallel(self._read, batch):
                    if found is not None:
                        waits = any(str(child.digest) in others for child in found.manifest.children)
                        (blocked if waits else ready).append(found.digest)
            if not ready:  # no digest can be part of itself, so nothing waits for ever; a broken one is told below
                ready, blocked = blocked, []
            for batch in _batches(ready, BATCH):
                await self._adopt_batch(batch, None)
            waiting = blocked

    async def _adopt_layers(self) -> None:
        """Blobs that the repository serves for no manifest: a client that is pushing counts on them."""
        rest = [digest for digest in self.links.layers if digest not in self.linked]
        for batch in _batches(rest, BLOBS_BATCH):
            await self.adoption.work.check()
            await self._write(list((await self.adoption.sizes.find(map(str, batch))).values()), [])

    # ---- one manifest ----

    async def _read(self, digest: Digest) -> FoundManifest | None:
        where = f"{self.name}@{digest}"
        limit = self.house.protocol.manifest_limit
        try:
            body = await read_manifest(self.house.storage, digest, limit)
            return FoundManifest(digest, Manifest.parse(body), tuple(sorted(self.tags.get(digest, ()))))
        except KeyMissing:
            self.adoption.problem("absent", where, "the manifest's bytes are not in the storage")
        except DigestInvalid as error:
            self.adoption.problem("corrupt", where, error.message)
        except ManifestInvalid as error:
            kind = "schema1" if "schema 1" in error.message else "invalid"
            self.adoption.problem(kind, where, error.message)
        return None

    def _is_whole(self, found: FoundManifest, blobs: dict[str, StoredBlob]) -> bool:
        """Whether all members are there and as large as the manifest says; else that is reported."""
        sizes = {digest: blob.size for digest, blob in blobs.items()}
        missing, wrong = [], []
        for members, held in ((found.manifest.blobs, sizes), (found.manifest.children, self.here)):
            for member in members:
                stored = held.get(str(member.digest))
                if stored is None:
                    missing.append(str(member.digest))
                elif stored != member.size:
                    wrong.append(f"{member.digest} has {stored} bytes, not {member.size}")
        where = f"{self.name}@{found.digest}"
        if wrong:
            self.adoption.problem("size", where, f"left out: {wrong[0]}")
            return False
        if missing:
            what = f"{len(missing)} of what it names is not there, such as {missing[0]}"
            kept = self.adoption.options.allow_missing
            self.adoption.problem("missing", where, f"{'kept although' if kept else 'left out:'} {what}")
            return kept
        return True


def _among(manifests: Sequence[FoundManifest], blobs: dict[str, StoredBlob], linked: set[str]) -> Iterable[StoredBlob]:
    """The blobs that the manifests need and the repository does not serve yet."""
    wanted = dict.fromkeys(str(member.digest) for each in manifests for member in each.manifest.blobs)
    return [blobs[digest] for digest in wanted if digest in blobs and digest not in linked]


async def read_manifest(storage: Storage, digest: Digest, limit: int) -> bytes:
    """The bytes of a manifest that lies among the blobs, with the right digest. Raises KeyMissing, ManifestInvalid."""
    body = await read_bytes(storage, blob_key(digest), limit + 1)
    if len(body) > limit:
        message = f"the manifest has more than {limit} bytes, the limit here ([protocol] manifest_limit)"
        raise ManifestInvalid(message)
    if Digest.of(body, digest.algorithm) != digest:
        message = f"the bytes under the digest have another one: {Digest.of(body, digest.algorithm)}"
        raise DigestInvalid(message)
    return body


def _batches(items: Sequence[Digest], size: int) -> Iterable[Sequence[Digest]]:
    return (items[start : start + size] for start in range(0, len(items), size))
