"""Passwords: which are good enough, and how they are kept (argon2id, RFC 9106).

A check costs tens of milliseconds of two cores and 64 MiB, on purpose. So at most two run at once, in threads, and
whoever asks more often waits in line while the registry goes on.
"""

from __future__ import annotations

import re
import secrets
import string
import unicodedata
from typing import Self

import anyio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from corereg import OCIError, Threads

SHORTEST, LONGEST = 8, 128
AT_ONCE = 2
NICE = 10
"""How much a check gives way: whoever signs in can wait a second, whoever pulls should not notice."""
GENERATED = 24
"""Characters of a generated password: 140 bits."""

_needed = {
    "lower-case letter": re.compile("[a-z]"),
    "upper-case letter": re.compile("[A-Z]"),
    "digit": re.compile("[0-9]"),
}
_alphabet = "".join(sorted(set(string.ascii_letters + string.digits) - set("0O1lI")))


class PasswordRefused(OCIError, code="BAD_REQUEST", status=400):
    """A password that breaks the rule."""


def check_strength(password: str) -> None:
    """Raise PasswordRefused, naming the rule (Harbor's), unless the password keeps it."""
    missing = [name for name, pattern in _needed.items() if not pattern.search(password)]
    if not SHORTEST <= len(password) <= LONGEST:
        wrong = f"has {len(password)}"
    elif missing:
        wrong = f"has no {' and no '.join(missing)}"
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in password):
        wrong = "holds a control character"
    else:
        return
    message = (
        f"a password has {SHORTEST} to {LONGEST} characters, among them a lower-case letter, an upper-case letter "
        f"and a digit; this one {wrong}"
    )
    raise PasswordRefused(message)


def generate() -> str:
    """A password that nobody guesses and no shell changes; without characters that look alike."""
    while True:
        password = "".join(secrets.choice(_alphabet) for _ in range(GENERATED))
        if all(pattern.search(password) for pattern in _needed.values()):
            return password


class Passwords:
    """Makes and checks hashes. Use it in a ``with`` block, in one event loop."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        # Whoever waits for a turn can be cancelled; a thread that works cannot, and keeps its turn until it ends.
        self._turns = anyio.CapacityLimiter(AT_ONCE)
        self._threads = Threads(AT_ONCE, "corereg-passwords", nice=NICE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.close()

    async def hash(self, password: str) -> str:
        """What is kept of a password."""
        async with self._turns:
            return await self._threads.run(self._hasher.hash, _bytes(password) or b"")

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether this is the password that `kept` was made of; never for None, which takes as long."""
        given = _bytes(password)
        async with self._turns:
            return await self._threads.run(self._verify, kept, given)

    def _verify(self, kept: str | None, given: bytes | None) -> bool:
        if kept is None or given is None:
            self._hasher.hash(given or b"")  # costs what a check costs
            return False
        try:
            return self._hasher.verify(kept, given)
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, kept: str) -> bool:
        """Whether today's parameters are others than those `kept` was made with."""
        return self._hasher.check_needs_rehash(kept)


def _bytes(password: str) -> bytes | None:
    """A password as it is hashed, however a keyboard composes its accents; None for what can be nobody's."""
    if len(password) > LONGEST:
        return None
    try:
        return unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        return None
