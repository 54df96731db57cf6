"""What Harbor tells somebody they may do, one by one (``GET /users/current/permissions``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from corereg import Action, Namespace, Session

SYSTEM_SCOPE = "/system"
_project = re.compile(r"/project/([0-9]{1,18})\Z")

# Resources, and the actions on them that Harbor lists for the whole system and for one project.
SYSTEM: Mapping[str, str] = {
    "catalog": "read",
    "audit-log": "list",
    "project": "create read update delete list",
    "user": "create read update delete list",
    "user-group": "create read update delete list",
    "registry": "create read update delete list",
    "replication": "create read update list delete",
    "distribution": "create read update delete list",
    "garbage-collection": "create read update delete list",
    "scan-all": "create read update delete list stop",
    "system-volumes": "read",
    "ldap-user": "create list",
    "configuration": "read update",
    "jobservice-monitor": "read list stop",
    "security-hub": "read list",
}
PROJECT: Mapping[str, str] = {
    "project": "delete read update",
    "accessory": "list",
    "artifact": "create delete list read",
    "artifact-addition": "read",
    "artifact-label": "create delete",
    "configuration": "read update",
    "export-cve": "create list read",
    "immutable-tag": "create delete list update",
    "label": "create delete list read update",
    "log": "list",
    "member": "create delete list read update",
    "metadata": "create delete read update",
    "notification-policy": "create delete list read update",
    "preheat-policy": "create delete list read update",
    "quota": "read",
    "repository": "create delete list pull push read update",
    "robot": "create delete list read update",
    "sbom": "create read stop",
    "scan": "create read stop",
    "scanner": "create read",
    "tag": "create delete list",
    "tag-retention": "create delete list operate read update",
}


def project_number(scope: str) -> int | None:
    """The number in ``/project/<number>``; None for another scope."""
    match = _project.match(scope)
    return int(match[1]) if match else None


def in_system(session: Session) -> Iterator[tuple[str, str]]:
    """(resource, action) of all that the session may do in the system."""
    for resource, actions in SYSTEM.items():
        for action in actions.split():
            if session.may(Action(resource, action)):
                yield resource, action


def in_project(session: Session, namespace: Namespace) -> Iterator[tuple[str, str]]:
    """(resource, action) of all that the session may do in a project; the project itself is ``.``, as Harbor writes."""
    for resource, actions in PROJECT.items():
        for action in actions.split():
            if session.may(Action(resource, action, namespace.scope)):
                yield "." if resource == "project" else resource, action
