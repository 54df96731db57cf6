"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from corereg.config import DatabaseConfig
from corereg.config.kinds import is_host
from corereg.store.database import Database, DatabaseUnavailable
from corereg.store.postgres import PostgresDatabase
from corereg.store.sqlite import SQLiteDatabase


def connect(url: str, options: DatabaseConfig | None = None) -> Database:
    """The database behind a URL: ``sqlite:/path/to/file``, ``sqlite::memory:`` or ``postgresql://...``.

    `options` is what else the configuration says of a PostgreSQL.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        return SQLiteDatabase(None if in_memory(url) else _path(rest))
    if scheme in {"postgresql", "postgres"}:
        try:
            parsed = make_url(f"postgresql:{rest}")
            _check_hosts(parsed)
            return PostgresDatabase(parsed, options)
        except (ValueError, ArgumentError):  # what they say quotes the URL, with the password
            message = (
                "the URL of the database cannot be read; write postgresql://user@host:port/name, "
                "several hosts as postgresql://user@/name?host=one,two&port=5432,5432"
            )
            raise DatabaseUnavailable(message) from None
    message = f"no database for {scheme!r}; use sqlite:/path/to/file or postgresql://user@host/name"
    raise DatabaseUnavailable(message)


def in_memory(url: str) -> bool:
    """Whether it is a database of one process, which ends with it: ``sqlite::memory:``."""
    return url == "sqlite::memory:"


def is_new(database: Database) -> bool:
    """Whether opening it would make it: a SQLite file that is not there yet, or one in memory."""
    return isinstance(database, SQLiteDatabase) and (database.path is None or not database.path.exists())


def _check_hosts(url: URL) -> None:
    """Raise ValueError for a host that can have no address; what looks one up would fail without a sentence."""
    named = url.query.get("host", ())
    more = [named] if isinstance(named, str) else named
    for host in [url.host or "", *(each.partition(":")[0] for text in more for each in text.split(","))]:
        if host and not host.startswith("/") and not is_host(host):  # with a slash it is the folder of a socket
            raise ValueError(host)


def _path(rest: str) -> Path:
    path = rest.removeprefix("///") if rest.startswith("////") else rest.removeprefix("//")
    if path.strip("/ ") in {"", ".", ":memory:"}:
        message = (
            "sqlite: needs the path of a file, as in sqlite:/var/lib/corereg/corereg.db (sqlite::memory: keeps nothing)"
        )
        raise DatabaseUnavailable(message)
    return Path(path)
