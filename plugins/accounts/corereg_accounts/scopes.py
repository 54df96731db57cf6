"""Scopes of personal access tokens: ``<resource>:<where>:<actions>``, such as ``repository:team/*:pull,push``.

`where` is ``*`` (every repository), ``team/*`` (all below a namespace), ``team/app`` (one repository) or ``system``.
Resources and actions are the words of Harbor's roles; an action may be ``*``.
"""

from __future__ import annotations

import re

from corereg import ANYWHERE, BadRequest, Grant

MOST = 16
"""Scopes of one token: they travel in the bearer tokens that are made from it."""
LONGEST = 512

_word = re.compile(r"[a-z][a-z-]{0,39}\Z")
_segment = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_where = re.compile(rf"(?:system|{_segment}(?:/{_segment})*/\*|{_segment}(?:/{_segment})+)\Z")


def limit_of(text: str) -> Grant:
    """The most that a scope leaves of its owner's rights. Raises BadRequest."""
    resource, where, actions = (*text.split(":"), "", "", "")[:3]
    words = actions.split(",")
    fits = (
        len(text) <= LONGEST
        and text.count(":") == 2
        and _word.match(resource)
        and (where == "*" or _where.match(where))
        and all(word == "*" or _word.match(word) for word in words)
    )
    if not fits:
        message = f"{text[:80]!r} is no scope; write <resource>:<where>:<actions>, such as repository:team/*:pull,push"
        raise BadRequest(message)
    return Grant(ANYWHERE if where == "*" else where, resource, frozenset(words))


def limits_of(scopes: list[str] | None) -> tuple[Grant, ...] | None:
    """The most that all of them leave; None, for no list at all, leaves everything. Raises BadRequest."""
    if scopes is None:
        return None
    if not 1 <= len(scopes) <= MOST:
        message = f"a token has 1 to {MOST} scopes, or none at all (null) and may then do what you may"
        raise BadRequest(message)
    return tuple(limit_of(scope) for scope in scopes)
