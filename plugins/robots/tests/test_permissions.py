"""What robots may be given, what is refused, and the grants that come of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from corereg import ANYWHERE, Action, BadRequest, Grant, allowed
from corereg_robots.allowed import PROJECT, SYSTEM
from corereg_robots.permissions import RobotPermission, checked, grants_of


def permission(kind: str, namespace: str, *rights: str) -> RobotPermission:
    access = [dict(zip(("resource", "action"), right.split(":"), strict=True)) for right in rights]
    return msgspec.convert({"kind": kind, "namespace": namespace, "access": access}, RobotPermission)


def test_the_lists_are_harbors() -> None:
    """src/common/rbac/const.go: seventy and seventy."""
    system, project = {str(each) for each in SYSTEM}, {str(each) for each in PROJECT}
    assert len(SYSTEM) == len(system) == len(PROJECT) == len(project) == 70
    assert {"project:create", "project:list", "catalog:read", "quota:update", "ldap-user:create"} <= system
    assert {"repository:push", "repository:pull", "project:delete", "metadata:list", "export-cve:read"} <= project
    assert not {"project:read", "repository:pull", "label:list", "robot:update", "configuration:update"} & system
    assert not {"project:create", "robot:update", "metadata:*", "immutable-tag:read", "export-cve:list"} & project
    assert {word for each in (*SYSTEM, *PROJECT) for word in (each.resource, each.action)}.isdisjoint({"", "*", "self"})


WRONG: dict[str, tuple[str, list[RobotPermission], str]] = {
    "another level": ("robot", [permission("project", "a", "repository:pull")], "bad request error level input"),
    "none": ("system", [], "bad request empty permission"),
    "no access": ("system", [permission("system", "/")], "bad request empty access"),
    "two projects": (
        "project",
        [permission("project", "a", "repository:pull"), permission("project", "b", "repository:pull")],
        "bad request permission",
    ),
    "a project robot of the system": ("project", [permission("system", "/", "catalog:read")], "bad request permission"),
    "a project robot everywhere": ("project", [permission("project", "*", "repository:pull")], "just one permission"),
    "another kind": ("system", [permission("registry", "/", "catalog:read")], "neither system nor project"),
    "the system by a name": ("system", [permission("system", "a", "catalog:read")], "the namespace of the kind system"),
    "the system everywhere": (
        "system",
        [permission("system", "*", "catalog:read")],
        "the namespace of the kind system",
    ),
    "no name that can be": ("system", [permission("project", "a\x00", "repository:pull")], "name the project"),
    "no name": ("system", [permission("project", "", "repository:pull")], "name the project"),
    "a right of projects": (
        "system",
        [permission("system", "/", "repository:pull")],
        "bad request permission: repository:pull",
    ),
    "a right of the system": (
        "system",
        [permission("project", "a", "project:create")],
        "bad request permission: project:create",
    ),
    "robot:update": ("system", [permission("project", "*", "robot:update")], "bad request permission: robot:update"),
    "every action": ("system", [permission("project", "*", "repository:*")], r"bad request permission: repository:\*"),
    "everything": ("system", [permission("project", "*", "*:*")], "bad request permission"),
    "too many": ("system", [permission("project", "a", "repository:pull")] * 1001, "at most 1000"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused(what: str) -> None:
    level, permissions, sentence = WRONG[what]
    with pytest.raises(BadRequest, match=sentence):
        checked(level, permissions)


def test_an_effect_is_to_allow_or_not_said() -> None:
    def said(effect: str) -> list[RobotPermission]:
        access = [{"resource": "repository", "action": "pull", "effect": effect}]
        return [msgspec.convert({"kind": "project", "namespace": "a", "access": access}, RobotPermission)]

    assert checked("project", said("")) == checked("project", said("allow"))
    with pytest.raises(BadRequest, match="effect"):
        checked("project", said("deny"))


def test_every_access_is_kept_once() -> None:
    (kept,) = checked("project", [permission("project", "a", "repository:pull", "repository:push", "repository:pull")])
    assert [str(each.right) for each in kept.access] == ["repository:pull", "repository:push"]


def may(grants: list[Grant], resource: str, action: str, scope: str) -> bool:
    return allowed(grants, Action(resource, action, scope))


def test_a_robot_of_a_project() -> None:
    grants = grants_of("project", [permission("project", "alpha", "repository:push", "project:read", "tag:list")])
    for resource, action in (("repository", "push"), ("repository", "pull"), ("tag", "list")):
        assert may(grants, resource, action, "alpha/app")
        assert not may(grants, resource, action, "beta/app")
        assert not may(grants, resource, action, "alphabet/app")
        assert not may(grants, resource, action, "system")
    assert may(grants, "project", "read", "alpha/*"), "the project itself"
    assert not may(grants, "project", "read", "system")
    assert not may(grants, "repository", "delete", "alpha/app")
    assert not may(grants, "artifact", "read", "alpha/app"), "to push includes no other resource"


def test_to_push_includes_to_pull_in_robots_of_projects_alone() -> None:
    """Harbor: src/common/security/robot/context.go."""
    held = [permission("project", "alpha", "repository:push")]
    assert may(grants_of("project", held), "repository", "pull", "alpha/app")
    assert not may(grants_of("system", held), "repository", "pull", "alpha/app")


def test_a_robot_of_the_system() -> None:
    held = [
        permission("system", "/", "project:create", "catalog:read"),
        permission("project", "*", "repository:pull"),
        permission("project", "alpha", "repository:push", "repository:pull"),
        permission("project", "beta", "repository:pull", "repository:push"),
    ]
    grants = grants_of("system", held)
    assert may(grants, "project", "create", "system")
    assert not may(grants, "project", "create", "alpha/*"), "a right in the system is none in a project"
    assert may(grants, "repository", "pull", "gamma/app")
    assert not may(grants, "repository", "push", "gamma/app")
    assert not may(grants, "repository", "pull", "system"), "everywhere is not the system"
    assert may(grants, "repository", "push", "alpha/app")
    assert Grant(frozenset({"alpha/*", "beta/*"}), "repository", frozenset({"pull", "push"})) in grants, "one for both"


def test_places_of_one_kind_are_one_grant() -> None:
    held = [permission("project", f"p{number}", "repository:pull") for number in range(1000)]
    (grant,) = grants_of("system", held)
    assert len(grant.scopes) == 1000


def test_everywhere_is_never_within_a_set() -> None:
    """A set of scopes holds namespaces: `Grant` looks for nothing else in it."""
    held = [permission("project", "*", "repository:pull"), permission("project", "alpha", "repository:pull")]
    scopes: list[Any] = [grant.scope for grant in grants_of("system", held)]
    assert sorted(scopes) == sorted([ANYWHERE, "alpha/*"])
