"""Digests: ``algorithm:encoded`` (image-spec descriptor.md, section "Digests"). sha256 and sha512 are registered."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Protocol

from corereg.oci.errors import DigestInvalid, quoted

SHA256 = "sha256"
SHA512 = "sha512"
ALGORITHMS = {SHA256: 64, SHA512: 128}
"""Supported algorithm -> how many hex characters its digests have."""

_SUPPORTED = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_GRAMMAR = re.compile(r"([a-z0-9]++(?:[+._-][a-z0-9]++)*+):[a-zA-Z0-9=_-]++")
_LONGEST = 512


class Hasher(Protocol):
    """A running hash, as `hashlib` gives it."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Digest(str):
    """A digest that is known to be well formed: make it with `parse` or `of`. It is a `str` everywhere else."""

    __slots__ = ()

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        return self.partition(":")[2]

    @classmethod
    @lru_cache(maxsize=4096)
    def parse(cls, text: str) -> Digest:
        """The digest that `text` is; raises `DigestInvalid` for any other text and for unsupported algorithms."""
        if _SUPPORTED.fullmatch(text) is None:
            raise DigestInvalid(_reason(text))
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = SHA256) -> Digest:
        """The digest of `data`; raises `DigestInvalid` for an unsupported algorithm."""
        hashed = hasher(algorithm)
        hashed.update(data)
        return cls(f"{algorithm}:{hashed.hexdigest()}")


def hasher(algorithm: str = SHA256) -> Hasher:
    """A fresh hash; raises `DigestInvalid` for an unsupported algorithm."""
    if algorithm == SHA256:
        return hashlib.sha256()
    if algorithm == SHA512:
        return hashlib.sha512()
    raise DigestInvalid(_unsupported(algorithm))


def _unsupported(algorithm: str) -> str:
    return f"digest algorithm {quoted(algorithm, 40)} is not supported; use {' or '.join(ALGORITHMS)}"


def _reason(text: str) -> str:
    grammar = _GRAMMAR.fullmatch(text) if len(text) <= _LONGEST else None
    if grammar is None:
        return f"{quoted(text)} is not a digest; write <algorithm>:<hex>, such as sha256: and 64 lower-case hex digits"
    if (length := ALGORITHMS.get(grammar[1])) is None:
        return _unsupported(grammar[1])
    return f"{quoted(text)} is not a {grammar[1]} digest; it needs exactly {length} lower-case hex digits"
