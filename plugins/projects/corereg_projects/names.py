"""What a project may be called, and where in a project a member's role may hold."""

from __future__ import annotations

import re

from corereg import BadRequest

LONGEST = 255

# Possessive quantifiers: a name that does not match fails in one pass.
_WORD = r"[a-z0-9]++(?:[._-][a-z0-9]++)*+"
_one = re.compile(rf"{_WORD}\Z")
_nested = re.compile(rf"{_WORD}(?:/{_WORD})*+\Z")
# A part of a repository's name may be a little more than a project's.
_PART = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+"
_below = re.compile(rf"{_PART}(?:/{_PART})*+(?:/\*\*?)?\Z")


def possible(name: str) -> bool:
    """Whether any project may have the name: what is asked before the database is."""
    return len(name) <= LONGEST and _nested.match(name) is not None


def check_name(name: str, *, nested: bool) -> None:
    """Raise BadRequest for a name that no project may have (Harbor's grammar, for each part of a nested one)."""
    if name and len(name) <= LONGEST and (_nested if nested else _one).match(name):
        return
    rule = f"1 to {LONGEST} of a-z and 0-9, with single . _ or - between them"
    if "/" in name and not nested:
        rule += "; projects do not stand in projects here ([projects] nested)"
    message = f"project name is not in lower case or contains illegal characters: {name[:80]!r}; use {rule}"
    raise BadRequest(message)


def check_searched(*texts: str) -> None:
    """Raise BadRequest for a text that no name can hold a part of: databases differ in what they make of it."""
    if any("\0" in text for text in texts):
        message = "what is searched for cannot hold the character NUL"
        raise BadRequest(message)


def ancestors(name: str) -> list[str]:
    """The names of the projects that a nested one stands in, outermost first: ``a``, ``a/b`` for ``a/b/c``."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def check_pattern(text: str) -> str:
    """Where in a project a role holds: empty for all of it, ``app/web`` for one repository, ``app/*`` for all below
    ``app``. Raises BadRequest for anything else: a right is looked up by prefix, never by matching.
    """
    if text in {"", "*", "**"}:
        return ""
    if len(text) <= LONGEST and _below.match(text):
        return text.removesuffix("*") if text.endswith("/**") else text
    message = (
        f"a role cannot be limited to {text[:80]!r}: write the name of one repository inside the project (app/web), or "
        "everything below a prefix (app/*)"
    )
    raise BadRequest(message)


def scope_of(project: str, pattern: str = "") -> str:
    """What a grant calls the project, or that part of it."""
    return f"{project}/{pattern or '*'}"
