"""What can be set for a project, key by key. Values are texts, as Harbor keeps them.

`public` and `visibility` are two words for one thing, which the project keeps by itself: ``public`` lets anybody in,
``internal`` (beyond Harbor) anybody who has signed in, ``private`` members alone. ``public=true`` is said of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import msgspec

from corereg import BadRequest

Visibility = Literal["private", "internal", "public"]
OPENNESS: Mapping[str, int] = {"private": 0, "internal": 1, "public": 2}
"""The visibilities, and how open each is."""
READ_ONLY = "retention_id"

_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
SEVERITIES = ("none", "low", "medium", "high", "critical")
LONGEST_PATTERN = 1024
LARGEST_SPEED = 2**31 - 1


class ProjectMetadata(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What can be set for a project; what is not set is left out."""

    public: str | None = None
    visibility: str | None = None
    enable_content_trust: str | None = None
    enable_content_trust_cosign: str | None = None
    prevent_vul: str | None = None
    severity: str | None = None
    auto_scan: str | None = None
    auto_sbom_generation: str | None = None
    reuse_sys_cve_allowlist: str | None = None
    retention_id: str | None = None
    proxy_speed_kb: str | None = None
    max_upstream_conn: str | None = None
    proxy_cache_local_on_not_found: str | None = None
    proxy_referrer_api: str | None = None
    proxy_cache_filter_pattern: str | None = None
    proxy_cache_filter_kind: str | None = None

    def values(self) -> dict[str, str]:
        """What was given."""
        return {key: value for key in self.__struct_fields__ if (value := getattr(self, key)) is not None}


def _boolean(value: str) -> str:
    if value in _TRUE | _FALSE:
        return "true" if value in _TRUE else "false"
    message = "true or false"
    raise ValueError(message)


def _one_of(*words: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() in words:
            return value.lower()
        raise ValueError(", ".join(words[:-1]) + f" or {words[-1]}")

    return check


def _number(value: str, smallest: int) -> int:
    digits = value.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) <= len(str(LARGEST_SPEED)):
        number = int(value)
        if smallest <= number <= LARGEST_SPEED:
            return number
    message = f"a whole number from {smallest} to {LARGEST_SPEED}"
    raise ValueError(message)


def _speed(value: str) -> str:
    return str(_number(value, -1))


def _connections(value: str) -> str:
    number = _number(value, -1)
    if number == 0:
        message = "-1 (no limit) or more than 0"
        raise ValueError(message)
    return str(number)


def _pattern(value: str) -> str:
    if len(value) <= LONGEST_PATTERN and value.isprintable():
        return value
    message = f"a pattern of at most {LONGEST_PATTERN} characters"
    raise ValueError(message)


KEYS: Mapping[str, Callable[[str], str]] = {
    "public": _boolean,
    "visibility": _one_of(*OPENNESS),
    "enable_content_trust": _boolean,
    "enable_content_trust_cosign": _boolean,
    "prevent_vul": _boolean,
    "severity": _one_of(*SEVERITIES),
    "auto_scan": _boolean,
    "auto_sbom_generation": _boolean,
    "reuse_sys_cve_allowlist": _boolean,
    "proxy_speed_kb": _speed,
    "max_upstream_conn": _connections,
    "proxy_cache_local_on_not_found": _boolean,
    "proxy_referrer_api": _boolean,
    "proxy_cache_filter_pattern": _pattern,
    "proxy_cache_filter_kind": _one_of("doublestar", "regex"),
}
"""Every key that can be written, and what makes its value the one that is kept (ValueError says what it must be)."""


def normalised(values: Mapping[str, str]) -> dict[str, str]:
    """The values as they are kept. Raises BadRequest for an unknown key, and for a value that the key cannot have."""
    return {key: _normal(key, value) for key, value in values.items()}


def _normal(key: str, value: str) -> str:
    check = KEYS.get(key)
    if check is None:
        message = f"the metadata {key[:40]!r} cannot be set; what can is {', '.join(KEYS)}"
        raise BadRequest(message)
    try:
        return check(value)
    except ValueError as error:
        message = f"the metadata {key} cannot be {value[:40]!r}; it is {error}"
        raise BadRequest(message) from None


def visibility_of(values: Mapping[str, str], current: Visibility | None = None) -> Visibility:
    """What `public` and `visibility` among normalised values say together.

    A client that sends back all it has read and changes one of them means that one. Raises BadRequest where they
    contradict each other.
    """
    said = cast("Visibility | None", values.get("visibility"))
    public = values.get("public")
    if said == current:
        said = None
    if public is not None and current is not None and (public == "true") == (current == "public"):
        public = None
    if said is not None:
        if public is not None and (public == "true") != (said == "public"):
            message = f"the metadata public={public} and visibility={said} contradict each other; send one of them"
            raise BadRequest(message)
        return said
    if public is not None:
        return "public" if public == "true" else "private"
    return current or "private"


def shown(visibility: Visibility, kept: Mapping[str, str]) -> dict[str, str]:
    """All metadata of a project as it is told. `visibility` stands there where `public` does not say it all."""
    said = {"public": "true" if visibility == "public" else "false"}
    if visibility == "internal":
        said["visibility"] = visibility
    return said | dict(kept)
