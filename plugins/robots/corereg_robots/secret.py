"""Secrets of robots: 256 random bits, shown once, kept as what cannot be turned back.

A secret that we made needs no slow hash, nobody guesses it: SHA-256. One that a person chose gets a salt and PBKDF2, as
much of it as a sign-in can pay in passing (Harbor pays as much).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import unicodedata

from corereg import BadRequest

LENGTH = 43
"""Characters of 62: 256 bits."""
SHORTEST, LONGEST = 8, 128
ROUNDS = 4096
SALT = 16

_alphabet = string.ascii_letters + string.digits
_needed = {
    "lower-case letter": re.compile("[a-z]"),
    "upper-case letter": re.compile("[A-Z]"),
    "digit": re.compile("[0-9]"),
}


def generate() -> str:
    """A new secret: letters and digits only, so that no shell changes it."""
    return "".join(secrets.choice(_alphabet) for _ in range(LENGTH))


def check_strength(secret: str) -> None:
    """Raise BadRequest, naming the rule (Harbor's), for a chosen secret that breaks it. The secret is not repeated."""
    missing = [name for name, pattern in _needed.items() if not pattern.search(secret)]
    if not SHORTEST <= len(secret) <= LONGEST:
        wrong = f"has {len(secret)}"
    elif missing:
        wrong = f"has no {' and no '.join(missing)}"
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in secret):
        wrong = "holds a control character"
    else:
        return
    message = (
        f"the secret must be {SHORTEST}-{LONGEST}, inclusively, characters long with at least 1 uppercase letter, "
        f"1 lowercase letter and 1 number; this one {wrong}"
    )
    raise BadRequest(message)


def seal(secret: str, *, chosen: bool) -> str:
    """What is kept of a secret."""
    if not chosen:
        return f"sha256${hashlib.sha256(secret.encode()).hexdigest()}"
    salt = secrets.token_bytes(SALT)
    return f"pbkdf2${ROUNDS}${salt.hex()}${_stretched(secret.encode(), salt, ROUNDS)}"


def opens(secret: str, kept: str) -> bool:
    """Whether `kept` was made of this secret; in the same time for every wrong one."""
    try:
        given = secret.encode()
    except UnicodeEncodeError:
        return False
    match kept.split("$"):
        case ["sha256", right]:
            found = hashlib.sha256(given).hexdigest()
        case ["pbkdf2", rounds, salt, right]:
            found = _stretched(given, bytes.fromhex(salt), int(rounds))
        case _:
            return False
    return hmac.compare_digest(found, right)


def _stretched(secret: bytes, salt: bytes, rounds: int) -> str:
    key = hashlib.sha256(secret).digest()  # HMAC fills keys up with NULs: `secret` and `secret\0` would be one
    return hashlib.pbkdf2_hmac("sha256", key, salt, rounds).hex()
