"""What a user may be called, and when two names are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from corereg import OCIError

LONGEST = 255
FORBIDDEN = ',"~#%$:'
"""Harbor's list, and the colon, which ends the name in Basic credentials."""
RESERVED = {"anonymous", "system"}
"""Names of the registry's own identities: in the journal nobody may be taken for one of them."""

# Characters that Unicode counts among letters, marks and symbols, but nobody sees.
_unseen = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]")
SHORT = 30
"""Characters a comment may have; Harbor's bound."""
_email = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+\Z")


class NameRefused(OCIError, code="BAD_REQUEST", status=400):
    """A name, or an address, that nobody can have."""


def key_of(name: str) -> str:
    """What is unique: ``Alice`` and ``alice`` are one."""
    return unicodedata.normalize("NFKC", name.casefold())


def problem_of(name: str) -> str | None:
    """What is wrong with a name, as the second half of a sentence; None for a good one."""
    return next(_problems(name), None)


def _problems(name: str) -> Iterator[str]:
    if not name or len(name) > LONGEST:
        yield f"has 1 to {LONGEST} characters, this one {len(name)}"
        return
    if not name.isprintable() or _unseen.search(name):
        yield "cannot hold characters that nobody sees"
    if set(name) & set(FORBIDDEN):
        yield f"cannot hold any of {FORBIDDEN}"
    if name != name.strip():
        yield "cannot begin or end with a space"
    if unicodedata.normalize("NFKC", name) != name:
        yield "cannot hold characters that stand for other ones; write plain letters (Unicode NFKC)"
    if unicodedata.category(name[0]).startswith("M"):
        yield "cannot begin with an accent"
    if key_of(name) in RESERVED:
        yield "cannot be that of the registry itself"


def check_name(name: str) -> None:
    """Raise NameRefused for a name that nobody may have."""
    problem = problem_of(name)
    if problem is not None:
        message = f"the name of a user {problem}"
        raise NameRefused(message)


def check_email(email: str) -> None:
    """Raise NameRefused for what is no address."""
    if len(email) > LONGEST or not email.isprintable() or not _email.match(email):
        message = f"an email address looks like alice@example.com and has at most {LONGEST} characters"
        raise NameRefused(message)


def check_profile(email: str, realname: str, comment: str) -> None:
    """Raise NameRefused unless these can stand in a profile (Harbor's rules: an address and a full name are needed)."""
    check_email(email)
    if not 1 <= len(realname) <= LONGEST or not realname.isprintable():
        message = f"a full name (realname) has 1 to {LONGEST} characters that can be seen"
        raise NameRefused(message)
    if set(realname) & set(FORBIDDEN.removesuffix(":")):
        message = f"a full name (realname) cannot hold any of {FORBIDDEN.removesuffix(':')}"
        raise NameRefused(message)
    if len(comment) > SHORT or not comment.isprintable():
        message = f"a comment has at most {SHORT} characters that can be seen"
        raise NameRefused(message)
