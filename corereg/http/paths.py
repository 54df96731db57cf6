"""The grammar of ``/v2/...``.

A repository name holds slashes, and its components may be the very words the protocol uses (``blobs``, ``manifests``,
``tags``, ``uploads``, ``referrers``), so a path is read from the right.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from corereg.oci.errors import NotFound

PREFIX = "/v2/"
LONGEST_KEPT = 512
"""Characters of the longest path that is remembered: a long name, and a digest of sha512."""


class Target(msgspec.Struct, frozen=True):
    """What a path below ``/v2/`` names. `reference` is a tag, a digest or an upload's id, as it was written."""

    kind: str
    repository: str = ""
    reference: str = ""


BASE = Target("base")
CATALOG = Target("catalog")


def parse(path: str) -> Target:
    """The target of a path that starts with ``/v2/``. Names and references are not checked here.

    Raises NotFound.
    """
    # What is kept is short: nobody has to sign in to be refused with a name of 64 KiB.
    return _kept(path) if len(path) <= LONGEST_KEPT else _read(path)


def _read(path: str) -> Target:
    rest = path[len(PREFIX) :]
    if not rest:
        return BASE
    if rest == "_catalog":
        return CATALOG
    head, slash, last = rest.rpartition("/")
    name, inner, word = head.rpartition("/")
    if slash and inner:
        if word == "uploads" and name.endswith("/blobs"):
            return Target("upload" if last else "uploads", name.removesuffix("/blobs"), last)
        if word == "manifests":
            return Target("manifest", name, last)
        if word == "blobs":
            # `POST .../blobs/uploads` without its slash: some clients forget it, and no digest is spelled so.
            return Target("uploads", name) if last == "uploads" else Target("blob", name, last)
        if word == "referrers":
            return Target("referrers", name, last)
        if word == "tags" and last == "list":
            return Target("tags", name)
    raise NotFound


_kept = lru_cache(maxsize=4096)(_read)
