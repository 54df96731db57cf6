"""CVE allowlists: what is known to be harmless, for each project and for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import Action, BadRequest, Database, Session, Transaction, among, now
from corereg_projects.schema import allowlists

SYSTEM = 0
"""The project number of the list that holds for the whole registry."""
UPDATE = Action("configuration", "update")
MOST = 10_000
LONGEST = 128
LARGEST = 2**53


class Allowlist(msgspec.Struct, frozen=True, kw_only=True):
    """What an allowlist holds: names of vulnerabilities, and until when (seconds since 1970; None: for good)."""

    items: tuple[str, ...] = ()
    expires_at: int | None = None


class StoredAllowlist(msgspec.Struct, frozen=True, kw_only=True):
    """An allowlist as it is kept. Times are microseconds since 1970, UTC."""

    id: int
    project_id: int
    items: tuple[str, ...]
    expires_at: int | None
    created_at: int
    updated_at: int


FIELDS = tuple(allowlists.c[name] for name in StoredAllowlist.__struct_fields__)


def checked(items: Sequence[str], expires_at: int | None) -> Allowlist:
    """An allowlist of these. Raises BadRequest for names that can be none, too many of them, and one given twice."""
    if len(items) > MOST:
        message = f"an allowlist has at most {MOST} items, this one {len(items)}"
        raise BadRequest(message)
    for item in items:
        if not item or len(item) > LONGEST or not item.isascii() or not item.isprintable() or " " in item:
            message = f"{item[:40]!r} is no name of a vulnerability; write it as CVE-2019-10164"
            raise BadRequest(message)
    if len(set(items)) < len(items):
        twice = next(item for place, item in enumerate(items) if item in items[:place])
        message = f"{twice} is given twice in the allowlist"
        raise BadRequest(message)
    if expires_at is not None and not 0 <= expires_at <= LARGEST:
        message = "an allowlist expires at a time in seconds since 1970"
        raise BadRequest(message)
    return Allowlist(items=tuple(items), expires_at=expires_at)


def new_allowlist(tx: Transaction, project_id: int, wanted: Allowlist | None) -> Any:
    """The statement that makes a project's allowlist."""
    wanted, at = wanted or Allowlist(), now()
    return tx.insert(allowlists).values(
        project_id=project_id,
        items=_kept(wanted),
        expires_at=wanted.expires_at,
        created_at=at,
        updated_at=at,
    )


async def write_allowlist(tx: Transaction, project_id: int, wanted: Allowlist) -> None:
    """Inside `tx`: replace a project's allowlist."""
    values = {"items": _kept(wanted), "expires_at": wanted.expires_at, "updated_at": now()}
    await tx.execute(sa.update(allowlists).where(allowlists.c.project_id == project_id).values(**values))


async def read_allowlists(database: Database, ids: Collection[int]) -> Mapping[int, StoredAllowlist]:
    """The allowlists of those projects, by project."""
    if not ids:
        return {}
    rows = await database.rows(sa.select(*FIELDS).where(among(database, allowlists.c.project_id, ids)))
    found = [_stored(row) for row in rows]
    return {each.project_id: each for each in found}


async def change_system(session: Session, wanted: Allowlist) -> None:
    """Replace the list that holds for the whole registry."""
    details = {"namespace": None, "items": list(wanted.items)}
    async with session.change(session.operation("allowlist.update", details=details), needs=UPDATE) as change:
        await write_allowlist(change.tx, SYSTEM, wanted)


def _kept(wanted: Allowlist) -> str:
    return msgspec.json.encode(wanted.items).decode()


def _stored(row: Any) -> StoredAllowlist:
    fields = dict(zip(StoredAllowlist.__struct_fields__, row, strict=True))
    return StoredAllowlist(**fields | {"items": msgspec.json.decode(fields["items"], type=tuple[str, ...])})
