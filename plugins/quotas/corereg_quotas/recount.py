"""The job `QUOTA_REFRESH`: `corereg quota reconcile` on a server, for whoever has no shell there."""

from __future__ import annotations

from typing import Any

import msgspec

from corereg import Task
from corereg_quotas.quotas import Quotas
from corereg_quotas.reconcile import reconcile

KIND = "QUOTA_REFRESH"


class RecountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """With `check` nothing is changed: the log says what is wrong."""

    check: bool = False


async def recount(quotas: Quotas, task: Task) -> dict[str, Any]:
    """Compare every counter with what its namespace holds, and mend it. Begun again it finds what is left."""
    check = bool(task.parameters.get("check", False))
    found = await reconcile(quotas, check=check)
    for difference in found:
        task.log(str(difference))
    task.log(f"{len(found)} counters {'are wrong' if check else 'were mended'}")
    return {"wrong": len(found), "mended": 0 if check else len(found)}
