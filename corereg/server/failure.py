"""What goes wrong at start, in one sentence."""

from __future__ import annotations

from corereg.care.errors import BackupError
from corereg.config import ConfigError
from corereg.oci.errors import OCIError
from corereg.plugins import PluginError
from corereg.store.database import DatabaseError
from corereg.store.storage import StorageError


class ServerError(Exception):
    """The registry cannot be served; `str()` is a sentence that says why and what helps."""


def sentence(error: BaseException) -> str | None:
    """What to tell a person about an error that is nobody's bug; None for one that is."""
    if isinstance(error, ServerError | BackupError | ConfigError | PluginError | DatabaseError | StorageError):
        return str(error)
    if isinstance(error, OCIError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}" if error.filename else error.strerror
    return None
