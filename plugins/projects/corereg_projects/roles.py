"""Who may do what in a project: Harbor's five roles and what anybody may do in a public one, word for word.

A permission is a pair of a resource and an action. The resource ``project`` is the project itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from corereg import Grant

Permission = tuple[str, str]
Permissions = frozenset[Permission]


def _read(table: str) -> Permissions:
    """Lines of a resource and its actions."""
    lines = (line.split() for line in table.strip().splitlines())
    return frozenset((resource, action) for resource, *actions in lines for action in actions)


PROJECT_ADMIN = _read("""
    project              read update delete
    member               create read update delete list
    metadata             create read update delete
    log                  list
    label                create read update delete list
    quota                read
    repository           create read update delete list pull push
    tag-retention        create read update delete list operate
    immutable-tag        create update delete list
    configuration        read update
    robot                create read update delete list
    notification-policy  create read update delete list
    scan                 create read stop
    sbom                 create read stop
    scanner              create read
    artifact             create read delete list
    artifact-addition    read
    artifact-label       create delete
    tag                  create delete list
    accessory            list
    preheat-policy       create read update delete list
    export-cve           create read list
""")

MAINTAINER = _read("""
    project              read
    member               read list
    metadata             read
    label                create read update delete list
    quota                read
    repository           create read update delete list pull push
    tag-retention        create read update delete list operate
    immutable-tag        create update delete list
    configuration        read
    robot                read list
    notification-policy  read list
    scan                 create read stop
    sbom                 create read stop
    scanner              read
    artifact             create read delete list
    artifact-addition    read
    artifact-label       create delete
    tag                  create delete list
    accessory            list
    export-cve           create read list
""")

DEVELOPER = _read("""
    project              read
    member               read list
    label                read list
    quota                read
    repository           create read update list pull push
    tag-retention        create read update delete list operate
    configuration        read
    robot                read list
    scan                 read
    sbom                 read
    scanner              read
    artifact             create read list
    artifact-addition    read
    artifact-label       create delete
    tag                  create list
    accessory            list
    export-cve           create read list
""")

GUEST = _read("""
    project              read
    member               read list
    label                read list
    quota                read
    repository           read list pull
    configuration        read
    robot                read list
    scan                 read
    sbom                 read
    scanner              read
    artifact             read list
    artifact-addition    read
    tag                  list
    accessory            list
""")

LIMITED_GUEST = _read("""
    project              read
    quota                read
    repository           read list pull
    configuration        read
    scan                 read
    sbom                 read
    scanner              read
    artifact             read list
    artifact-addition    read
    tag                  list
    accessory            list
""")

EVERYBODY = _read("""
    project              read
    label                read list
    repository           list pull
    scan                 read
    scanner              read
    artifact             read list
    artifact-addition    read
    tag                  list
    accessory            list
""")
"""What anybody may do in a public project, member or not."""

SYSTEM = _read("""
    catalog              read
    audit-log            list
    project              create read update delete list
    user                 create read update delete list
    user-group           create read update delete list
    registry             create read update delete list
    replication          create read update delete list
    distribution         create read update delete list
    garbage-collection   create read update delete list
    scan-all             create read update delete list stop
    system-volumes       read
    ldap-user            create list
    configuration        read update
    jobservice-monitor   read list stop
    security-hub         read list
""")
"""What ``GET /users/current/permissions`` tells of the system."""


class Role(msgspec.Struct, frozen=True):
    """A role: its number, its name, and what it may."""

    id: int
    name: str
    permissions: Permissions


ADMIN_ID = 1
HIGHEST_FIRST = (
    Role(ADMIN_ID, "projectAdmin", PROJECT_ADMIN),
    Role(4, "maintainer", MAINTAINER),
    Role(2, "developer", DEVELOPER),
    Role(3, "guest", GUEST),
    Role(5, "limitedGuest", LIMITED_GUEST),
)
BUILT_IN: Mapping[int, Role] = {role.id: role for role in HIGHEST_FIRST}
FIRST_CUSTOM = 100
"""The number of the first custom role; Harbor's stay far below."""

ALL = frozenset[Permission]().union(*(role.permissions for role in HIGHEST_FIRST))
"""Every permission that there is in a project, and so what custom roles are made of."""

IN_REPOSITORIES = frozenset(
    {"repository", "artifact", "artifact-addition", "artifact-label", "tag", "accessory", "scan", "sbom"}
)
"""Resources that belong to one repository: what a role still means when it is limited to a part of a project."""


def ranked(ids: Iterable[int]) -> list[int]:
    """Numbers of roles, the highest first; custom ones come last."""
    order = {role.id: place for place, role in enumerate(HIGHEST_FIRST)}
    return sorted(set(ids), key=lambda each: (order.get(each, FIRST_CUSTOM), each))


def grants_of(
    permissions: Permissions, scopes: Iterable[str], within: Literal["projects", "repositories"] = "projects"
) -> list[Grant]:
    """The permissions at all of `scopes`: one grant for each resource."""
    kept = frozenset(scopes)
    if not kept:
        return []
    return [
        Grant(kept, resource, actions)
        for resource, actions in _by_resource(permissions).items()
        if within == "projects" or resource in IN_REPOSITORIES
    ]


@lru_cache(maxsize=256)
def _by_resource(permissions: Permissions) -> Mapping[str, frozenset[str]]:
    """Actions by resource, `repository` first: a pull looks at one grant."""
    resources = sorted({resource for resource, _ in permissions}, key=lambda each: (each != "repository", each))
    return {each: frozenset(action for resource, action in permissions if resource == each) for each in resources}
