"""What Harbor's API says about quotas (swagger.yaml, tag ``quota``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from corereg import Action, BadRequest, Listed, Listing, Registry, Route, Session, page
from corereg_quotas.counters import COLUMNS, UNLIMITED, Counter, counter_of
from corereg_quotas.quotas import UPDATE, Quotas
from corereg_quotas.schema import counters

REFERENCE = "project"
"""The only kind of thing that has quotas."""
STORAGE = "storage"
LARGEST = 2**63 - 1
FIELDS = {
    "hard.storage": counters.c.hard,
    "used.storage": counters.c.used,
    "creation_time": counters.c.created_at,
    "update_time": counters.c.updated_at,
}


class QuotaListing(Listing, frozen=True, kw_only=True):
    """Which quotas: those of one kind of thing, or of one thing, by its number."""

    reference: str = ""
    reference_id: str = ""


class QuotaRefObject(msgspec.Struct, frozen=True):
    """The namespace a quota is for."""

    id: int
    name: str
    owner_name: str = ""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A quota as Harbor's clients know one; sizes in bytes, -1 for no limit."""

    id: int
    ref: QuotaRefObject
    hard: dict[str, int]
    used: dict[str, int]
    creation_time: str
    update_time: str


class QuotaUpdateReq(msgspec.Struct, frozen=True):
    """The body of a change: ``{"hard": {"storage": 1073741824}}``."""

    hard: dict[str, int]


class QuotaRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry, quotas: Quotas) -> None:
        self._registry = registry
        self._quotas = quotas

    def routes(self) -> Sequence[Route]:
        """The table."""
        quotas, one = "/api/v2.0/quotas", "/api/v2.0/quotas/{quota_id}"
        may_list, may_read = Action("quota", "list"), Action("quota", "read")
        return [
            Route("GET", quotas, self.list_quotas, may_list, "List quotas.", tag="quota"),
            Route("GET", one, self.get_quota, may_read, "Get the specified quota.", tag="quota", errors=(404,)),
            Route("PUT", one, self.update_quota, UPDATE, "Update the specified quota.", tag="quota", errors=(404,)),
        ]

    async def list_quotas(self, session: Session, query: QuotaListing) -> Listed[Quota]:
        """The quotas of all projects. ``sort`` takes ``hard.storage`` and ``used.storage``."""
        select = sa.select(*COLUMNS)
        if query.reference and query.reference != REFERENCE:
            select = select.where(sa.false())
        if query.reference_id:
            select = select.where(counters.c.namespace_id == _number(query.reference_id))
        rows, total = await page(self._registry.database, select, query, FIELDS, counters.c.id)
        return Listed([_response(counter_of(row)) for row in rows], total)

    async def get_quota(self, session: Session, quota_id: int) -> Quota:
        """One quota by its number, which is not the project's."""
        return _response(await self._quotas.with_id(quota_id))

    async def update_quota(self, session: Session, quota_id: int, body: QuotaUpdateReq) -> None:
        """Set what a project may hold: bytes, or -1 for no limit. What it holds beyond that stays."""
        await self._quotas.set_hard(session, quota_id, _checked(body.hard))


def _number(text: str) -> Any:
    """A number of a namespace; nothing has one that is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else sa.null()


def _checked(hard: dict[str, int]) -> int:
    strange = set(hard) - {STORAGE}
    if strange or STORAGE not in hard:
        message = f'a quota limits {STORAGE} and nothing else: send {{"hard": {{"{STORAGE}": bytes}}}}'
        raise BadRequest(message)
    return checked_limit(hard[STORAGE])


def checked_limit(limit: int) -> int:
    """The limit, if it is one. Raises BadRequest."""
    if limit != UNLIMITED and not 0 < limit <= LARGEST:
        message = f"a namespace may hold {UNLIMITED} (anything), or from 1 to {LARGEST} bytes; {limit} is neither"
        raise BadRequest(message)
    return limit


def _response(counter: Counter) -> Quota:
    return Quota(
        id=counter.id,
        ref=QuotaRefObject(counter.namespace_id, counter.namespace),
        hard={STORAGE: counter.hard},
        used={STORAGE: counter.used},
        creation_time=rfc3339(counter.created_at),
        update_time=rfc3339(counter.updated_at),
    )


def rfc3339(microseconds: int) -> str:
    """A time with milliseconds, UTC, as Harbor writes it."""
    moment = datetime.fromtimestamp(microseconds // 1000 / 1000, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
