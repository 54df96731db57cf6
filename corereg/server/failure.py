"""What goes wrong at start, in one sentence."""

from __future__ import annotations

import os

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
        return f"{error.filename or _nameless(error)} cannot be used: {error.strerror}"
    return None


def _nameless(error: OSError) -> str:
    """What an error is about that names no file."""
    if isinstance(error, FileNotFoundError):
        try:
            os.getcwd()  # noqa: PTH109 - that it fails is all there is to know
        except OSError:
            return "the working directory, which is gone,"
    return "a file, a socket or a device"
