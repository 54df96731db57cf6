"""What a namespace holds, from the core's tables: the sum of its distinct blobs and of its distinct manifests.

A repository belongs to the deepest namespace that its name begins with. Every statement here takes ``low`` and
``high``, the ends of the namespace's names in byte order (`ends`), and leaves out what deeper namespaces hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import bindparam

from corereg import Query, tables
from corereg_quotas.schema import counters

repositories, blob_links, blobs, manifests = (
    tables.repositories,
    tables.blob_links,
    tables.blobs,
    tables.manifests,
)


def ends(namespace: str) -> dict[str, str]:
    """Repositories of the namespace are named from ``low`` on, and before ``high``."""
    return {"low": f"{namespace}/", "high": f"{namespace}0"}  # 0 follows /


def above(name: str) -> Iterator[str]:
    """Every name that `name` may stand below, the longest first: ``a/b``, ``a`` for ``a/b/c``."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _inside(column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.and_(column >= bindparam("low"), column < bindparam("high"))


_deeper = counters.alias("deeper")
_belongs = sa.and_(
    _inside(repositories.c.name),
    ~sa.exists(
        sa.select(_deeper.c.id).where(
            _inside(_deeper.c.namespace),
            sa.func.substr(repositories.c.name, 1, sa.func.length(_deeper.c.namespace) + 1)
            == _deeper.c.namespace + "/",
        )
    ).correlate(repositories),
)

_other = repositories.c.name != bindparam("repository")
BLOB_HELD = Query(
    sa.select(blob_links.c.repository_id)
    .select_from(blob_links.join(repositories, repositories.c.id == blob_links.c.repository_id))
    .where(blob_links.c.digest == bindparam("digest"), _other, _belongs)
    .limit(1)
)
"""Whether another repository of the namespace holds the blob."""
MANIFEST_HELD = Query(
    sa.select(manifests.c.repository_id)
    .select_from(manifests.join(repositories, repositories.c.id == manifests.c.repository_id))
    .where(manifests.c.digest == bindparam("digest"), _other, _belongs)
    .limit(1)
)
"""Whether another repository of the namespace holds the manifest."""

_blobs = (
    sa.select(blobs.c.digest, blobs.c.size)
    .select_from(
        repositories.join(blob_links, blob_links.c.repository_id == repositories.c.id).join(
            blobs, blobs.c.digest == blob_links.c.digest
        )
    )
    .where(_belongs)
    .distinct()
    .subquery("held_blobs")
)
_manifests = (
    sa.select(manifests.c.digest, manifests.c.size)
    .select_from(repositories.join(manifests, manifests.c.repository_id == repositories.c.id))
    .where(_belongs)
    .distinct()
    .subquery("held_manifests")
)


def _sum(held: sa.Subquery) -> sa.ColumnElement[int]:
    return sa.cast(
        sa.func.coalesce(sa.select(sa.func.sum(held.c.size)).scalar_subquery(), 0),
        sa.BigInteger,  # PostgreSQL adds up to numeric
    )


_usage = _sum(_blobs) + _sum(_manifests)

HOLDS = Query(sa.select(_usage))
"""What the namespace holds."""
COMPARED = Query(sa.select(counters.c.used, _usage).where(counters.c.id == bindparam("counter")))
"""What the counter says, and what the namespace holds, at one moment."""
SETTLE = Query(
    sa.update(counters)
    .where(counters.c.id == bindparam("counter"))
    .values(used=_usage, updated_at=bindparam("at"))
    .returning(counters.c.used)
)
"""Make the counter say what the namespace holds."""
