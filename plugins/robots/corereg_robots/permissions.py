"""What a robot may do and where: as the API says it, checked, and as grants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from corereg import ANYWHERE, Action, BadRequest, Forbidden, Grant, Session
from corereg_robots.allowed import ALLOWED, Right

SYSTEM: Final = "system"
PROJECT: Final = "project"
EVERY: Final = "*"
ROOT: Final = "/"
MOST = 1000
"""Places that one robot can have rights in."""


class Access(msgspec.Struct, frozen=True):
    """One action on one resource."""

    resource: str
    action: str
    effect: str | None = "allow"

    @property
    def right(self) -> Right:
        """The same without the effect, which is always to allow."""
        return Right(self.resource, self.action)


class RobotPermission(msgspec.Struct, frozen=True):
    """What is allowed in one place: in the system (``/``), in the project of a name, or in every project (``*``)."""

    kind: str
    namespace: str
    access: tuple[Access, ...]

    @property
    def scope(self) -> str:
        """The place, as a grant writes it."""
        if self.kind == SYSTEM:
            return "system"
        return ANYWHERE if self.namespace == EVERY else f"{self.namespace}/*"

    @property
    def named(self) -> bool:
        """Whether it is about one project."""
        return self.kind == PROJECT and self.namespace != EVERY

    @property
    def actions(self) -> Iterator[Action]:
        """What a session must be allowed to give this."""
        return (Action(each.resource, each.action, self.scope) for each in self.access)


def checked(level: str, permissions: Sequence[RobotPermission]) -> tuple[RobotPermission, ...]:
    """The permissions as they are kept, each access once. Raises BadRequest, in Harbor's words first."""
    if level not in {SYSTEM, PROJECT}:
        raise BadRequest(f"bad request error level input: {level[:40]!r}; a robot is of the level system or project")
    if not permissions:
        raise BadRequest("bad request empty permission: say what the robot may do")
    if level == PROJECT and (len(permissions) > 1 or not permissions[0].named):
        message = (
            "bad request permission: a project robot has just one permission, of the kind project, for its project"
        )
        raise BadRequest(message)
    if len(permissions) > MOST:
        raise BadRequest(
            f"bad request permission: {len(permissions)} places are too many; at most {MOST}, or * for all"
        )
    return tuple(map(_checked, permissions))


def _checked(permission: RobotPermission) -> RobotPermission:
    allowed = ALLOWED.get(permission.kind)
    if allowed is None:
        raise BadRequest(f"bad request permission: the kind {permission.kind[:40]!r} is neither system nor project")
    if permission.kind == SYSTEM and permission.namespace != ROOT:
        raise BadRequest("bad request permission: the namespace of the kind system is /")
    if not permission.namespace or not permission.namespace.isprintable():
        raise BadRequest("bad request permission: name the project, or * for all of them")
    if not permission.access:
        raise BadRequest("bad request empty access: say what the robot may do there")
    for each in permission.access:
        if each.effect not in {None, "", "allow"}:
            message = (
                f"bad request permission: the effect {str(each.effect)[:40]!r}; what is left out is not allowed anyway"
            )
            raise BadRequest(message)
        if each.right not in allowed:
            message = f"bad request permission: {each.right}"[:200]
            raise BadRequest(f"{message}; a robot cannot be given this in a {permission.kind}: see GET /permissions")
    kept = dict.fromkeys(Access(each.resource, each.action) for each in permission.access)
    return RobotPermission(permission.kind, permission.namespace, tuple(kept))


def check_held(
    session: Session, wanted: Iterable[RobotPermission], *, held_already: Iterable[RobotPermission] = ()
) -> None:
    """Nobody gives what she has not herself. Raises Forbidden for what is in `wanted` and not `held_already`."""
    there = {action for each in held_already for action in each.actions}
    for action in (action for each in wanted for action in each.actions):
        if action not in there and not session.may(action) and not _implied(session, action):
            where = {"system": "in the system", ANYWHERE: "in every project"}.get(
                action.scope, f"in {action.scope[:-2]}"
            )
            message = (
                f"{session.identity.name} may not {action.action} {action.resource} {where}, and so cannot let a robot "
                f"do it; leave {action.resource}:{action.action} out, or ask an administrator"
            )
            raise Forbidden(message)


def _implied(session: Session, action: Action) -> bool:
    """Robots can be given ``metadata:list``, which no role of Harbor's holds; whoever reads metadata has it."""
    return (action.resource, action.action) == ("metadata", "list") and session.may(
        Action("metadata", "read", action.scope)
    )


def grants_of(level: str, permissions: Iterable[RobotPermission]) -> list[Grant]:
    """The permissions as grants: one for all places that have the same actions on a resource.

    In a robot of a project, as in Harbor and there alone, to push includes to pull.
    """
    words: dict[tuple[str, str], set[str]] = {}
    for permission in permissions:
        for each in permission.access:
            given = words.setdefault((permission.scope, each.resource), set())
            given.add(each.action)
            if level == PROJECT and (each.resource, each.action) == ("repository", "push"):
                given.add("pull")
    places: dict[tuple[str, frozenset[str]], set[str]] = {}
    for (scope, resource), given in words.items():
        places.setdefault((resource, frozenset(given)), set()).add(scope)
    found = []
    for (resource, actions), scopes in places.items():
        broad = scopes & {"system", ANYWHERE}  # a set of scopes holds namespaces only
        found += [Grant(scope, resource, actions) for scope in broad]
        if scopes - broad:
            found.append(Grant(_one_or_all(scopes - broad), resource, actions))
    return found


def _one_or_all(scopes: set[str]) -> str | frozenset[str]:
    return next(iter(scopes)) if len(scopes) == 1 else frozenset(scopes)
