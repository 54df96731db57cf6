"""Keep the collector away while something is read that it might take."""

from __future__ import annotations

import sqlalchemy as sa

from corereg.session import House, Session
from corereg.store.database import now
from corereg.store.schema import collector_holds

SECOND = 1_000_000


class Hold:
    """Nothing is collected for `seconds` from each `renew` on, or until `release`, for the sake of `name`."""

    def __init__(self, house: House, session: Session, name: str, seconds: int) -> None:
        self._house = house
        self._session = session
        self.name = name
        self.until = 0
        self._seconds = seconds

    async def renew(self) -> None:
        """Begin it, or go on, if a third of its time is over."""
        at = now()
        if self.until - at > self._seconds * SECOND * 2 // 3:
            return
        until = at + self._seconds * SECOND
        details = {"name": self.name, "seconds": self._seconds}
        async with self._session.change(self._session.operation("collection.hold", details=details)) as change:
            new = change.tx.insert(collector_holds).values(name=self.name, until=until)
            await change.tx.execute(
                new.on_conflict_do_update(index_elements=["name"], set_={"until": new.excluded.until})
            )
        self.until = until

    async def release(self) -> None:
        """The collector may go on."""
        details = {"name": self.name}
        async with self._session.change(self._session.operation("collection.release", details=details)) as change:
            await change.tx.execute(sa.delete(collector_holds).where(collector_holds.c.name == self.name))
        self.until = 0
