"""Keep the collector away while something is read that it might take."""

from __future__ import annotations

from corereg.session import Session
from corereg.store.database import now

SECOND = 1_000_000


class Hold:
    """Nothing is collected for `seconds` from each `renew` on, or until `release`, for the sake of `name`."""

    def __init__(self, session: Session, name: str, seconds: int) -> None:
        self._session = session
        self.name = name
        self.until = 0
        self._seconds = seconds

    async def renew(self) -> None:
        """Begin it, or go on, if a third of its time is over, or the clock was set back: then it may count as none."""
        at = now()
        whole = self._seconds * SECOND
        if not whole * 2 // 3 <= self.until - at <= whole:
            await self._session.hold_collection(self.name, self._seconds)
            self.until = at + self._seconds * SECOND

    async def release(self) -> None:
        """The collector may go on."""
        await self._session.release_collection(self.name)
        self.until = 0
