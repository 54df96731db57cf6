"""How CNCF Distribution lays out what it knows of repositories, read through any `Storage`.

The layout::

    docker/registry/v2/repositories/<name>/_layers/<algorithm>/<hex>/link
                                          /_manifests/revisions/<algorithm>/<hex>/link
                                          /_manifests/tags/<tag>/current/link
                                          /_manifests/tags/<tag>/index/...
                                          /_uploads/...

A link is a file whose content is a digest; an empty one is what a crash left. The bytes of blobs and of manifests lie
under the keys that this registry uses, too (`corereg.store.storage`).
"""

from __future__ import annotations

from contextlib import aclosing

import msgspec

from corereg.care.parallel import parallel
from corereg.oci.digest import Digest
from corereg.oci.errors import DigestInvalid, TagInvalid
from corereg.oci.names import Tag
from corereg.store.storage import KeyMissing, Storage

REPOSITORIES = "docker/registry/v2/repositories/"
_INSIDE = ("_layers", "_manifests", "_uploads")
_LONGEST_LINK = 1024


class Problem(msgspec.Struct, frozen=True):
    """Something that is left out or not as it should be: a word for programs, where, and a sentence for people."""

    kind: str
    where: str
    message: str


class Links(msgspec.Struct):
    """What one repository holds: digests of layers (configs too) and manifests, digest by tag; what is wrong there."""

    layers: list[Digest] = []
    revisions: list[Digest] = []
    tags: dict[Tag, Digest] = {}
    problems: list[Problem] = []


async def repository_names(storage: Storage) -> list[str]:
    """Every repository's name, as it is written there, in order."""
    found: set[str] = set()
    async with aclosing(storage.list(REPOSITORIES)) as keys:
        async for stat in keys:
            parts = stat.key.removeprefix(REPOSITORIES).split("/")
            inside = next((place for place, part in enumerate(parts) if part in _INSIDE), 0)
            if inside:
                found.add("/".join(parts[:inside]))
    return sorted(found)


async def repository_links(storage: Storage, name: str) -> Links:
    """What the repository holds by its links, in order of digests."""
    links = Links()
    links.layers = await _digests(storage, f"{REPOSITORIES}{name}/_layers/", name, links.problems)
    links.revisions = await _digests(storage, f"{REPOSITORIES}{name}/_manifests/revisions/", name, links.problems)
    await _read_tags(storage, name, links)
    return links


async def _digests(storage: Storage, folder: str, name: str, problems: list[Problem]) -> list[Digest]:
    """The digests that the paths below the folder are made of."""
    found = []
    async with aclosing(storage.list(folder)) as keys:
        async for stat in keys:
            match stat.key.removeprefix(folder).split("/"):
                case [algorithm, encoded, "link"]:
                    pass
                case _:
                    continue
            try:
                digest = Digest.parse(f"{algorithm}:{encoded}")
            except DigestInvalid as error:
                problems.append(Problem("link", name, f"{stat.key}: {error.message}"))
                continue
            if stat.size:
                found.append(digest)
            else:
                problems.append(Problem("link", name, f"{stat.key} is empty: a crash left it; it counts as not there"))
    return sorted(found)


async def _read_tags(storage: Storage, name: str, links: Links) -> None:
    folder = f"{REPOSITORIES}{name}/_manifests/tags/"
    tags: list[Tag] = []
    async with aclosing(storage.list(folder)) as keys:
        async for stat in keys:
            match stat.key.removeprefix(folder).split("/"):
                case [tag, "current", "link"]:
                    try:
                        tags.append(Tag.parse(tag))
                    except TagInvalid as error:
                        links.problems.append(Problem("tag", f"{name}:{tag}", error.message))

    async def read(tag: Tag) -> Digest | None:
        try:
            return Digest.parse(await read_text(storage, f"{folder}{tag}/current/link"))
        except (DigestInvalid, KeyMissing, UnicodeDecodeError) as error:
            why = error.message if isinstance(error, DigestInvalid) else str(error)
            links.problems.append(Problem("tag", f"{name}:{tag}", f"its link cannot be read: {why}"))
            return None

    found = await parallel(read, sorted(tags))
    links.tags = {tag: digest for tag, digest in zip(sorted(tags), found, strict=True) if digest is not None}


async def read_text(storage: Storage, key: str) -> str:
    """A link's content."""
    return (await read_bytes(storage, key, _LONGEST_LINK)).decode().strip()


async def read_bytes(storage: Storage, key: str, limit: int) -> bytes:
    """What lies under the key, at most `limit` bytes of it."""
    body = bytearray()
    async with aclosing(storage.read(key, 0, limit)) as pieces:
        async for piece in pieces:
            body += piece
    return bytes(body)
