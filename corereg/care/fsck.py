"""Rows against bytes: whether all that the registry promises to serve is there, and is what it says.

Blobs are compared a 256th at a time, by the first two digits of their digests: a storage lists its keys in no order,
and memory stays flat. What differs is looked at once more before it is told, so a server may run meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from corereg.care.paging import pages
from corereg.care.parallel import parallel
from corereg.care.rate import Rate
from corereg.care.repair import Repair
from corereg.oci.digest import ALGORITHMS, SHA256, Digest, hasher
from corereg.oci.errors import OCIError
from corereg.oci.manifest import Manifest
from corereg.session import House, Session
from corereg.store.catalog import STORED_BLOB, StoredBlob
from corereg.store.condemned import OF_DIGEST, digest_of
from corereg.store.database import DatabaseError, Row, now
from corereg.store.schema import Schema, blob_links, blobs, manifest_members, manifests, repositories, tags, uploads
from corereg.store.scopes import among
from corereg.store.storage import BLOBS, KeyMissing, Stat, StorageError
from corereg.store.upload_rows import ENDED
from corereg.store.work import Work

Mend = Callable[[], Awaitable[list[str]]]

SECOND = 1_000_000
MANIFESTS, ROWS = 200, 2000
"""Rows of one page; a manifest's has its body."""
TOLD = 10_000
"""Findings that are kept for the answer; all of them are logged and counted."""


class FsckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to check. `rehash` reads every blob, `rate` bytes a second at most. `repair` mends what can be mended, and
    keeps corrupt bytes in the folder `quarantine`.
    """

    rehash: bool = False
    rate: int | None = None
    repair: bool = False
    quarantine: Path | None = None


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be. `state` is what became of it."""

    kind: str
    where: str
    message: str
    state: Literal["found", "repaired", "failed"] = "found"


class Checked(msgspec.Struct, kw_only=True):
    """What a check came to: how much was looked at, problems by kind, and notes: what is harmless, by kind.

    `rows` counts those of the plugins' tables. `unrepaired` is how many problems are left.
    """

    blobs: int = 0
    manifests: int = 0
    size: int = 0
    rehashed: int = 0
    problems: dict[str, int] = {}
    notes: dict[str, int] = {}
    orphaned_size: int = 0
    rows: dict[str, int] = {}
    findings: list[Finding] = []
    unrepaired: int = 0


async def fsck(
    house: House, session: Session, schemas: Sequence[Schema], work: Work, options: FsckOptions | None = None
) -> Checked:
    """Check everything. Raises Stopped, StorageError, DatabaseError."""
    return await _Check(house, session, schemas, work, options or FsckOptions()).run()


class _Check:
    """One run."""

    def __init__(
        self, house: House, session: Session, schemas: Sequence[Schema], work: Work, options: FsckOptions
    ) -> None:
        self.house = house
        self.database = house.database
        self.storage = house.storage
        self.schemas = schemas
        self.work = work
        self.options = options
        self.rate = Rate(options.rate)
        self.repair = Repair(house, session, options.quarantine)
        self.found = Checked()
        self.problems: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.young = now() / SECOND - house.gc.grace
        self.names: dict[int, str] = {}

    async def run(self) -> Checked:
        await self._check_blobs()
        await self._check_manifests()
        await self._check_members()
        await self._check_pointers()
        await self._check_uploads()
        await self._count_plugins()
        self.found.problems = dict(sorted(self.problems.items()))
        self.found.notes = dict(sorted(self.notes.items()))
        return self.found

    async def problem(self, kind: str, where: str, message: str, mend: Mend | None = None) -> None:
        """Tell, and mend it where that is wanted and possible: `mend` says in lines what it did."""
        self.problems[kind] += 1
        state: Literal["found", "repaired", "failed"] = "found"
        if self.options.repair and mend is not None:
            try:
                for line in await mend():
                    self.work.log(f"{where}: {line}")
                state = "repaired"
            except (OCIError, StorageError, DatabaseError, OSError) as error:
                message = f"{message}; it could not be mended: {getattr(error, 'message', None) or error}"
                state = "failed"
        self.found.unrepaired += state != "repaired"
        self.work.log(f"{where}: {message}" + (" (repaired)" if state == "repaired" else ""))
        if len(self.found.findings) < TOLD:
            self.found.findings.append(Finding(kind, where, message, state))

    # ---- blobs ----

    async def _check_blobs(self) -> None:
        for algorithm, length in ALGORITHMS.items():
            if algorithm != SHA256 and not await self._has_any(algorithm):
                continue
            for number in range(256):
                await self.work.check()
                await self.work.progress(f"blobs ({algorithm})", number, 256, self.found.size)
                await self._check_shard(algorithm, f"{number:02x}", length)
            await self.work.progress(f"blobs ({algorithm})", 256, 256, self.found.size)

    async def _has_any(self, algorithm: str) -> bool:
        if await self.database.row(sa.select(blobs.c.digest).where(_between(f"{algorithm}:")).limit(1)) is not None:
            return True
        async with aclosing(self.storage.list(f"{BLOBS}{algorithm}/")) as keys:
            async for _ in keys:
                return True
        return False

    async def _check_shard(self, algorithm: str, digits: str, length: int) -> None:
        rows = await self.database.rows(
            sa.select(blobs.c.digest, blobs.c.size, blobs.c.storage_key).where(_between(f"{algorithm}:{digits}"))
        )
        known = {row[0]: StoredBlob(row[0], row[1], row[2]) for row in rows}
        self.found.blobs += len(known)
        strange: list[Stat] = []
        seen: dict[str, int] = {}
        async with aclosing(self.storage.list(f"{BLOBS}{algorithm}/{digits}/")) as keys:
            async for stat in keys:
                digest = digest_of(stat.key)
                if digest is not None and digest in known and known[digest].key == stat.key:
                    seen[digest] = stat.size
                else:
                    strange.append(stat)
        await self._check_strange(strange)
        absent = [blob for digest, blob in known.items() if digest not in seen]
        for blob, found in zip(absent, await parallel(self._stat, absent), strict=True):
            if found is not None:
                seen[blob.digest] = found.size
            else:
                await self._missing(blob)
        for digest, size in seen.items():
            self.found.size += size
            await self._check_bytes(known[digest], size)

    async def _stat(self, blob: StoredBlob) -> Stat | None:
        return await self.storage.stat(blob.key)

    async def _still(self, blob: StoredBlob) -> bool:
        """Whether the row says the same as before, and nobody is deleting the bytes."""
        row = await self.database.row(STORED_BLOB, digest=blob.digest)
        return (
            row is not None and StoredBlob(*row) == blob and not await self.database.rows(OF_DIGEST, digest=blob.digest)
        )

    async def _missing(self, blob: StoredBlob) -> None:
        if await self.storage.stat(blob.key) is None and await self._still(blob):
            await self.problem(
                "bytes-missing",
                blob.digest,
                f"there are no bytes under {blob.key}, and {blob.size} there should be",
                lambda: self.repair.forget(blob),
            )

    async def _check_bytes(self, blob: StoredBlob, size: int) -> None:
        if size != blob.size:
            if await self._still(blob):
                message = f"{size} bytes lie under {blob.key}, and the row says {blob.size}"
                await self.problem("size", blob.digest, message, lambda: self._mend_size(blob, size))
        elif self.options.rehash:
            self.found.rehashed += 1
            try:
                right = await self.digest_of(blob) == blob.digest
            except KeyMissing:
                await self._missing(blob)
                return
            if not right and await self._still(blob):
                message = f"the bytes under {blob.key} have another digest"
                await self.problem("corrupt", blob.digest, message, lambda: self.repair.put_away(blob))
            await self.work.check()
            await self.work.progress("digests", self.found.rehashed, None, self.rate.passed)

    async def digest_of(self, blob: StoredBlob) -> str:
        """The digest of what lies under the blob's key."""
        algorithm = blob.digest.partition(":")[0]
        running = hasher(algorithm)
        async with aclosing(self.storage.read(blob.key)) as pieces:
            async for piece in pieces:
                running.update(piece)
                await self.rate.pause(len(piece))
        return f"{algorithm}:{running.hexdigest()}"

    async def _mend_size(self, blob: StoredBlob, size: int) -> list[str]:
        if await self.digest_of(blob) == blob.digest:
            return await self.repair.correct_size(blob, size)
        return await self.repair.put_away(blob)

    async def _check_strange(self, strange: Sequence[Stat]) -> None:
        """Bytes that no row of the shard knows: pushed a moment ago, or the collector's to take."""
        old = [stat for stat in strange if stat.modified is None or stat.modified < self.young]
        self.notes["young bytes without a row"] += len(strange) - len(old)
        keys = [stat.key for stat in old]
        rows = await self.database.rows(
            sa.select(blobs.c.storage_key).where(
                among(self.database, blobs.c.digest, [digest for key in keys if (digest := digest_of(key))])
            )
        )
        rows_now = {row[0] for row in rows}
        orphans = [stat for stat in old if stat.key not in rows_now]
        self.notes["bytes without a row"] += len(orphans)
        self.found.orphaned_size += sum(stat.size for stat in orphans)

    # ---- manifests ----

    async def _pages(
        self, select: sa.Select[Any], keys: Sequence[sa.ColumnElement[Any]], size: int, phase: str
    ) -> AsyncGenerator[Sequence[Row]]:
        done = 0
        async with aclosing(pages(self.database, select, keys, size)) as found:
            async for rows in found:
                await self.work.check()
                yield rows
                done += len(rows)
                await self.work.progress(phase, done)

    async def _check_manifests(self) -> None:
        keys = (manifests.c.repository_id, manifests.c.digest)
        select = sa.select(*keys, manifests.c.media_type, manifests.c.size, manifests.c.subject, manifests.c.body)
        async for rows in self._pages(select, keys, MANIFESTS, "manifests"):
            members = await self._members_of(rows)
            for row in rows:
                self.found.manifests += 1
                await self._check_manifest(row, members.get((row[0], row[1]), set()))

    async def _members_of(self, rows: Sequence[Row]) -> Mapping[tuple[int, str], set[str]]:
        found: dict[tuple[int, str], set[str]] = {}
        columns = (manifest_members.c.repository_id, manifest_members.c.digest, manifest_members.c.member)
        wanted = sa.and_(
            among(self.database, manifest_members.c.digest, sorted({row[1] for row in rows})),
            manifest_members.c.repository_id.between(rows[0][0], rows[-1][0]),
        )
        for repository_id, digest, member in await self.database.rows(sa.select(*columns).where(wanted)):
            found.setdefault((repository_id, digest), set()).add(member)
        return found

    async def _check_manifest(self, row: Row, members: set[str]) -> None:
        repository_id, digest, media_type, size, subject, body = row
        where = f"{await self._name(repository_id)}@{digest}"
        if str(Digest.of(body, digest.partition(":")[0])) != digest:
            await self.problem("manifest", where, "the manifest's bytes have another digest: push the image again")
            return
        try:
            manifest = Manifest.parse(body, media_type)
        except OCIError as error:
            await self.problem("manifest", where, f"the manifest would not be taken today: {error.message}")
            return
        if size != len(body) or subject != (str(manifest.subject.digest) if manifest.subject else None):
            await self.problem("manifest", where, "size or subject in its row are not those of its bytes")
        wanted = {str(each.digest) for each in (*manifest.blobs, *manifest.children)}
        if not wanted <= members:
            message = f"{len(wanted - members)} of its members are not in its rows"
            await self.problem(
                "member-row", where, message, lambda: self.repair.add_members(repository_id, digest, manifest)
            )

    async def _name(self, repository_id: int) -> str:
        if repository_id not in self.names:
            if len(self.names) > ROWS:
                self.names.clear()
            row = await self.database.row(sa.select(repositories.c.name).where(repositories.c.id == repository_id))
            self.names[repository_id] = row[0] if row else f"repository {repository_id}"
        return self.names[repository_id]

    async def _check_members(self) -> None:
        m, child = manifest_members, manifests.alias("child")
        keys = (m.c.repository_id, m.c.member, m.c.digest)
        select = sa.select(*keys, m.c.kind, blob_links.c.digest, blobs.c.digest, child.c.digest).select_from(
            m.outerjoin(
                blob_links, sa.and_(blob_links.c.repository_id == m.c.repository_id, blob_links.c.digest == m.c.member)
            )
            .outerjoin(blobs, blobs.c.digest == m.c.member)
            .outerjoin(child, sa.and_(child.c.repository_id == m.c.repository_id, child.c.digest == m.c.member))
        )
        async for rows in self._pages(select, keys, ROWS, "members"):
            for row in rows:
                if row[4 if row[3] == "blob" else 6] is None and await self._still_named(row):
                    await self._check_member(row)

    async def _still_named(self, row: Row) -> bool:
        m = manifest_members
        same = sa.and_(m.c.repository_id == row[0], m.c.member == row[1], m.c.digest == row[2])
        return await self.database.row(sa.select(m.c.kind).where(same)) is not None

    async def _check_member(self, row: Row) -> None:
        repository_id, member, digest, kind, _, stored, _ = row
        name = await self._name(repository_id)
        where = f"{name}@{digest}"
        if kind == "blob" and stored is not None:
            message = f"{name} does not serve the blob {member}, which is stored"
            await self.problem("unlinked", where, message, lambda: self.repair.link(name, member))
        elif self.house.protocol.allow_sparse:
            self.notes["members that are not here (allow_sparse)"] += 1
        else:
            await self.problem("member-missing", where, f"the {kind} {member} is not here: push the image again")

    # ---- what points at something ----

    async def _check_pointers(self) -> None:
        same = sa.and_(manifests.c.repository_id == tags.c.repository_id, manifests.c.digest == tags.c.digest)
        keys: tuple[sa.ColumnElement[Any], ...] = (tags.c.repository_id, tags.c.name)
        select: sa.Select[Any] = sa.select(*keys, tags.c.digest, manifests.c.digest).select_from(
            tags.outerjoin(manifests, same)
        )
        async for rows in self._pages(select, keys, ROWS, "tags"):
            for repository_id, name, digest, found in rows:
                if found is None and await self.house.catalog.repository_id(await self._name(repository_id)):
                    where = f"{await self._name(repository_id)}:{name}"
                    await self.problem("tag", where, f"points at {digest}, which is not here")
        keys = (blob_links.c.repository_id, blob_links.c.digest)
        columns: list[Any] = [*keys, blobs.c.digest]
        select = sa.select(*columns).select_from(blob_links.outerjoin(blobs, blobs.c.digest == blob_links.c.digest))
        async for rows in self._pages(select, keys, ROWS, "links"):
            for repository_id, digest, found in rows:
                if found is None:
                    await self.problem("link", await self._name(repository_id), f"serves {digest}, which has no row")
        subject = manifests.alias("subject")
        nowhere = sa.select(sa.func.count()).select_from(
            manifests.outerjoin(
                subject,
                sa.and_(subject.c.repository_id == manifests.c.repository_id, subject.c.digest == manifests.c.subject),
            )
        )
        row = await self.database.row(nowhere.where(manifests.c.subject.is_not(None), subject.c.digest.is_(None)))
        self.notes["referrers whose subject is not here"] += row[0] if row else 0

    # ---- uploads, plugins ----

    async def _check_uploads(self) -> None:
        await self.work.progress("uploads", 0)
        columns = (uploads.c.id, uploads.c.repository, uploads.c.subject, uploads.c.received, uploads.c.updated_at)
        idle = sa.select(*columns).where(uploads.c.received > 0, uploads.c.stored_key.is_(None), ENDED)
        rows = await self.database.rows(idle, **self.house.uploads.moment())
        if not rows:
            return
        async with aclosing(self.storage.uploads()) as found:
            there = {stat.key async for stat in found}
        for upload, repository, subject, received, updated in rows:
            again = sa.select(uploads.c.updated_at).where(uploads.c.id == upload)
            row = None if upload in there else await self.database.row(again)
            if row is not None and row[0] == updated:
                message = f"{received} bytes were received, and none are there; the client has to begin again"
                mend = partial(self._drop_upload, upload, repository, subject)
                await self.problem("upload", f"{repository} {upload}", message, mend)

    async def _drop_upload(self, upload: str, repository: str, subject: str) -> list[str]:
        await self.house.uploads.cancel(await self.house.uploads.find(upload, repository, subject))
        return []

    async def _count_plugins(self) -> None:
        for schema in self.schemas:
            if schema.name != "core":
                for table in schema.metadata.sorted_tables:
                    row = await self.database.row(sa.select(sa.func.count()).select_from(table))
                    self.found.rows[table.name] = row[0] if row else 0


def _between(prefix: str) -> sa.ColumnElement[bool]:
    """Digests that begin with the prefix, by the index."""
    return sa.and_(blobs.c.digest >= prefix, blobs.c.digest < f"{prefix}g")  # g follows the hexadecimal digits
