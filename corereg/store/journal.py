"""The journal: what happened, written once inside the change's own transaction, read by many.

Each reader (a plugin with an `observe` hook) has a cursor in the database. A reader is served by one process at a time
(a lease), in order of serials, at least once: a failed `observe` is tried again after a growing pause and holds back
that reader alone. While a process delivers it extends its lease and moves the cursor every few seconds; it stops when
another one has taken over.

Frequent, harmless events (pulls, refusals, failed sign-ins) are gathered in memory and written every few seconds with a
count; a crash loses those last seconds, and nothing else.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.events import Event
from corereg.store.database import Database, DatabaseError, Query, Row, Transaction, ValueRefused, now, plain
from corereg.store.schema import journal, journal_cursors

log = logging.getLogger(__name__)

SECOND = 1_000_000
BATCH = 200
LEASE = 30 * SECOND
EXTENSIONS = 6
"""How often a lease is extended, while its reader is at work, before it would end."""
LONGEST_EVENT = 600.0
"""Seconds a reader may take over one event until other processes may try, in case this one hangs."""
LONGEST_PAUSE = 300.0
CHANNEL = "corereg journal"
SETTLE = 0.05
"""Seconds a reader lets more events come after the first: under load it then reads many at once."""
GATHERED_AT_MOST = 10_000
"""Different gathered events kept between two writes; beyond that new ones are counted together, without details."""

Observer = Callable[[Event], Awaitable[None]]

_details = msgspec.json.Encoder()

APPEND = Query(
    sa.insert(journal).values(
        time=bindparam("time"),
        kind=bindparam("kind"),
        actor=bindparam("actor"),
        subject=bindparam("subject"),
        repository=bindparam("repository"),
        digest=bindparam("digest"),
        count=bindparam("count"),
        details=bindparam("details"),
    )
)
NEWER = Query(
    sa.select(
        journal.c.serial,
        journal.c.time,
        journal.c.kind,
        journal.c.actor,
        journal.c.subject,
        journal.c.repository,
        journal.c.digest,
        journal.c.count,
        journal.c.details,
    )
    .where(journal.c.serial > bindparam("serial"))
    .order_by(journal.c.serial)
    .limit(bindparam("limit", type_=sa.Integer))
)

_reader = journal_cursors.c.reader == bindparam("name")
CURSOR = Query(sa.select(journal_cursors.c.serial).where(_reader))
BEHIND = Query(
    sa.select(journal_cursors.c.serial).where(
        _reader, journal_cursors.c.serial < sa.select(sa.func.max(journal.c.serial)).scalar_subquery()
    )
)
CLAIM = Query(
    sa.update(journal_cursors)
    .where(
        _reader,
        sa.or_(
            journal_cursors.c.leased_until < bindparam("at"),
            journal_cursors.c.leased_until > bindparam("unlikely"),
            journal_cursors.c.owner == bindparam("me"),
        ),
    )
    .values(owner=bindparam("me"), leased_until=bindparam("until"))
)
EXTEND = Query(
    sa.update(journal_cursors)
    .where(
        _reader,
        journal_cursors.c.owner == bindparam("me"),
        journal_cursors.c.serial <= bindparam("done"),  # never back, when the turn has ended meanwhile
    )
    .values(serial=bindparam("done"), leased_until=bindparam("until"))
)
RELEASE = Query(
    sa.update(journal_cursors)
    .where(_reader, journal_cursors.c.owner == bindparam("me"))
    .values(serial=bindparam("done"), leased_until=0)
)


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event before it has a serial. Hashable, so that equal ones can be counted."""

    kind: str
    actor: str
    subject: str
    repository: str | None = None
    digest: str | None = None
    tags: tuple[str, ...] = ()
    media_type: str | None = None
    size: int | None = None
    source: str | None = None
    address: str | None = None
    details: Any = None
    """A mapping of JSON values, or None; of a gathered event, which must be hashable, a tuple of pairs."""


class Turn:
    """One reader's events on their way: how far it has come, and what ends it when another process has taken over."""

    def __init__(self, cursor: int) -> None:
        self.done = cursor
        self.begun = time.monotonic()
        """When the event was begun that the reader is at."""
        self.scope = anyio.CancelScope()


class Journal:
    """Append and deliver."""

    def __init__(self, database: Database, *, batch: float = 2.0, keep: int = 90 * 86400) -> None:
        self.database = database
        self._batch = max(batch, SETTLE)  # 0, of a config made in Python, would keep a processor busy
        self._keep = keep
        self._gathered: Counter[Happening] = Counter()
        self._wake: dict[str, anyio.Event] = {}
        self._turns: dict[str, Turn] = {}
        self._news = anyio.Event()
        self._owner = f"{os.getpid()}-{secrets.token_hex(4)}"

    async def append(self, tx: Transaction, happening: Happening) -> None:
        """Write the event as part of `tx`; readers hear of it once that is committed."""
        await self.database.lock(tx, "corereg journal")  # on PostgreSQL serials then commit in order
        await tx.execute(APPEND, **_parameters(happening, 1))

    async def register(self, readers: Iterable[str]) -> None:
        """Give each new reader a cursor: it starts with what happens from now on."""
        known = {row[0] for row in await self.database.rows(sa.select(journal_cursors.c.reader))}
        newest = sa.select(sa.func.coalesce(sa.func.max(journal.c.serial), 0)).scalar_subquery()
        for reader in set(readers) - known:
            async with self.database.transaction() as tx:
                await tx.execute(
                    self.database.insert(journal_cursors)
                    .values(reader=reader, serial=newest, leased_until=0)
                    .on_conflict_do_nothing(index_elements=["reader"])
                )

    def committed(self) -> None:
        """Tell readers, here and in other processes, that something new is there."""
        self._wake_readers()
        self._news.set()

    def _wake_readers(self) -> None:
        for event in self._wake.values():
            event.set()

    def _heard(self, owner: str) -> None:
        if owner != self._owner:
            self._wake_readers()

    async def _tell_others(self) -> None:
        """Call out what was committed; once for all that came meanwhile, and outside their transactions, which would
        wait for one another (PostgreSQL commits those that notify one at a time).
        """
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            with suppress(DatabaseError):  # other processes also look by themselves
                await self.database.notify(CHANNEL, self._owner)
            await anyio.sleep(SETTLE)

    def gather(self, happening: Happening) -> None:
        """Count an event that need not be durable at once. Raises TypeError for details that JSON does not know."""
        if happening in self._gathered:
            self._gathered[happening] += 1
            return
        _parameters(happening, 1)  # here, where the culprit hears of it
        self._count(happening, 1)

    def _count(self, happening: Happening, count: int) -> None:
        if len(self._gathered) >= GATHERED_AT_MOST and happening not in self._gathered:
            happening = Happening(kind=happening.kind, actor="many", subject="many")
        self._gathered[happening] += count

    async def flush(self) -> None:
        """Write what was gathered. What the database cannot hold is left out, and holds up nothing else."""
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, Counter()
        waiting: list[Sequence[tuple[Happening, int]]] = [list(gathered.items())]
        try:
            while waiting:
                waiting[-1:] = await self._write(waiting[-1])
        except BaseException as error:  # cancelled while it waits for its turn, too: whoever stops it flushes once more
            self._put_back(waiting)
            if not isinstance(error, DatabaseError):
                raise
            log.warning("the journal keeps %d gathered events for later: %s", sum(map(len, waiting)), error)
            return
        self.committed()

    async def _write(self, events: Sequence[tuple[Happening, int]]) -> list[Sequence[tuple[Happening, int]]]:
        """Write the events together; the parts still to write, where the database refuses one among them."""
        try:
            with anyio.CancelScope() as commit:
                async with self.database.transaction() as tx:
                    await self.database.lock(tx, "corereg journal")
                    await tx.execute_many(APPEND, [_parameters(each, count) for each, count in events])
                    commit.shield = True  # cut from here on, nobody would know whether they are written
        except ValueRefused as error:
            middle = len(events) // 2
            if middle:
                return [events[middle:], events[:middle]]
            happening, count = events[0]
            log.error("the journal leaves out %s of %r (%d times): %s", happening.kind, happening.actor, count, error)  # noqa: TRY400 - the traceback says no more
        return []

    def _put_back(self, waiting: Iterable[Sequence[tuple[Happening, int]]]) -> None:
        """Gather the events again: before those that came meanwhile, which are counted together beyond the bound."""
        newer, self._gathered = self._gathered, Counter()
        for events in (*waiting, newer.items()):
            for happening, count in events:
                self._count(happening, count)

    async def run(self, observers: Mapping[str, Observer]) -> None:
        """Flush, and deliver to observers that are registered, until cancelled."""
        async with anyio.create_task_group() as group:
            await self.database.listen(CHANNEL, self._heard)
            group.start_soon(self._flush_often)
            group.start_soon(self._tell_others)
            group.start_soon(self._keep_turns)
            for reader, observer in observers.items():
                self._wake[reader] = anyio.Event()
                group.start_soon(self._serve, reader, observer)

    async def _flush_often(self) -> None:
        while True:
            await anyio.sleep(self._batch)
            try:
                await self.flush()
            except Exception:
                log.exception("gathered events could not be written, and will be tried again")

    async def _serve(self, reader: str, observer: Observer) -> None:
        failures = 0
        while True:
            try:
                progressed = await self._deliver(reader, observer)
                failures = 0
            except Exception as error:  # noqa: BLE001 - one broken reader ends neither the others nor itself
                failures += 1
                log.warning("%s could not observe (attempt %d): %s: %s", reader, failures, type(error).__name__, error)
                await anyio.sleep(min(2.0 ** min(failures, 10), LONGEST_PAUSE))
                continue
            if not progressed:
                with anyio.move_on_after(self._batch):  # another process's events may arrive without a wake-up
                    await self._wake[reader].wait()
                    await anyio.sleep(SETTLE)
                self._wake[reader] = anyio.Event()

    async def _deliver(self, reader: str, observer: Observer) -> bool:
        """Hand the next events to the observer; whether there were any."""
        if await self.database.row(BEHIND, name=reader) is None:
            return False
        cursor = await self._claim(reader)
        if cursor is None:
            return False
        turn = self._turns[reader] = Turn(cursor)
        try:
            with turn.scope:
                for row in await self.database.rows(NEWER, serial=cursor, limit=BATCH):
                    turn.begun = time.monotonic()
                    await observer(_event(row))
                    turn.done = row[0]
        finally:
            del self._turns[reader]
            with anyio.CancelScope(shield=True):
                await self._release(reader, turn.done)
        if turn.scope.cancelled_caught:
            log.warning("another process goes on with what %s observes", reader)
        return turn.done > cursor

    async def _claim(self, reader: str) -> int | None:
        """The cursor, if no other process is serving this reader."""
        at = now()
        # A lease that lies further ahead than any that is given was given by a clock that was wrong. Twice as far, for
        # clocks of nodes differ a little.
        claimed = await self.database.execute(
            CLAIM, name=reader, me=self._owner, at=at, until=at + LEASE, unlikely=at + 2 * LEASE
        )
        row = await self.database.row(CURSOR, name=reader) if claimed else None
        return row[0] if row else None

    async def _keep_turns(self) -> None:
        """A batch may take longer than a lease: extend it in good time, and write down how far its reader has come."""
        while True:
            await anyio.sleep(LEASE / SECOND / EXTENSIONS)
            for reader, turn in list(self._turns.items()):
                try:
                    await self._extend(reader, turn)
                except Exception as error:  # noqa: BLE001 - tried again soon; at worst another process takes over
                    log.warning("the lease of %s was not extended: %s: %s", reader, type(error).__name__, error)

    async def _extend(self, reader: str, turn: Turn) -> None:
        slow = time.monotonic() - turn.begun > LONGEST_EVENT
        until = 0 if slow else now() + LEASE
        if not await self.database.execute(EXTEND, name=reader, me=self._owner, done=turn.done, until=until):
            turn.scope.cancel()

    async def _release(self, reader: str, serial: int) -> None:
        await self.database.execute(RELEASE, name=reader, me=self._owner, done=serial)

    async def prune(self) -> int:
        """Drop events older than the config keeps, but none that a reader has still to see; how many."""
        behind = sa.select(sa.func.min(journal_cursors.c.serial)).scalar_subquery()
        async with self.database.transaction(durable=False) as tx:
            return await tx.execute(
                sa.delete(journal).where(
                    journal.c.time < now() - self._keep * SECOND,
                    sa.or_(behind.is_(None), journal.c.serial <= behind),
                )
            )

    async def behind(self) -> dict[str, tuple[int, float]]:
        """How far each reader is behind: in events, and the age in seconds of the first that it has not seen."""
        newest = sa.select(sa.func.coalesce(sa.func.max(journal.c.serial), 0)).scalar_subquery()
        oldest = (
            sa.select(journal.c.time)
            .where(journal.c.serial > journal_cursors.c.serial)
            .order_by(journal.c.serial)
            .limit(1)
            .correlate(journal_cursors)
            .scalar_subquery()
        )
        rows = await self.database.rows(sa.select(journal_cursors.c.reader, newest - journal_cursors.c.serial, oldest))
        at = now()
        return {
            reader: (max(0, int(count)), 0.0 if time is None else max(0.0, (at - time) / SECOND))
            for reader, count, time in rows
        }

    async def events(self, *, after: int = 0, limit: int = 100) -> list[Event]:
        """Events with a serial above `after`, oldest first."""
        return [_event(row) for row in await self.database.rows(NEWER, serial=after, limit=limit)]


def _parameters(happening: Happening, count: int) -> dict[str, Any]:
    details = {
        name: value
        for name in ("tags", "media_type", "size", "source", "address", "details")
        if (value := getattr(happening, name)) is not None and value != ()
    }
    if isinstance(happening.details, tuple):
        details["details"] = dict(happening.details)
    return {
        "time": now(),
        "kind": plain(happening.kind),
        "actor": plain(happening.actor),
        "subject": plain(happening.subject),
        "repository": None if happening.repository is None else plain(happening.repository),
        "digest": None if happening.digest is None else plain(happening.digest),
        "count": count,
        "details": _encoded(details),
    }


def _encoded(details: Mapping[str, Any]) -> str:
    """As JSON, without what a reader could not keep in turn."""
    try:
        text = _details.encode(details).decode()
    except UnicodeEncodeError:  # half a character
        text = "\\u0000"
    if "\\u0000" not in text:
        return text
    return _details.encode(_plain(msgspec.to_builtins(details, str_keys=True))).decode()


def _plain(value: Any) -> Any:
    """JSON's values, with all texts `plain`."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value


def _event(row: Row) -> Event:
    serial, time, kind, actor, subject, repository, digest, count, details = row
    more: dict[str, Any] = msgspec.json.decode(details)
    more["tags"] = tuple(more.get("tags", ()))
    return Event(
        serial=serial,
        time=time,
        kind=kind,
        actor=actor,
        subject=subject,
        repository=repository,
        digest=digest,
        count=count,
        **more,
    )
