"""Garbage collection beside everything else: nothing is locked for longer than one small batch.

What goes: manifests without a tag (when asked for), blobs that a repository serves for no manifest, blobs that no
repository serves, bytes that no row knows, what was deleted longer ago than it can be restored. What was pushed,
mounted, asked for or deleted within the grace period stays. Every batch is a change of its own: begun again after a
crash, the collection finds what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

import anyio
import anyio.lowlevel
import msgspec

from corereg.access import Action
from corereg.errors import BadRequest, Precondition
from corereg.oci.digest import Digest
from corereg.oci.errors import OCIError
from corereg.session.artifacts import Artifacts
from corereg.store.collector import Collector, DeadLink
from corereg.store.condemned import LONGEST_HOLD, Doomed
from corereg.store.database import DatabaseError, now
from corereg.store.storage import StorageError, shown
from corereg.store.work import Work

log = logging.getLogger(__name__)

SECOND = 1_000_000
BATCH = 100
"""Rows of one transaction."""
LISTED = 1000
"""So many things of a phase are named in the log, the rest is counted."""
COLLECT = Action("garbage-collection", "create")


class CollectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection shall do. `workers` and `grace` (seconds) None are the configuration's; with `dry_run` it only
    says what it would take. After `time_limit` seconds it stops by itself; the next one finds what is left.
    """

    dry_run: bool = False
    delete_untagged: bool = False
    workers: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    grace: Annotated[int, msgspec.Meta(ge=0)] | None = None
    time_limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Collected(msgspec.Struct):
    """What a collection has taken (of a dry run: would take). `size` are the bytes that the storage was freed of.

    `links` are blobs that a repository gave up, `blobs` those that were deleted with all their bytes, `orphans` bytes
    that no row knew, `left` what could not be taken and is tried again the next time. Not `complete`: the time limit
    ended it.
    """

    manifests: int = 0
    links: int = 0
    blobs: int = 0
    orphans: int = 0
    trash: int = 0
    uploads: int = 0
    size: int = 0
    left: int = 0
    complete: bool = True


class Collection(Artifacts):
    """What a session does as a collector."""

    __slots__ = ()

    async def collect(self, work: Work, options: CollectOptions | None = None) -> Collected:
        """Collect. Raises Stopped between two batches, Precondition while a backup holds everything."""
        await self.require(COLLECT)
        options = options or CollectOptions()
        round_ = _Round(self, work, options)
        return await round_.run()

    async def hold_collection(self, name: str, seconds: float) -> None:
        """Keep every blob for so long, for the sake of `name`; a running collection stops before its next batch.

        A week at most: whoever needs it longer asks again in time.
        """
        await self.require(COLLECT)
        if seconds * SECOND > LONGEST_HOLD:
            message = (
                f"a collection is held for {LONGEST_HOLD // SECOND} seconds at most; ask again before they are over"
            )
            raise BadRequest(message)
        async with self.change(self.operation("collection.hold", details={"name": name, "seconds": seconds})) as change:
            await self._collector.hold(change.tx, name, now() + int(seconds * SECOND))

    async def release_collection(self, name: str) -> None:
        """What `hold_collection` held may go again."""
        await self.require(COLLECT)
        async with self.change(self.operation("collection.release", details={"name": name})) as change:
            await self._collector.release(change.tx, name)

    @property
    def _collector(self) -> Collector:
        return Collector(self._house.database, self._house.storage)

    async def _unlink(self, repository_id: int, dead: Sequence[DeadLink], before: int) -> list[DeadLink]:
        """The repository serves these blobs no longer; those that it really gave up."""
        collector = self._collector
        repository = await collector.name(repository_id)
        if repository is None:
            return []
        async with self.change(self.operation("blob.unlink", repository=repository)) as change:
            await self._alone(change.tx, repository)
            gone = await collector.unlink(change.tx, repository_id, dead, before)
            change.describe(size=sum(each.size for each in gone), details={"blobs": len(gone)})
            change.counted = [
                self.operation("blob.delete", repository=repository, digest=each.digest, size=each.size)
                for each in gone
            ]
        return gone

    async def _condemn(self, candidates: Sequence[tuple[str, str, int]], before: int) -> list[Doomed]:
        sizes = {digest: size for digest, _, size in candidates}
        async with self.change(self.operation("blob.collect")) as change:
            doomed = await self._house.condemned.condemn(
                change.tx, [(digest, key) for digest, key, _ in candidates], before
            )
            size = sum(sizes[each.digest] for each in doomed if each.digest is not None)
            change.describe(size=size, details={"blobs": len(doomed)})
        return doomed

    async def _empty_trash(self, before: int) -> int:
        async with self.change(self.operation("trash.empty")) as change:
            dropped = await self._house.trash.empty(change.tx, before, BATCH)
            change.details["deleted"] = dropped
        return dropped

    async def _condemn_orphans(self, keys: Sequence[str]) -> list[Doomed]:
        async with self.change(self.operation("blob.collect", details={"orphans": True})) as change:
            found = [await self._house.condemned.condemn_orphan(change.tx, key) for key in sorted(keys)]
            doomed = [each for each in found if each is not None]
            change.describe(details={"blobs": len(doomed)})
        return doomed


class _OverTime(Exception):
    """The time limit is reached."""


class _Round:
    """One collection."""

    def __init__(self, session: Collection, work: Work, options: CollectOptions) -> None:
        house = session._house  # noqa: SLF001 - the session's own other half
        self.session = session
        self.house = house
        self.work = work
        self.options = options
        self.collector = Collector(house.database, house.storage)
        grace = house.gc.grace if options.grace is None else options.grace
        kept = grace if house.gc.keep_deleted is None else house.gc.keep_deleted
        at = now()
        self.before = at - grace * SECOND
        self.deleted_before = at - kept * SECOND
        self.until = None if options.time_limit is None else at + options.time_limit * SECOND
        self.listed = 0
        self.workers = anyio.CapacityLimiter(options.workers or house.gc.workers)
        self.found = Collected()

    async def run(self) -> Collected:
        try:
            await self._phases()
        except _OverTime:
            self.found.complete = False
            self.work.log("the time is over; the next collection goes on with what is left")
        found = self.found
        self.work.log(
            f"{'would take' if self.options.dry_run else 'took'} {found.manifests} untagged manifests, "
            f"{found.links} blobs out of repositories, {found.blobs} blobs and {found.orphans} orphans "
            f"({found.size} bytes) out of the storage, {found.trash} deleted things for good; {found.left} are left"
        )
        return found

    async def _phases(self) -> None:
        await self._check()
        if not self.options.dry_run:
            purged = await self.house.uploads.purge()
            self.found.uploads, self.found.left = purged.dropped, purged.left
            while left_over := await self.house.condemned.expired():
                await self._delete(left_over, "left over from a collection that was cut off")
                await self._check()
        phases = [self._links, self._blobs, self._orphans, self._trash]
        if self.options.delete_untagged:
            phases.insert(0, self._untagged)
        for phase in phases:
            self.listed = 0
            await phase()

    def _list(self, line: str) -> None:
        """Name one thing in the log, if it has not named too many."""
        self.listed += 1
        if self.listed <= LISTED:
            self.work.log(line)
        elif self.listed == LISTED + 1:
            self.work.log(f"more than {LISTED}; from here on they are only counted")

    async def _check(self) -> None:
        await self.work.check()
        if self.until is not None and now() >= self.until:
            raise _OverTime
        held = await self.collector.held()
        if held is not None:
            message = f"nothing is collected while {held} holds everything; try again later"
            raise Precondition(message)

    async def _told(self, phase: str, looked_at: int) -> None:
        await self.work.progress(phase, looked_at, None, self.found.size)
        await self._check()
        await anyio.lowlevel.checkpoint()  # pulls have their turn between two windows

    # ---- manifests ----

    async def _untagged(self) -> None:
        looked_at = 0
        async with aclosing(self.collector.untagged(self.before)) as windows:
            async for manifests, number in windows:
                for repository, digest in manifests:
                    await self._take_manifest(repository, digest)
                looked_at += number
                await self._told("untagged manifests", looked_at)

    async def _take_manifest(self, repository: str, digest: str) -> None:
        self._list(f"untagged: {repository}@{digest}")
        if not self.options.dry_run:
            try:
                await self.session.delete_artifact(
                    repository, Digest.parse(digest), only_untagged=True, before=self.before
                )
            except OCIError as error:  # a policy keeps it, or somebody was faster
                self.work.log(f"kept {repository}@{digest}: {error.message}")
                self.found.left += 1
                return
        self.found.manifests += 1

    # ---- blobs ----

    async def _links(self) -> None:
        looked_at = 0
        async with aclosing(self.collector.links(self.before)) as windows:
            async for repository_id, dead, number in windows:
                if self.options.dry_run:
                    await self._would_take(repository_id, dead)
                else:
                    for start in range(0, len(dead), BATCH):
                        await self._take_links(repository_id, dead[start : start + BATCH])
                looked_at += number
                if number:
                    await self._told("blobs of repositories", looked_at)

    async def _take_links(self, repository_id: int, dead: Sequence[DeadLink]) -> None:
        try:
            gone = await self.session._unlink(repository_id, dead, self.before)  # noqa: SLF001 - its own other half
        except OCIError as error:
            self.work.log(f"{len(dead)} blobs of repository {repository_id} stay there: {error.message}")
            self.found.left += len(dead)
            return
        self.found.links += len(gone)

    async def _would_take(self, repository_id: int, dead: Sequence[DeadLink]) -> None:
        """Of a dry run: the links, and the blobs whose last link is among them."""
        self.found.links += len(dead)
        for each in await self.collector.last_links(repository_id, dead, self.before):
            self._list(f"blob {each.digest}, {each.size} bytes")
            self.found.blobs += 1
            self.found.size += each.size

    async def _blobs(self) -> None:
        looked_at = 0
        async with aclosing(self.collector.blobs(self.before)) as windows:
            async for dead, number in windows:
                for start in range(0, len(dead), BATCH):
                    await self._take_blobs(dead[start : start + BATCH])
                looked_at += number
                await self._told("blobs", looked_at)

    async def _take_blobs(self, dead: Sequence[tuple[str, str, int]]) -> None:
        if self.options.dry_run:
            for digest, _, size in dead:
                self._list(f"blob {digest}, {size} bytes")
                self.found.size += size
            self.found.blobs += len(dead)
            return
        doomed = await self.session._condemn(dead, self.before)  # noqa: SLF001 - the session's own other half
        self.found.blobs += await self._delete(doomed)

    async def _orphans(self) -> None:
        if (key := await self.collector.foreign()) is not None:
            self.work.log(
                f"bytes that no row knows stay: the storage holds {shown(key)} and what else another registry keeps of "
                "its repositories; adopt it (corereg adopt), and remove that folder when there shall be no way back"
            )
            return
        looked_at = 0
        async with aclosing(self.collector.orphans(self.before)) as windows:
            async for keys, nameless, number in windows:
                for key in nameless:
                    self._list(f"{shown(key)} stays: its name is no text; remove it by hand if nobody needs it")
                self.found.left += len(nameless)
                for start in range(0, len(keys), BATCH):
                    await self._take_orphans(keys[start : start + BATCH])
                looked_at += number
                await self._told("bytes in the storage", looked_at)

    async def _take_orphans(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._list(f"no row knows {key}")
        if self.options.dry_run:
            self.found.orphans += len(keys)
            for key in keys:
                stat = await self.house.storage.stat(key)
                self.found.size += stat.size if stat else 0
            return
        doomed = await self.session._condemn_orphans(keys)  # noqa: SLF001 - the session's own other half
        self.found.orphans += await self._delete(doomed, younger_than=self.before)

    async def _delete(self, doomed: Sequence[Doomed], why: str = "", *, younger_than: int | None = None) -> int:
        """Delete the bytes, some at once; how many are gone. What a storage refuses is tried by the next collection."""
        gone = 0

        async def delete(each: Doomed) -> None:
            nonlocal gone
            async with self.workers:
                try:
                    size = await self.house.condemned.delete(each, younger_than=younger_than)
                except (StorageError, DatabaseError) as error:
                    self._list(f"{each.key} is left for the next collection: {error}")
                    self.found.left += 1
                    return
            if size is None:
                return
            if why:
                self._list(f"{each.key}: {why}")
            gone += 1
            self.found.size += size

        async with anyio.create_task_group() as group:
            for each in doomed:
                group.start_soon(delete, each)
        return gone

    # ---- trash ----

    async def _trash(self) -> None:
        if self.options.dry_run:
            self.found.trash = await self.house.trash.count(self.deleted_before)
            return
        while await self.house.trash.count(self.deleted_before):
            dropped = await self.session._empty_trash(self.deleted_before)  # noqa: SLF001 - its own other half
            self.found.trash += dropped
            await self._told("deleted things", self.found.trash)
