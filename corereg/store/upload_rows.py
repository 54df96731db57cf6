"""Uploads as rows: what is known of each, and the statements by which requests claim it, one at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg.oci.digest import Digest
from corereg.store.database import Query, Row
from corereg.store.schema import condemned, uploads
from corereg.store.storage import State

SECOND = 1_000_000
CLOCKS = 60 * SECOND
"""Microseconds by which the clocks of nodes may differ. A lease that ends later than any could, and by more than that,
was made when a clock was wrong: it is none.
"""

_columns = (
    uploads.c.id,
    uploads.c.repository,
    uploads.c.subject,
    uploads.c.algorithm,
    uploads.c.received,
    uploads.c.state,
    uploads.c.stored_digest,
    uploads.c.stored_key,
)
ENDED = sa.or_(uploads.c.leased_until < bindparam("at"), uploads.c.leased_until > bindparam("beyond"))
"""The lease has ended, or is none: with the parameters of `Uploads.moment`."""
_free = sa.and_(
    uploads.c.id == bindparam("upload"),
    # As it was found: neither has it grown since, nor were its bytes made durable.
    uploads.c.received == bindparam("expected"),
    uploads.c.stored_digest.is_not_distinct_from(bindparam("stored", type_=sa.Text)),
    sa.or_(uploads.c.writer.is_(None), ENDED),
)
INSERT = Query(
    sa.insert(uploads).values(
        id=bindparam("id"),
        repository=bindparam("repository"),
        subject=bindparam("subject"),
        algorithm=bindparam("algorithm"),
        received=0,
        state=bindparam("state"),
        leased_until=0,
        created_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
FIND = Query(sa.select(*_columns).where(uploads.c.id == bindparam("id")))
CLAIM = Query(
    sa.update(uploads)
    .where(_free)
    .values(writer=bindparam("claimant"), leased_until=bindparam("until"), updated_at=bindparam("at"))
)
ANNOUNCE = Query(
    sa.update(uploads)
    .where(_free, ~sa.exists().where(condemned.c.digest == bindparam("digest")))
    .values(
        writer=bindparam("claimant"),
        leased_until=bindparam("until"),
        updated_at=bindparam("at"),
        committing=bindparam("digest"),
    )
)
"""Claim the upload for its last request, and say which digest is about to be committed (`corereg.store.condemned`)."""
EXTEND = Query(
    sa.update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.writer == bindparam("claimant"))
    .values(leased_until=bindparam("until"), updated_at=bindparam("at"))
)
RELEASE = Query(
    sa.update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.writer == bindparam("claimant"))
    .values(
        writer=sa.null(),
        leased_until=0,
        received=bindparam("count"),
        state=bindparam("new"),
        updated_at=bindparam("at"),
        committing=sa.null(),
    )
)
KEEP = Query(
    sa.update(uploads)
    .where(uploads.c.id == bindparam("upload"), uploads.c.writer == bindparam("claimant"))
    .values(
        writer=sa.null(),
        leased_until=bindparam("until"),
        received=bindparam("size"),
        updated_at=bindparam("at"),
        stored_digest=bindparam("digest"),
        stored_key=bindparam("key"),
    )
)
"""Release it with all its bytes stored. It says for one lease more what it is `committing`: so long the collector keeps
off the bytes however old the blob is.
"""
REMOVE = Query(sa.delete(uploads).where(uploads.c.id == bindparam("upload")))
REMOVE_CLAIMED = Query(
    sa.delete(uploads).where(uploads.c.id == bindparam("upload"), uploads.c.writer == bindparam("claimant"))
)
EXPIRED = Query(sa.select(*_columns).where(uploads.c.updated_at < bindparam("old"), ENDED).limit(1000))
EXPIRE = Query(
    sa.delete(uploads).where(uploads.c.id == bindparam("upload"), uploads.c.updated_at < bindparam("old"), ENDED)
)


class Stored(msgspec.Struct, frozen=True):
    """Where all bytes of an upload lie already, durable: only the rows of the blob are lacking."""

    digest: str
    key: str


class Upload(msgspec.Struct, frozen=True):
    """An upload as the database knows it: `received` bytes of a blob for `repository`, begun by `subject`."""

    id: str
    repository: str
    subject: str
    algorithm: str
    received: int
    state: dict[str, Any]
    stored: Stored | None = None


class Committed(msgspec.Struct, frozen=True):
    """Bytes that are durable in storage under `key` and wait for their rows."""

    upload: str
    digest: Digest
    size: int
    key: str
    claimant: str


class Purged(msgspec.Struct, frozen=True):
    """How many uploads were dropped, and of how many the bytes are left because the storage refused to remove them."""

    dropped: int
    left: int


def encode(state: State) -> str:
    """A storage's state as a row keeps it."""
    return msgspec.json.encode(state).decode()


def upload_of(row: Row) -> Upload:
    """The upload of a row of `FIND` or `EXPIRED`."""
    upload, repository, subject, algorithm, received, state, digest, key = row
    stored = None if digest is None else Stored(digest, key)
    return Upload(upload, repository, subject, algorithm, received, msgspec.json.decode(state), stored)
