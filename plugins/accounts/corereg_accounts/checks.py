"""What `corereg doctor` looks at: whether anybody can administer this registry."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from corereg import Check, Finding, Registry
from corereg_accounts.schema import users


def checks_of(registry: Registry) -> Sequence[Check]:
    """One: the administrators."""

    async def administrators() -> Sequence[Finding]:
        rows = await registry.database.rows(
            sa.select(users.c.name, users.c.password_hash).where(
                sa.or_(users.c.administrator == 1, users.c.vouched_administrator == 1), users.c.disabled == 0
            )
        )
        if not rows:
            return [
                Finding("fail", "nobody is an administrator", "corereg user enable NAME, or corereg user admin NAME")
            ]
        if not any(secret for _, secret in rows):
            told = "no administrator has a password here, all sign in elsewhere"
            return [Finding("warn", told, "corereg user password admin: a way in when the other one is away")]
        return [Finding("ok", ", ".join(sorted(name for name, _ in rows)))]

    return [Check("administrators", administrators, tables=True)]
