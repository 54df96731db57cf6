"""corereg: a container registry that a company can shape. These are the names a plugin may use.

They are imported when they are first asked for, so that ``corereg --help`` does not wait for a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; the same names as in _HOME below, which a test compares
    from corereg.access import ANONYMOUS, EVERYTHING, SYSTEM, Action, Grant, Identity, Refusal
    from corereg.config import Config, ConfigError, Duration, Secret, SettingError, Size, WebAddress
    from corereg.events import Event, Operation
    from corereg.hookspecs import hookimpl
    from corereg.http.app import asgi
    from corereg.messages import OPEN, SIGNED_IN, Request, Response, Route
    from corereg.oci.digest import Digest
    from corereg.oci.errors import Denied, OCIError, TooManyRequests, Unauthorized
    from corereg.oci.manifest import Descriptor, Manifest
    from corereg.plugins import PluginError
    from corereg.registry import Registry
    from corereg.session import Change, Session
    from corereg.store.database import Conflict, Database, DatabaseError, Query, Transaction, now
    from corereg.store.filesystem import FsspecStorage
    from corereg.store.schema import Schema
    from corereg.store.storage import (
        BLOBS,
        Capability,
        KeyMissing,
        Stat,
        State,
        Storage,
        StorageError,
        StorageFull,
        StorageUnavailable,
        Writer,
        blob_key,
    )
    from corereg.store.threads import Threads

__version__ = "0.1.0"

_HOME = {
    "ANONYMOUS": "corereg.access",
    "Action": "corereg.access",
    "EVERYTHING": "corereg.access",
    "Grant": "corereg.access",
    "Identity": "corereg.access",
    "Refusal": "corereg.access",
    "SYSTEM": "corereg.access",
    "Config": "corereg.config",
    "ConfigError": "corereg.config",
    "Duration": "corereg.config",
    "Secret": "corereg.config",
    "SettingError": "corereg.config",
    "Size": "corereg.config",
    "WebAddress": "corereg.config",
    "Event": "corereg.events",
    "Operation": "corereg.events",
    "hookimpl": "corereg.hookspecs",
    "asgi": "corereg.http.app",
    "OPEN": "corereg.messages",
    "Request": "corereg.messages",
    "Response": "corereg.messages",
    "Route": "corereg.messages",
    "SIGNED_IN": "corereg.messages",
    "Digest": "corereg.oci.digest",
    "Denied": "corereg.oci.errors",
    "OCIError": "corereg.oci.errors",
    "TooManyRequests": "corereg.oci.errors",
    "Unauthorized": "corereg.oci.errors",
    "Descriptor": "corereg.oci.manifest",
    "Manifest": "corereg.oci.manifest",
    "PluginError": "corereg.plugins",
    "Registry": "corereg.registry",
    "Change": "corereg.session",
    "Session": "corereg.session",
    "Conflict": "corereg.store.database",
    "Database": "corereg.store.database",
    "DatabaseError": "corereg.store.database",
    "Query": "corereg.store.database",
    "Transaction": "corereg.store.database",
    "now": "corereg.store.database",
    "FsspecStorage": "corereg.store.filesystem",
    "Schema": "corereg.store.schema",
    "BLOBS": "corereg.store.storage",
    "Capability": "corereg.store.storage",
    "KeyMissing": "corereg.store.storage",
    "Stat": "corereg.store.storage",
    "State": "corereg.store.storage",
    "Storage": "corereg.store.storage",
    "StorageError": "corereg.store.storage",
    "StorageFull": "corereg.store.storage",
    "StorageUnavailable": "corereg.store.storage",
    "Writer": "corereg.store.storage",
    "blob_key": "corereg.store.storage",
    "Threads": "corereg.store.threads",
}

__all__ = [
    "ANONYMOUS",
    "BLOBS",
    "EVERYTHING",
    "OPEN",
    "SIGNED_IN",
    "SYSTEM",
    "Action",
    "Capability",
    "Change",
    "Config",
    "ConfigError",
    "Conflict",
    "Database",
    "DatabaseError",
    "Denied",
    "Descriptor",
    "Digest",
    "Duration",
    "Event",
    "FsspecStorage",
    "Grant",
    "Identity",
    "KeyMissing",
    "Manifest",
    "OCIError",
    "Operation",
    "PluginError",
    "Query",
    "Refusal",
    "Registry",
    "Request",
    "Response",
    "Route",
    "Schema",
    "Secret",
    "Session",
    "SettingError",
    "Size",
    "Stat",
    "State",
    "Storage",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "Threads",
    "TooManyRequests",
    "Transaction",
    "Unauthorized",
    "WebAddress",
    "Writer",
    "__version__",
    "asgi",
    "blob_key",
    "hookimpl",
    "now",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        message = f"module 'corereg' has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return __all__
