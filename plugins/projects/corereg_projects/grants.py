"""What somebody may do: the roles they have in projects, and what public projects let everybody do.

Both are kept in memory, stamped with the serial of rights known before they were read, and read anew when a later
change touches them: a session costs no query, and what was taken away is gone within a second or two.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from corereg import ANONYMOUS, Action, Grant, Identity, Registry
from corereg_projects.custom import permissions_of, role_number
from corereg_projects.names import scope_of
from corereg_projects.roles import BUILT_IN, EVERYBODY, Permissions, Role, grants_of
from corereg_projects.schema import members, projects, roles

SUBJECT = "projects"
"""The subject whose rights change when a project is opened to more people; where one is closed, everybody's do."""
MOST = 10_000
"""Identities whose roles are remembered."""

CREATE = Action("project", "create")
RESTRICTION = "project_creation_restriction"
_CREATE = Grant("system", "project", frozenset({"create"}))
_SEE = frozenset({("project", "read")})
_NOBODY = Role(0, "", frozenset())

OPENED = sa.select(projects.c.name, projects.c.visibility).where(projects.c.visibility != "private")


class Opened(msgspec.Struct, frozen=True):
    """The projects that somebody may see without being a member, and what may be done there."""

    scopes: frozenset[str]
    grants: tuple[Grant, ...]


class Known(msgspec.Struct, frozen=True):
    """Grants, and the serial of rights they hold for."""

    serial: int
    grants: tuple[Grant, ...]


class Rights:
    """What the projects of one registry give to identities."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._opened: tuple[int, Opened, Opened] | None = None
        self._known: OrderedDict[tuple[str, tuple[str, ...]], Known] = OrderedDict()

    async def of(self, identity: Identity) -> list[Grant]:
        """All grants of an identity. Administrators have theirs from whoever says that they are."""
        rights = self._registry.rights
        if rights.due():
            await rights.refresh()
        found = list((await self.opened(identity)).grants)
        if identity.anonymous or identity.administrator:
            return found
        if identity.kind == "user" or identity.groups:
            found += await self._roles(identity)
        if identity.kind == "user" and self._registry.settings.get(RESTRICTION) == "everyone":
            found.append(_CREATE)
        return found

    async def opened(self, identity: Identity = ANONYMOUS) -> Opened:
        """What is open to the identity."""
        rights = self._registry.rights
        if self._opened is None or rights.stale(SUBJECT, (), self._opened[0]):
            serial = rights.serial
            rows = await self._registry.database.rows(OPENED)
            public = _opened(name for name, visibility in rows if visibility == "public")
            internal = _opened(name for name, _ in rows)
            self._opened = (serial, public, internal)
        _, public, internal = self._opened
        return internal if identity.kind == "user" else public

    async def _roles(self, identity: Identity) -> Sequence[Grant]:
        rights = self._registry.rights
        key = (identity.subject, identity.groups)
        known = self._known.get(key)
        if known is None or rights.stale(*key, known.serial):
            serial = rights.serial
            known = Known(serial, tuple(await self._read(key[0], key[1])))
            self._known[key] = known
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return known.grants

    async def _read(self, subject: str, groups: tuple[str, ...]) -> list[Grant]:
        select = (
            sa.select(projects.c.name, members.c.pattern, members.c.role_id, roles.c.permissions)
            .join(projects, projects.c.id == members.c.project_id)
            .join(roles, role_number == members.c.role_id, isouter=True)
            .where(members.c.subject.in_([subject, *groups]))
        )
        whole: dict[Permissions, set[str]] = {}
        parts: dict[Permissions, set[str]] = {}
        seen = set()
        for name, pattern, role_id, custom in await self._registry.database.rows(select):
            permissions = permissions_of(custom) if custom else BUILT_IN.get(role_id, _NOBODY).permissions
            (parts if pattern else whole).setdefault(permissions, set()).add(scope_of(name, pattern))
            if pattern:
                seen.add(scope_of(name))
        return [
            *(grant for permissions, scopes in whole.items() for grant in grants_of(permissions, scopes)),
            *(
                grant
                for permissions, scopes in parts.items()
                for grant in grants_of(permissions, scopes, "repositories")
            ),
            *grants_of(_SEE, seen),
        ]


def _opened(names: Iterable[str]) -> Opened:
    scopes = frozenset(map(scope_of, names))
    return Opened(scopes, tuple(grants_of(EVERYBODY, scopes)))
