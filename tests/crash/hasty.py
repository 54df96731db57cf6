"""A plugin that makes the leases of what is being deleted small, so that what a death leaves is finished soon."""

from __future__ import annotations

from corereg import Operation, hookimpl
from corereg.store import condemned

condemned.LEASE, condemned.MARGIN, condemned.ONE = 2_000_000, 500_000, 500_000


@hookimpl
async def admit(operation: Operation) -> None:
    """Whoever is a plugin has a hook."""
