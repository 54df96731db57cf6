"""What a robot may be given: Harbor's two lists of seventy, as its server checks them and ``GET /permissions`` shows
them.

In the second one the resource ``project`` is the project itself. That no robot can be given ``robot:update`` is meant
so: none can take over another.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Right(msgspec.Struct, frozen=True):
    """An action on a resource."""

    resource: str
    action: str

    def __str__(self) -> str:
        return f"{self.resource}:{self.action}"


def _rights(text: str) -> tuple[Right, ...]:
    lines = (line.split(":") for line in text.split("\n") if line)
    return tuple(Right(resource.strip(), action) for resource, actions in lines for action in actions.split())


SYSTEM = _rights("""
audit-log: list
preheat-instance: read create delete list update
project: list create
replication-policy: read create delete list update
replication: read create list
replication-adapter: list
registry: read create delete list update
scan-all: read update stop create
system-volumes: read
garbage-collection: read create list update stop
purge-audit: read create list update stop
jobservice-monitor: list stop
scanner: read create delete list update
label: read create delete update
security-hub: read list
catalog: read
quota: read list
robot: create read list delete
user: create read update list delete
ldap-user: create list
quota: update
user-group: create read update list delete
""")
"""In the system."""

PROJECT = _rights("""
log: list
project: read delete update
metadata: read create delete list update
repository: read update delete list pull push
artifact: read create list delete
scan: create read stop
sbom: create stop read
tag: create list delete
accessory: list
artifact-addition: read
artifact-label: create delete
scanner: create read
preheat-policy: read create delete list update
immutable-tag: create delete list update
notification-policy: read create delete list update
tag-retention: read create delete list update
label: read create delete list update
quota: read
robot: create read list delete
export-cve: create read
member: create read update list delete
""")
"""In a project, or in all of them."""

ALLOWED: Mapping[str, frozenset[Right]] = {"system": frozenset(SYSTEM), "project": frozenset(PROJECT)}
"""By the kind of a permission."""
