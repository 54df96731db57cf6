"""Cron expressions of six fields, seconds first, in UTC, as Harbor writes them: ``0 0 3 * * *`` is daily at three."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from cronsim import CronSim, CronSimError

SECOND = 1_000_000
FORMS = {"Hourly": "0 0 * * * *", "Daily": "0 0 0 * * *", "Weekly": "0 0 0 * * 0"}
"""What Harbor's schedule types mean."""
MACROS = {"@hourly": FORMS["Hourly"], "@daily": FORMS["Daily"], "@midnight": FORMS["Daily"], "@weekly": FORMS["Weekly"]}


class Cron:
    """A checked expression. Raises ValueError with a sentence for one that cannot be read or never comes."""

    def __init__(self, text: str) -> None:
        fields = MACROS.get(text.strip().lower(), text).replace("?", "*").split()
        if len(fields) != 6:
            message = f"a schedule has six fields (second minute hour day month weekday), {text!r} has {len(fields)}"
            raise ValueError(message)
        self.text = " ".join(fields)
        if self.after(0) is None:
            message = f"the schedule {text!r} never comes"
            raise ValueError(message)

    def after(self, time: int) -> int | None:
        """The first moment later than `time` (microseconds since 1970), or None."""
        return next(iter(self.next(time, 1)), None)

    def next(self, time: int, count: int) -> list[int]:
        """The next `count` moments after `time`; fewer where the expression comes to its end."""
        try:
            moments = CronSim(self.text, datetime.fromtimestamp(time / SECOND, UTC))
            return [int(moment.timestamp()) * SECOND for moment in islice(moments, count)]
        except CronSimError as error:
            message = f"the schedule {self.text!r} cannot be read: {error}"
            raise ValueError(message) from None
