"""What this plugin asks others: implement it with ``@hookimpl(optionalhook=True)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from corereg import Namespace, Principal, hookspec


@hookspec
async def find_principal(kind: Literal["user", "group"], reference: int | str, group_type: int) -> Principal | None:
    """Say which user or group a number or a name means. Of groups with one name the one of `group_type` (1 LDAP, 2
    HTTP, 3 OIDC, 4 local) is meant; 0 is any. Who keeps only one type of groups may leave that out.

    Asked: when somebody is made a member, with what the request says; and when a user or a group was changed.
    Order: the first plugin that answers wins.
    None: not known to this plugin; when nobody answers, the request is refused.
    Raises: anything; the request fails.
    Example::

        @hookimpl(optionalhook=True)
        async def find_principal(kind, reference):
            if kind == "user" and reference in {7, "alice"}:
                return Principal("user", 7, "alice", "user:7")
    """


@hookspec
async def describe_projects(namespaces: Sequence[Namespace]) -> Mapping[int, Mapping[str, Any]] | None:
    """Say what you know about projects, by number: ``quota`` (shown to whoever may read it), ``registry_id``,
    ``metadata`` (further texts).

    Asked: once for each page of projects, never for each of them.
    Order: every plugin; of two that tell the same, the later one wins.
    None: nothing to tell.
    Raises: anything; the projects are shown without it, and the error is logged.
    Example::

        @hookimpl(optionalhook=True)
        async def describe_projects(namespaces):
            return {each.id: {"metadata": {"retention_id": "1"}} for each in namespaces}
    """
