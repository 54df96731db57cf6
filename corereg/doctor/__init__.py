"""`corereg doctor`: looks at everything an installation stands on, and says what to do. It changes nothing."""

from __future__ import annotations

from corereg.doctor.run import Told, diagnose, worst

__all__ = ["Told", "diagnose", "worst"]
