"""User groups (swagger.yaml, tag ``usergroup``), and who belongs to local ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from corereg import SIGNED_IN, Created, Fields, Listed, Listing, Registry, Route, Session, page
from corereg_accounts.groups import CREATE, DELETE, FIELDS, LIST, READ, UPDATE, Group, Groups, Kind, group_of
from corereg_accounts.groups import key_of_group as key_of
from corereg_accounts.routes.tables import table
from corereg_accounts.routes.users import UserSearchRespItem
from corereg_accounts.schema import groups, members, users
from corereg_accounts.stores import Stores
from corereg_accounts.users import User, UserUnknown

TAG = "usergroup"
SORTED: Fields = {
    "id": groups.c.id,
    "group_name": groups.c.name,
    "group_type": groups.c.type,
    "ldap_group_dn": groups.c.dn,
}
"""What ``q`` and ``sort`` may name."""

_first = re.compile(r"[^=]*=\s*((?:\\.|[^,\\])*)")


class GroupListing(Listing, frozen=True, kw_only=True):
    """`group_name` is a part of the name in any case, `ldap_group_dn` a whole DN."""

    group_name: str = ""
    ldap_group_dn: str = ""


class GroupSearch(Listing, frozen=True, kw_only=True):
    """`groupname` is a part of the name, in any case."""

    groupname: str


class UserGroupReq(msgspec.Struct, frozen=True):
    """A group to be made, or its new name. `group_type`: 1 LDAP, 2 HTTP, 3 OIDC and, here alone, 4 local."""

    group_name: str | None = ""
    group_type: int = 0
    ldap_group_dn: str | None = ""


class UserGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group as Harbor's clients know one."""

    id: int
    group_name: str
    group_type: int
    ldap_group_dn: str = ""


class UserGroupSearchItem(msgspec.Struct, frozen=True, kw_only=True):
    """Which group a search finds."""

    id: int
    group_name: str
    group_type: int


class GroupRoutes:
    """The routes of one registry. `stores` gives the stores, which are there once the registry is open."""

    def __init__(self, registry: Registry, stores: Callable[[], Stores]) -> None:
        self._registry = registry
        self._stores = stores

    @property
    def _groups(self) -> Groups:
        return self._stores().groups

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/api/v2.0/usergroups"
        one, member = f"{base}/{{group_id}}", f"{base}/{{group_id}}/members/{{user_id}}"
        say, more = table(TAG), table(TAG, extension=True)
        return [
            say("GET", base, self.list_user_groups, LIST, "List user groups."),
            say("POST", base, self.create_user_group, CREATE, "Make a user group.", 409),
            say("GET", f"{base}/search", self.search_user_groups, SIGNED_IN, "Search user groups by name."),
            say("GET", one, self.get_user_group, READ, "A user group."),
            say("PUT", one, self.update_user_group, UPDATE, "Rename a user group.", 409),
            say("DELETE", one, self.delete_user_group, DELETE, "Delete a user group."),
            more("GET", f"{one}/members", self.list_user_group_members, READ, "Who belongs to a user group."),
            more("PUT", member, self.add_user_group_member, UPDATE, "Let a user belong to a local group.", 412),
            more("DELETE", member, self.remove_user_group_member, UPDATE, "Take a user out of a local group.", 412),
        ]

    async def list_user_groups(self, session: Session, query: GroupListing) -> Listed[UserGroup]:
        """Groups of all kinds, by name unless asked otherwise."""
        select = sa.select(*FIELDS)
        if query.group_name:
            select = select.where(groups.c.name.icontains(query.group_name, autoescape=True))
        if query.ldap_group_dn:
            key = key_of(Kind.LDAP, "", query.ldap_group_dn)
            select = select.where(groups.c.type == int(Kind.LDAP), groups.c.key == key)
        rows, total = await page(self._registry.database, select, query, SORTED, groups.c.name, groups.c.id)
        return Listed([_response(group_of(row)) for row in rows], total)

    async def search_user_groups(self, session: Session, query: GroupSearch) -> Listed[UserGroupSearchItem]:
        """For everybody who has signed in."""
        select = sa.select(*FIELDS).where(groups.c.name.icontains(query.groupname, autoescape=True))
        rows, total = await page(self._registry.database, select, query, SORTED, groups.c.name, groups.c.id)
        found = [group_of(row) for row in rows]
        return Listed(
            [UserGroupSearchItem(id=each.id, group_name=each.name, group_type=each.type) for each in found], total
        )

    async def create_user_group(self, session: Session, body: UserGroupReq) -> Created[None]:
        """Groups of LDAP are known by their DN, the others by their name; only local ones are filled here."""
        name, dn = body.group_name or "", body.ldap_group_dn or ""
        if not name and body.group_type == Kind.LDAP and (match := _first.match(dn)):
            name = match[1].strip()
        return Created((await self._groups.create(session, body.group_type, name, dn)).id)

    async def get_user_group(self, session: Session, group_id: int) -> UserGroup:
        """One group."""
        return _response(await self._groups.with_id(group_id))

    async def update_user_group(self, session: Session, group_id: int, body: UserGroupReq) -> None:
        """The name alone is changed, whatever else is sent."""
        await self._groups.rename(session, await self._groups.with_id(group_id), body.group_name or "")

    async def delete_user_group(self, session: Session, group_id: int) -> None:
        """Whoever had rights through the group has them no more, within seconds."""
        await self._groups.delete(session, await self._groups.with_id(group_id))

    async def list_user_group_members(
        self, session: Session, group_id: int, query: Listing
    ) -> Listed[UserSearchRespItem]:
        """By name. People from a directory are there once they have signed in."""
        group = await self._groups.with_id(group_id)
        select = sa.select(users.c.id, users.c.name).join(members, members.c.user_id == users.c.id)
        select = select.where(members.c.group_id == group.id)
        fields = {"user_id": users.c.id, "username": users.c.name}
        rows, total = await page(self._registry.database, select, query, fields, users.c.name_key)
        return Listed([UserSearchRespItem(user_id=row[0], username=row[1]) for row in rows], total)

    async def add_user_group_member(self, session: Session, group_id: int, user_id: int) -> None:
        """Twice is no error."""
        await self._groups.add(session, await self._groups.with_id(group_id), await self._user(user_id))

    async def remove_user_group_member(self, session: Session, group_id: int, user_id: int) -> None:
        """What they had through the group they have no more, within seconds."""
        await self._groups.remove(session, await self._groups.with_id(group_id), await self._user(user_id))

    async def _user(self, user_id: int) -> User:
        user = await self._stores().users.with_id(user_id)
        if user is None:
            message = f"there is no user with the id {user_id}"
            raise UserUnknown(message)
        return user


def _response(group: Group) -> UserGroup:
    return UserGroup(id=group.id, group_name=group.name, group_type=group.type, ldap_group_dn=group.dn)
