"""Words for rights: the roles of a project's members, what robots may do, and how one is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from corereg.client.api import API, path_of
from corereg.client.errors import Misuse
from corereg.client.words import near

ROLES = {"project-admin": 1, "maintainer": 4, "developer": 2, "guest": 3, "limited-guest": 5}
"""Harbor's roles and their numbers, the mightiest first."""
_ROLE_WORDS = {number: word for word, number in ROLES.items()}


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


def robot_named(api: API, name: str, project: str | None) -> dict[str, Any] | None:
    """A robot by the name it was made with, or by its whole one; how a registry puts names together is its own affair.

    Harbor keeps ``ci`` of the project demo as ``demo+ci``.
    """
    scope = robots_of(api, project)
    spelled = [name] if project is None else [name, f"{project}+{name}"]
    for query in ("name=" + each for each in spelled):
        for robot in api.listed("/robots", q=f"{scope},{query}" if scope else query):
            return robot
    return next((robot for robot in api.listed("/robots", q=scope) if robot.get("name") == name), None)


def robots_of(api: API, project: str | None) -> str | None:
    """The ``q`` that lists a project's robots; None lists the system's."""
    if project is None:
        return None
    return f"Level=project,ProjectID={api.get(path_of('projects', project))['project_id']}"
