"""Names of repositories and tags, and references (distribution-spec, section "Pulling manifests")."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from corereg.oci.digest import Digest
from corereg.oci.errors import NameInvalid, TagInvalid, quoted

# Possessive quantifiers (++, *+): a name that does not match fails in one pass, never by backtracking.
_COMPONENT = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*+")
_ONE = re.compile(_COMPONENT)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}+")


@lru_cache(maxsize=4096)
def check_repository(name: str, limit: int = 255) -> str:
    """`name` itself when it is a repository name of at most `limit` characters; else raises `NameInvalid`."""
    if len(name) > limit:
        raise NameInvalid(f"repository name has {len(name)} characters; use at most {limit}")
    if _REPOSITORY.fullmatch(name) is None:
        raise NameInvalid(_reason(name))
    return name


class Tag(str):
    """A tag that is known to be well formed: make it with `parse`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Tag:
        """The tag that `text` is; raises `TagInvalid` for any other text."""
        if _TAG.fullmatch(text) is None:
            rule = "use 1 to 128 of A-Z a-z 0-9 . _ -, not starting with . or -"
            raise TagInvalid(f"tag {quoted(text)} is not valid; {rule}")
        return cls(text)


class Artifact(msgspec.Struct, frozen=True):
    """One manifest of one repository, by its digest: what plugins are asked about."""

    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


@lru_cache(maxsize=4096)
def parse_reference(text: str) -> Digest | Tag:
    """What a URL's ``<reference>`` is: a digest when it holds ``:``, else a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def _reason(name: str) -> str:
    if not name:
        return "repository name is empty; give at least one word, such as library/alpine"
    if name != name.lower() and _REPOSITORY.fullmatch(name.lower()):
        return f"repository name {quoted(name)} has upper-case letters; write it in lower case"
    component = next(part for part in name.split("/") if _ONE.fullmatch(part) is None)
    if not component:
        return f"repository name {quoted(name)} has an empty part; remove the extra /"
    rule = "use a-z and 0-9, with one . or _, two __ or any number of - between them"
    return f"part {quoted(component)} of the repository name is not valid; {rule}"
