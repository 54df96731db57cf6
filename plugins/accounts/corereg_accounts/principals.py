"""Users and groups as other plugins name them: by number, or by name."""

from __future__ import annotations

from corereg import Missing, Principal
from corereg_accounts.groups import Group, Kind
from corereg_accounts.stores import Stores
from corereg_accounts.users import User, UserUnknown


async def principal(stores: Stores, kind: str, reference: int | str, group_type: int) -> Principal | None:
    """The user or the group that is meant; a group may be named by its DN too, and is of that type unless it is 0."""
    if kind == "user":
        user = await _user(stores, reference)
        return None if user is None else Principal("user", user.id, user.name, user.subject)
    if kind == "group":
        group = await _group(stores, reference, group_type)
        return None if group is None else Principal("group", group.id, group.name, group.subject)
    return None


async def _user(stores: Stores, reference: int | str) -> User | None:
    if isinstance(reference, int):
        return await stores.users.with_id(reference)
    try:
        return await stores.users.named(reference)
    except UserUnknown:
        return None


async def _group(stores: Stores, reference: int | str, group_type: int) -> Group | None:
    if isinstance(reference, str):
        kinds = [each for each in Kind if group_type in {0, each}]
        return await stores.groups.named(reference, kinds) if kinds else None
    try:
        return await stores.groups.with_id(reference)
    except Missing:
        return None
