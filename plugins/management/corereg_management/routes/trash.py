"""What was deleted and can still be brought back. Harbor has nothing like it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from corereg import SIGNED_IN, Listed, Listing, Registry, Route, Session, Trashed
from corereg_management.documents import rfc3339

API = "/api/v2.0/trash"


class TrashedItem(msgspec.Struct, frozen=True, kw_only=True):
    """A deleted manifest with its tags, or (`kind` ``tag``) a deleted tag of `digest`. What was deleted together has
    one `batch`, and is restored together.
    """

    id: int
    batch: str
    repository: str
    kind: str
    digest: str
    media_type: str
    size: int
    tags: tuple[str, ...]
    deleted_at: str
    deleted_by: str


class TrashRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> Sequence[Route]:
        """The table."""
        return [
            Route(
                "GET", API, self.list_trash, SIGNED_IN, "List what was deleted and can be restored.", tag="trash",
                extension=True,
            ),
            Route(
                "POST", f"{API}/{{trash_id}}/restore", self.restore_trash, SIGNED_IN, "Restore what was deleted.",
                tag="trash", errors=(409, 412), extension=True,
            ),
        ]  # fmt: skip

    async def list_trash(self, session: Session, query: Listing) -> Listed[TrashedItem]:
        """In repositories that the caller may push to, the latest first. ``q`` knows repository, kind, digest and
        deleted_by.
        """
        found, total = await session.trash(query)
        return Listed([_item(each) for each in found], total)

    async def restore_trash(self, session: Session, trash_id: int) -> list[TrashedItem]:
        """A tag alone; a manifest with all that was deleted with it, and its tags. It is a push to policies and quotas.

        409 where a tag points elsewhere by now, 412 where a blob is not stored any more.
        """
        return [_item(each) for each in await session.restore(trash_id)]


def _item(each: Trashed) -> TrashedItem:
    return TrashedItem(
        id=each.id,
        batch=each.batch,
        repository=each.repository,
        kind=each.kind,
        digest=each.digest,
        media_type=each.media_type,
        size=each.size,
        tags=each.tags,
        deleted_at=rfc3339(each.deleted_at),
        deleted_by=each.deleted_by,
    )
