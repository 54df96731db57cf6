"""Which bucket a URL names: ``s3://bucket/prefix?endpoint=https://host&region=name``."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_FORM = "write s3://bucket, s3://bucket/prefix or s3://bucket/prefix?endpoint=https://host:port&region=name"


class Place(msgspec.Struct, frozen=True):
    """A bucket, and the beginning of all keys in it: empty, or with a slash at the end."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    def name(self, key: str = "") -> str:
        """What a person is told: ``s3://bucket/prefix/key``."""
        return f"s3://{self.bucket}/{self.prefix}{key}"


def place_of(url: str) -> Place:
    """Raises ValueError, without repeating what may be a secret in the URL."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise ValueError(f"the s3: URL cannot be read; {_FORM}") from None
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong into a URL; set access_key and secret_key in [storage_s3]")
    if surplus := sorted(query.keys() - {"endpoint", "region"}):
        raise ValueError(f"an s3: URL takes endpoint and region, not {', '.join(surplus)}; the rest is in [storage_s3]")
    prefix = unquote(parts.path).strip("/")
    if (
        not _BUCKET.fullmatch(parts.netloc)
        or parts.fragment
        or {"", ".", ".."} & set(prefix.split("/") if prefix else ())
    ):
        raise ValueError(f"the s3: URL names no bucket; {_FORM}")
    endpoint = query.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint)
    return Place(parts.netloc, f"{prefix}/" if prefix else "", endpoint, query.get("region"))


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    try:
        sound = bool((parts.hostname or "").encode("idna"))
    except UnicodeError:
        sound = False
    if parts.scheme not in {"http", "https"} or not sound or "@" in parts.netloc or parts.query:
        raise ValueError("the s3: URL's endpoint is no address like https://host:port")
