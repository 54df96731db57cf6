"""Lists are filtered in SQL, from the grants: never row by row."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from corereg.access import ANYWHERE
from corereg.store.database import Database
from corereg.store.schema import first_word

FEW = 16
"""Up to so many namespaces each becomes a range of the index; more are compared by the name's first word."""


def among(
    database: Database, column: sa.ColumnElement[Any], values: Collection[str] | Collection[int]
) -> sa.ColumnElement[bool]:
    """Whether the column is one of `values`, however many: one bound parameter (PostgreSQL an array, SQLite JSON)."""
    if database.dialect == "postgresql":
        kind = sa.BigInteger if isinstance(column.type, sa.Integer) else sa.Text
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(kind)))
    return column.in_(
        sa.select(sa.func.json_each(msgspec.json.encode(list(values)).decode()).table_valued("value").c.value)
    )


def covered(database: Database, column: sa.ColumnElement[Any], scopes: Collection[str]) -> sa.ColumnElement[bool]:
    """Whether the repository named by `column` stands within one of `scopes` (see `scopes_of`)."""
    if ANYWHERE in scopes:
        return sa.true()
    names = [scope for scope in scopes if not scope.endswith("/*")]
    below = [scope[:-1] for scope in scopes if scope.endswith("/*")]
    conditions = [among(database, column, names)] if names else []
    many = [prefix for prefix in below if prefix.count("/") == 1] if len(below) > FEW else []
    if many:
        conditions.append(among(database, first_word(database.dialect, column), [prefix[:-1] for prefix in many]))
    conditions += [_below(column, prefix) for prefix in sorted(set(below) - set(many))]
    return sa.or_(sa.false(), *conditions)


def within(column: sa.ColumnElement[Any], namespace: str) -> sa.ColumnElement[bool]:
    """Whether the repository named by `column` stands in the namespace; a range of the index."""
    return _below(column, f"{namespace}/")


def _below(column: sa.ColumnElement[Any], prefix: str) -> sa.ColumnElement[bool]:
    return sa.and_(column >= prefix, column < prefix[:-1] + chr(ord("/") + 1))
