"""corereg: a container registry that a company can shape. These are the names a plugin may use.

They are imported when they are first asked for, so that ``corereg --help`` does not wait for a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; the same names as in _HOME below, which a test compares
    from corereg.access import (
        ANONYMOUS,
        ANYWHERE,
        EVERYTHING,
        SYSTEM,
        Action,
        Grant,
        Identity,
        Namespace,
        Principal,
        Refusal,
        allowed,
        scopes_of,
    )
    from corereg.client import remote
    from corereg.config import Config, ConfigError, Duration, Secret, SettingError, Size, WebAddress
    from corereg.errors import BadRequest, Exists, Forbidden, Missing, Precondition, Unprocessable
    from corereg.events import Event, Operation
    from corereg.findings import Check, Finding
    from corereg.hookspecs import hookimpl, hookspec
    from corereg.http.app import asgi
    from corereg.http.openapi import openapi_document
    from corereg.messages import OPEN, SIGNED_IN, Created, Listed, Request, Response, Route, Told
    from corereg.oci.digest import Digest
    from corereg.oci.errors import (
        BlobUnknown,
        Denied,
        ManifestUnknown,
        NameInvalid,
        OCIError,
        TooManyRequests,
        Unauthorized,
        Unsupported,
    )
    from corereg.oci.manifest import Descriptor, Manifest
    from corereg.oci.names import Artifact, Tag
    from corereg.plugins import PluginError
    from corereg.registry import Registry
    from corereg.session import Change, Session
    from corereg.store import tables
    from corereg.store.database import Conflict, Database, DatabaseError, Query, Transaction, now
    from corereg.store.filesystem import FsspecStorage
    from corereg.store.jobs import Execution, Failed, Job, Schedule, Started, Task, TaskRecord
    from corereg.store.listing import Fields, Listing, Term, conditions, page, parse_q
    from corereg.store.nodes import Node
    from corereg.store.schema import Schema
    from corereg.store.scopes import among, covered, within
    from corereg.store.settings import Setting
    from corereg.store.storage import (
        BLOBS,
        STAYING,
        UPLOADS,
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
    from corereg.store.trash import Trashed
    from corereg.store.work import Stopped, Work

__version__ = "0.1.0"

_HOME = {
    "ANONYMOUS": "corereg.access",
    "ANYWHERE": "corereg.access",
    "EVERYTHING": "corereg.access",
    "SYSTEM": "corereg.access",
    "Action": "corereg.access",
    "Grant": "corereg.access",
    "Identity": "corereg.access",
    "Namespace": "corereg.access",
    "Principal": "corereg.access",
    "Refusal": "corereg.access",
    "allowed": "corereg.access",
    "scopes_of": "corereg.access",
    "remote": "corereg.client.remote",
    "Config": "corereg.config",
    "ConfigError": "corereg.config",
    "Duration": "corereg.config",
    "Secret": "corereg.config",
    "SettingError": "corereg.config",
    "Size": "corereg.config",
    "WebAddress": "corereg.config",
    "BadRequest": "corereg.errors",
    "Exists": "corereg.errors",
    "Forbidden": "corereg.errors",
    "Missing": "corereg.errors",
    "Precondition": "corereg.errors",
    "Unprocessable": "corereg.errors",
    "Event": "corereg.events",
    "Operation": "corereg.events",
    "Check": "corereg.findings",
    "Finding": "corereg.findings",
    "hookimpl": "corereg.hookspecs",
    "hookspec": "corereg.hookspecs",
    "asgi": "corereg.http.app",
    "openapi_document": "corereg.http.openapi",
    "OPEN": "corereg.messages",
    "SIGNED_IN": "corereg.messages",
    "Created": "corereg.messages",
    "Listed": "corereg.messages",
    "Request": "corereg.messages",
    "Response": "corereg.messages",
    "Route": "corereg.messages",
    "Told": "corereg.messages",
    "Digest": "corereg.oci.digest",
    "BlobUnknown": "corereg.oci.errors",
    "Denied": "corereg.oci.errors",
    "ManifestUnknown": "corereg.oci.errors",
    "NameInvalid": "corereg.oci.errors",
    "OCIError": "corereg.oci.errors",
    "TooManyRequests": "corereg.oci.errors",
    "Unauthorized": "corereg.oci.errors",
    "Unsupported": "corereg.oci.errors",
    "Descriptor": "corereg.oci.manifest",
    "Manifest": "corereg.oci.manifest",
    "Artifact": "corereg.oci.names",
    "Tag": "corereg.oci.names",
    "PluginError": "corereg.plugins",
    "Registry": "corereg.registry",
    "Change": "corereg.session",
    "Session": "corereg.session",
    "tables": "corereg.store.tables",
    "Conflict": "corereg.store.database",
    "Database": "corereg.store.database",
    "DatabaseError": "corereg.store.database",
    "Query": "corereg.store.database",
    "Transaction": "corereg.store.database",
    "now": "corereg.store.database",
    "FsspecStorage": "corereg.store.filesystem",
    "Execution": "corereg.store.jobs",
    "Failed": "corereg.store.jobs",
    "Job": "corereg.store.jobs",
    "Schedule": "corereg.store.jobs",
    "Started": "corereg.store.jobs",
    "Task": "corereg.store.jobs",
    "TaskRecord": "corereg.store.jobs",
    "Fields": "corereg.store.listing",
    "Listing": "corereg.store.listing",
    "Term": "corereg.store.listing",
    "conditions": "corereg.store.listing",
    "page": "corereg.store.listing",
    "parse_q": "corereg.store.listing",
    "Node": "corereg.store.nodes",
    "Schema": "corereg.store.schema",
    "among": "corereg.store.scopes",
    "covered": "corereg.store.scopes",
    "within": "corereg.store.scopes",
    "Setting": "corereg.store.settings",
    "BLOBS": "corereg.store.storage",
    "STAYING": "corereg.store.storage",
    "UPLOADS": "corereg.store.storage",
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
    "Trashed": "corereg.store.trash",
    "Stopped": "corereg.store.work",
    "Work": "corereg.store.work",
}

__all__ = [
    "ANONYMOUS",
    "ANYWHERE",
    "BLOBS",
    "EVERYTHING",
    "OPEN",
    "SIGNED_IN",
    "STAYING",
    "SYSTEM",
    "UPLOADS",
    "Action",
    "Artifact",
    "BadRequest",
    "BlobUnknown",
    "Capability",
    "Change",
    "Check",
    "Config",
    "ConfigError",
    "Conflict",
    "Created",
    "Database",
    "DatabaseError",
    "Denied",
    "Descriptor",
    "Digest",
    "Duration",
    "Event",
    "Execution",
    "Exists",
    "Failed",
    "Fields",
    "Finding",
    "Forbidden",
    "FsspecStorage",
    "Grant",
    "Identity",
    "Job",
    "KeyMissing",
    "Listed",
    "Listing",
    "Manifest",
    "ManifestUnknown",
    "Missing",
    "NameInvalid",
    "Namespace",
    "Node",
    "OCIError",
    "Operation",
    "PluginError",
    "Precondition",
    "Principal",
    "Query",
    "Refusal",
    "Registry",
    "Request",
    "Response",
    "Route",
    "Schedule",
    "Schema",
    "Secret",
    "Session",
    "Setting",
    "SettingError",
    "Size",
    "Started",
    "Stat",
    "State",
    "Stopped",
    "Storage",
    "StorageError",
    "StorageFull",
    "StorageUnavailable",
    "Tag",
    "Task",
    "TaskRecord",
    "Term",
    "Threads",
    "Told",
    "TooManyRequests",
    "Transaction",
    "Trashed",
    "Unauthorized",
    "Unprocessable",
    "Unsupported",
    "WebAddress",
    "Work",
    "Writer",
    "__version__",
    "allowed",
    "among",
    "asgi",
    "blob_key",
    "conditions",
    "covered",
    "hookimpl",
    "hookspec",
    "now",
    "openapi_document",
    "page",
    "parse_q",
    "remote",
    "scopes_of",
    "tables",
    "within",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        message = f"module 'corereg' has no attribute {name!r}"
        raise AttributeError(message)
    module = import_module(home)
    value = globals()[name] = module if home.endswith(f".{name}") else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
