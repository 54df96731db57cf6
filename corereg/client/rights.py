"""Words for rights: the roles of a project's members, what robots may do, and what robots are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from corereg.client.errors import Misuse
from corereg.client.words import near

ROLES = {"project-admin": 1, "maintainer": 4, "developer": 2, "guest": 3, "limited-guest": 5}
"""Harbor's roles and their numbers, the mightiest first."""
_ROLE_WORDS = {number: word for word, number in ROLES.items()}

_SIGNS = re.compile(r"[$+:/@~]")

PRESETS = {
    "pull": (("repository", "pull"),),
    "push": (("repository", "push"), ("repository", "pull")),
}
"""Words for what robots do, beside ``RESOURCE:ACTION``: who pushes must look first, so push holds pull."""


def role_word(number: Any) -> str:
    """A role as commands and files write it; a role of one's own keeps its number."""
    return _ROLE_WORDS.get(number, str(number))


def role_number(text: str) -> int:
    """A role's number; ``project-admin``, ``projectAdmin`` and ``1`` are one. Raises Misuse."""
    if text.isascii() and text.isdigit():
        return int(text)
    word = "".join(f"-{sign.lower()}" if sign.isupper() else sign for sign in text).removeprefix("-")
    if word in ROLES:
        return ROLES[word]
    message = f"there is no role {text!r}.{near(text, ROLES)}"
    raise Misuse(message, hint=f"Roles: {', '.join(ROLES)}, or the number of a role of your own.")


def accesses(words: Iterable[str]) -> list[dict[str, str]]:
    """``pull``, ``push`` and ``RESOURCE:ACTION`` as the API takes them. Raises Misuse."""
    rights: dict[tuple[str, str], None] = {}
    for word in filter(None, (each.strip() for each in words)):
        resource, colon, action = word.partition(":")
        if word in PRESETS:
            rights |= dict.fromkeys(PRESETS[word])
        elif colon and resource and action:
            rights[resource, action] = None
        else:
            message = f"{word!r} is no right.{near(word, PRESETS)}"
            raise Misuse(message, hint=f"Rights: {', '.join(PRESETS)}, or RESOURCE:ACTION as tag:delete.")
    return [{"resource": resource, "action": action} for resource, action in rights]


def robot_name(whole: str, project: str | None) -> str:
    """The name a robot was made with: ``ci`` of ``robot$demo+ci``. Prefixes hold a sign that names have not."""
    if project is not None and f"{project}+" in whole:
        return whole.partition(f"{project}+")[2]
    return _SIGNS.split(whole)[-1]
