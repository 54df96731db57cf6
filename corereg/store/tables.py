"""The core's tables as plugins may read and point at them: join them in queries, let foreign keys point here.

They are for reading. What is written goes through the Session, whose changes are admitted, counted and journalled.
"""

from __future__ import annotations

from corereg.store.schema import (
    Name,
    Serial,
    blob_links,
    blobs,
    journal,
    manifest_members,
    manifests,
    repositories,
    tags,
)

__all__ = ["Name", "Serial", "blob_links", "blobs", "journal", "manifest_members", "manifests", "repositories", "tags"]
