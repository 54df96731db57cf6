"""Counts changes of rights per subject, so that what was handed out before can be told from what was handed out after.

Every process reads the new rows at most once a second. A token or a cached sign-in carries the serial that was known
when its rights were read; a later change of its subject, of one of its groups or of everybody (``*``) makes it stale:
its grants are asked anew. A revocation makes it worthless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable

import anyio
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.store.database import Database, Query, Transaction
from corereg.store.schema import rights_changes

log = logging.getLogger(__name__)

EVERYBODY = "*"
KEYS = "keys"
"""The subject that changes when the keys that sign tokens do; `revoke`: old ones are not believed any more."""
INTERVAL = 1.0
"""Seconds between two looks at the database."""

NEWER = Query(
    sa.select(rights_changes.c.subject, rights_changes.c.serial, rights_changes.c.revoked).where(
        rights_changes.c.serial > bindparam("serial")
    )
)


class Rights:
    """What this process knows of changes of rights."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.serial = 0
        """The newest change this process knows of."""
        self._changed: dict[str, int] = {}
        self._revoked: dict[str, int] = {}
        self._read_at = -INTERVAL
        self._reading = anyio.Lock(fast_acquire=True)
        self.on_change: dict[str, Callable[[], Awaitable[None]]] = {}
        """What is called when a subject that is no person (the keys, the settings) was changed, here or elsewhere; and,
        when it raises, again at every later look until it does not."""
        self.unapplied: set[str] = set()
        """Those subjects whose last change has not been applied here."""

    async def refresh(self, *, now: bool = False) -> None:
        """Learn of new changes, if the last look is more than a second ago or `now` is asked."""
        if not now and not self.due():
            return
        async with self._reading:
            if now or self.due():  # not when somebody else looked while this one waited
                await self._read()

    async def _read(self) -> None:
        clock = time.monotonic()
        rows = await self.database.rows(NEWER, serial=self.serial)
        newest = self.serial
        for subject, serial, revoked in rows:
            self._changed[subject] = serial
            self._revoked[subject] = revoked
            newest = max(newest, serial)
        await self._apply({row[0] for row in rows} & self.on_change.keys())
        self._read_at = clock
        # Last, when all of it is applied: whoever is stamped with this serial has been checked against all of it.
        self.serial = max(self.serial, newest)

    async def _apply(self, changed: set[str]) -> None:
        """Tell of what changed. Whatever that raises, the rights of persons are not to wait for it."""
        failed = self.unapplied - changed
        self.unapplied |= changed
        for subject in [each for each in self.on_change if each in self.unapplied]:
            try:
                await self.on_change[subject]()
            except Exception as error:
                if subject not in failed:  # once: it is tried every second
                    log.exception("a change of the %s could not be applied, and will be tried again", subject)
                else:
                    log.debug("a change of the %s could still not be applied: %s", subject, error)
            else:
                self.unapplied.discard(subject)

    def due(self) -> bool:
        """Whether `refresh` would look at the database."""
        return time.monotonic() - self._read_at >= INTERVAL

    def stale(self, subject: str, groups: Iterable[str], serial: int) -> bool:
        """Whether rights that were read at `serial` may have changed since."""
        if self.serial <= serial:
            return False
        changed = self._changed
        return (
            changed.get(subject, 0) > serial
            or changed.get(EVERYBODY, 0) > serial
            or any(changed.get(group, 0) > serial for group in groups)
        )

    def revoked(self, subject: str, serial: int) -> bool:
        """Whether what was handed out at `serial` must not be believed any more."""
        return self.serial > serial and max(self._revoked.get(subject, 0), self._revoked.get(EVERYBODY, 0)) > serial

    async def revoked_in(self, tx: Transaction, subject: str, serial: int) -> bool:
        """`revoked`, as `tx` sees it: this process may not have heard of the newest revocation yet."""
        newer = sa.select(rights_changes.c.serial).where(
            rights_changes.c.subject.in_((subject, EVERYBODY)), rights_changes.c.revoked > serial
        )
        return await tx.row(newer) is not None

    async def change(self, tx: Transaction, subjects: Iterable[str], *, revoke: bool) -> None:
        """Record inside `tx` that the subjects' rights change, or that what they hold is revoked."""
        await self.database.lock(tx, "corereg rights")  # serials commit in order, so no reader skips one
        for subject in dict.fromkeys(subjects):
            row = await tx.row(sa.select(sa.func.coalesce(sa.func.max(rights_changes.c.serial), 0)))
            serial = int(row[0] if row else 0) + 1
            insert = self.database.insert(rights_changes).values(
                subject=subject, serial=serial, revoked=serial if revoke else 0
            )
            updated = {"serial": serial} | ({"revoked": serial} if revoke else {})
            await tx.execute(insert.on_conflict_do_update(index_elements=["subject"], set_=updated))
