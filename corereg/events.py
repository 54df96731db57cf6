"""What will happen and what has happened.

The hooks take these two rich frozen values, so they can grow a field without breaking a plugin.
`kind` is one word for both, ``noun.verb``. The core's kinds:

``manifest.pull``, ``manifest.push``, ``manifest.delete``, ``tag.delete``, ``blob.pull``, ``blob.push``,
``blob.mount``, ``blob.delete``, ``tag.create``, ``repository.delete``, ``configuration.update``, ``keys.rotate``;
of the collector ``blob.unlink`` (a repository gives up blobs: `commit` hears of a ``blob.delete`` for each, the journal
only of the whole), ``blob.collect`` (their bytes go), ``trash.empty``, ``collection.hold``, ``collection.release``;
``fsck.repair``;
events only: ``signin.failed``, ``access.refused``. Plugins add their own (``user.create``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from corereg.access import Identity
from corereg.oci.manifest import Manifest


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Something an identity is about to do; `admit` and `commit` may still refuse it.

    `tags` are the tags a ``manifest.push`` will set or a ``tag.delete`` will remove. `manifest` is parsed and
    checked already. `size` is in bytes and None while unknown (a blob at the start of its upload). `new`, in `commit`,
    says of a push or a mount whether the repository did not hold that manifest or blob before.
    `source` is the repository a ``blob.mount`` takes from. `address` is the client's address as the gate
    believes it, None for work that no client asked for. `details` belongs to the plugin that owns the kind.
    """

    kind: str
    identity: Identity
    repository: str | None = None
    tags: tuple[str, ...] = ()
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    manifest: Manifest | None = None
    source: str | None = None
    address: str | None = None
    new: bool | None = None
    details: Mapping[str, Any] = {}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has happened, as the journal tells it.

    `serial` grows with every event of one registry. `time` is in microseconds since 1970, UTC.
    `actor` is the identity's name, `subject` its subject. `count` is above 1 where equal events were
    gathered (pulls, failed sign-ins). An event may be told more than once: `serial` tells repeats apart.
    """

    serial: int
    time: int
    kind: str
    actor: str
    subject: str
    repository: str | None = None
    tags: tuple[str, ...] = ()
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    source: str | None = None
    address: str | None = None
    count: int = 1
    details: Mapping[str, Any] = {}
