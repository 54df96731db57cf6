"""What PostgreSQL refuses, in our words, by its SQLSTATE (PostgreSQL manual, appendix A)."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from corereg.store.database import (
    Conflict,
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    ValueRefused,
)

NO_VALUE = {"22000", "22003", "22021", "22P05"}
"""What a parameter cannot hold: too large a number (before it is sent, or there), no such character."""
AGAIN = {"40001", "40P01"}
"""Two transactions were in each other's way; this one was rolled back, and can simply be repeated."""
LOCKED = "55P03"
"""A lock was not had within `lock_timeout`."""
DEAD = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
"""The server ends the connection, or takes none: it is stopped, crashed, starts, or was idle for too long."""
_SAID = {
    "40001": "another change was made at the same moment; do it again",
    "40P01": "another change was made at the same moment; do it again",
    "53300": "the server has no free connection; raise its max_connections, or lower database.pool_size",
    "55P03": "something else holds what this needs for longer than database.lock_timeout",
    "57014": "it took longer than database.statement_timeout",
    "57P01": "the server is shutting down",
    "57P02": "the server crashed and starts again",
    "57P03": "the server is starting or shutting down",
    "25006": "the server is read-only: a standby, perhaps",
    "28P01": "the server refuses the password; see database.url and database.password_file",
    "3D000": "there is no database of that name on the server; create it",
}


def origin(error: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped it (it keeps it as the cause of its adapter's error)."""
    if not isinstance(error, DBAPIError):
        return error
    adapted = error.orig
    return error if adapted is None else adapted.__cause__ or adapted


def of_database(error: BaseException) -> bool:
    """Whether the driver, the server or the network says so; anything else is a bug, and no word of the database's."""
    cause = origin(error)
    return isinstance(cause, DBAPIError | OSError | EOFError) or type(cause).__module__.startswith("asyncpg")


def state(error: BaseException) -> str:
    """The SQLSTATE of a driver's error; empty where there is none."""
    return str(getattr(origin(error), "sqlstate", "") or "")


def broken(error: BaseException) -> bool:
    """Whether the connection is gone: what was asked has not been answered, and may have been done or not."""
    found = state(error)
    cause = origin(error)
    return found in DEAD or found.startswith("08") or isinstance(cause, OSError | EOFError | TimeoutError)


def outdated(error: BaseException) -> bool:
    """Whether a prepared statement does not fit its tables any more, because a migration changed them."""
    return "InvalidCachedStatementError" in {type(error).__name__, type(origin(error)).__name__}


def translated(error: BaseException, name: str) -> DatabaseError:
    """The same error in our words; `name` is the database's, for people."""
    found = state(error)
    cause = origin(error)
    if found.startswith("23"):
        return Conflict(str(cause))
    if found in NO_VALUE:
        return ValueRefused("a number is too large, or a text holds a NUL or what is no character")
    if found == "53100":
        return DatabaseFull(f"no room is left for the database {name}; free some space")
    if outdated(error):
        return DatabaseUnavailable(f"the tables of the database {name} were just changed by an upgrade; do it again")
    if found in AGAIN or found == LOCKED:
        return DatabaseBusy(f"the database {name} cannot do this now: {_SAID[found]}")
    if found in _SAID:
        return DatabaseUnavailable(f"the database {name} cannot do this: {_SAID[found]}")
    if broken(error):
        return DatabaseUnavailable(f"the database {name} does not answer: {str(cause) or type(cause).__name__}")
    return DatabaseUnavailable(f"the database {name} failed: {cause}")
