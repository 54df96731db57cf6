"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from corereg.config import DatabaseConfig
from corereg.store.database import Database, DatabaseUnavailable
from corereg.store.postgres import PostgresDatabase
from corereg.store.sqlite import SQLiteDatabase


def connect(url: str, options: DatabaseConfig | None = None) -> Database:
    """The database behind a URL: ``sqlite:/path/to/file``, ``sqlite::memory:`` or ``postgresql://...``.

    `options` is what else the configuration says of a PostgreSQL.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        path = rest.removeprefix("///") if rest.startswith("////") else rest.removeprefix("//")
        return SQLiteDatabase(Path(path) if path not in {"", "/", ":memory:"} else None)
    if scheme in {"postgresql", "postgres"}:
        try:
            return PostgresDatabase(make_url(f"postgresql:{rest}"), options)
        except (ValueError, ArgumentError):  # what they say quotes the URL, with the password
            message = (
                "the URL of the database cannot be read; write postgresql://user@host:port/name, "
                "several hosts as postgresql://user@/name?host=one,two&port=5432,5432"
            )
            raise DatabaseUnavailable(message) from None
    message = f"no database for {scheme!r}; use sqlite:/path/to/file or postgresql://user@host/name"
    raise DatabaseUnavailable(message)
