"""How commands name things: ``PROJECT/REPOSITORY``, ``PROJECT/REPOSITORY:TAG``, ``...@sha256:...``, ``90d``."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from corereg.client.api import repository_path
from corereg.client.errors import Misuse

UNLIMITED = -1
_AGE = re.compile(r"([1-9][0-9]{0,5})([dwy])")
_DAYS = {"d": 1, "w": 7, "y": 365}


class Reference(msgspec.Struct, frozen=True):
    """A repository, by its project and its name in there, and what is meant in it: a tag, a digest, or nothing."""

    project: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The repository as clients pull it."""
        return f"{self.project}/{self.repository}"

    @property
    def what(self) -> str:
        """The tag or digest; a digest says more, so it goes before a tag. Raises Misuse when there is neither."""
        if self.digest or self.tag:
            return str(self.digest or self.tag)
        message = f"{self.name} names no artifact; add :TAG or @sha256:..."
        raise Misuse(message)

    def path(self, *more: str | int) -> str:
        """The API's path of the repository, and further segments."""
        return repository_path(self.project, self.repository, *more)

    def artifact_path(self, *more: str | int) -> str:
        """The API's path of the artifact."""
        return self.path("artifacts", self.what, *more)

    def __str__(self) -> str:
        return f"{self.name}{f':{self.tag}' if self.tag else ''}{f'@{self.digest}' if self.digest else ''}"


def repository(text: str, project: str | None = None) -> Reference:
    """``PROJECT/REPOSITORY[:TAG][@DIGEST]``; with `project`, the repository alone will do. Raises Misuse."""
    rest, _, digest = text.partition("@")
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    name, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    if project is not None:
        own = name.removeprefix(f"{project}/")
        first = project
    else:
        first, _, own = name.partition("/")
    if not first or not own or own.startswith("/") or own.endswith("/") or ("@" in text and not digest):
        message = f"{text!r} names no repository; write PROJECT/REPOSITORY, with :TAG or @sha256:... for an artifact"
        raise Misuse(message)
    return Reference(first, own, tag or None, digest or None)


def days(text: str) -> int:
    """``90d``, ``12w``, ``1y`` or ``never`` (-1) in days. Raises Misuse."""
    if text == "never":
        return -1
    match = _AGE.fullmatch(text)
    if match is None:
        message = f"{text!r} is no time to live; write 90d, 12w, 1y or never"
        raise Misuse(message)
    return int(match[1]) * _DAYS[match[2]]


def limit(text: str) -> int:
    """``10GiB`` or ``unlimited`` (-1) in bytes. Raises Misuse."""
    if text in {"unlimited", "-1"}:
        return UNLIMITED
    from corereg.config.units import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        message = f"{text!r} is no limit: it {error}, or unlimited"
        raise Misuse(message) from None


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as a mapping. Raises Misuse."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            message = f"{text!r} is not KEY=VALUE"
            raise Misuse(message)
        found[key] = value
    return found
