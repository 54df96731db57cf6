"""Who asks, and what they may do.

Four frozen values meet here: an `Identity` says who somebody is, a `Grant` says what that identity
may do and where, an `Action` is one thing about to be done, a `Refusal` says no with a reason a person
can act on. The words for resources and actions are those of Harbor's RBAC (``repository`` and ``pull``,
``push``, ``delete``; ``catalog`` and ``read``; ``user`` and ``create`` ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

ANY = "*"
SYSTEM_SCOPE = "system"
ANYWHERE = "*/*"
"""The scope of every namespace and repository, but not of the system."""


class Action(msgspec.Struct, frozen=True):
    """One right that a door asks for: `action` on `resource`, at `scope`.

    `scope` is a repository name, ``namespace/*`` or ``system``.
    """

    resource: str
    action: str
    scope: str = "system"

    def __str__(self) -> str:
        return f"{self.action} {self.resource} at {self.scope}"


class Grant(msgspec.Struct, frozen=True):
    """A right given: any of `actions` on `resource`, wherever `scope` covers.

    `scope` is ``*`` (everything), ``system``, ``*/*`` (every repository), ``namespace/*`` (every repository below that
    namespace), an exact repository name, or a set of the last two: a role in a thousand namespaces is one grant for
    each resource, and looking into it costs the same. `resource` is a word or ``*``; `actions` may hold ``*``.
    """

    scope: str | frozenset[str]
    resource: str
    actions: frozenset[str]

    @property
    def scopes(self) -> frozenset[str]:
        """The scope, or all of them."""
        return frozenset({self.scope}) if isinstance(self.scope, str) else self.scope

    def covers_scope(self, scope: str) -> bool:
        own = self.scope
        if not isinstance(own, str):
            return scope in own or any(above in own for above in _above(scope))
        if own in (ANY, scope):
            return True
        if own == ANYWHERE:
            return scope != SYSTEM_SCOPE
        return own.endswith("/*") and scope.startswith(own[:-1])

    def covers_all_of(self, scope: str) -> bool:
        """Whether the right holds wherever a grant of that scope does; ``*`` holds the system too, ``*/*`` does not."""
        return self.covers_scope(scope) and (scope != ANY or self.scope == ANY)

    def within(self, limit: Grant) -> Grant | None:
        """What is left of the right where only `limit` holds; None for nothing."""
        if ANY not in (self.resource, limit.resource) and self.resource != limit.resource:
            return None
        kept = {scope for scope in self.scopes if limit.covers_all_of(scope)}
        kept |= {scope for scope in limit.scopes if self.covers_all_of(scope)}
        actions = limit.actions if ANY in self.actions else self.actions
        if ANY not in limit.actions:
            actions &= limit.actions
        if not kept or not actions:
            return None
        resource = limit.resource if self.resource == ANY else self.resource
        return Grant(kept.pop() if len(kept) == 1 else frozenset(kept), resource, actions)

    def allows(self, action: Action) -> bool:
        return (
            self.resource in (ANY, action.resource)
            and (action.action in self.actions or ANY in self.actions)
            and self.covers_scope(action.scope)
        )


def _above(scope: str) -> Iterable[str]:
    """The scopes that cover `scope`: ``a/*`` and ``a/b/*`` for ``a/b/c``."""
    place = scope.find("/")
    while place >= 0:
        yield f"{scope[:place]}/*"
        place = scope.find("/", place + 1)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking.

    `name` is what people read (``alice``, ``robot$ci``); `subject` is what revocation counts on and is
    unique over all kinds (``user:alice``). `groups` are subjects too (``group:ops``). `administrator`
    is set by the plugin that knows, in `complete_identity`; it grants nothing by itself.
    `source` names the plugin that vouched for the identity. `attributes` belongs to plugins.
    `limits` are for credentials that stand for less than their owner (a scoped token): whatever plugins grant, nothing
    beyond these is left of it. None is no limit.
    `expires_at`, in microseconds since 1970, is when the credentials end by themselves; a bearer token that is got with
    them ends no later. None is never.
    """

    name: str
    subject: str
    kind: Literal["anonymous", "user", "robot", "system"] = "user"
    groups: tuple[str, ...] = ()
    administrator: bool = False
    source: str = ""
    attributes: Mapping[str, Any] = {}
    limits: tuple[Grant, ...] | None = None
    expires_at: int | None = None

    @property
    def anonymous(self) -> bool:
        return self.kind == "anonymous"


ANONYMOUS = Identity(name="anonymous", subject="anonymous", kind="anonymous", source="corereg")
SYSTEM = Identity(name="system", subject="system", kind="system", administrator=True, source="corereg")


EVERYTHING = Grant("*", "*", frozenset({"*"}))


def allowed(grants: Iterable[Grant], action: Action) -> bool:
    """Grants are a union; nothing granted means denied."""
    for grant in grants:  # noqa: SIM110 - on every pull, and twice as fast as any()
        if grant.allows(action):
            return True
    return False


def limited(grants: Iterable[Grant], limits: Iterable[Grant] | None) -> tuple[Grant, ...]:
    """What is left of `grants` within `limits` (see `Identity`)."""
    if limits is None:
        return tuple(grants)
    limits = tuple(limits)
    kept = (grant.within(limit) for grant in grants for limit in limits)
    return tuple(dict.fromkeys(each for each in kept if each is not None))


def scopes_of(grants: Iterable[Grant], resource: str, action: str) -> frozenset[str]:
    """Everywhere below the system that `grants` allow the action: what a list may show (see `covered`)."""
    found: set[str] = set()
    for grant in grants:
        if grant.resource in (ANY, resource) and (action in grant.actions or ANY in grant.actions):
            found |= grant.scopes
    return frozenset({ANYWHERE} if found & {ANY, ANYWHERE} else found - {SYSTEM_SCOPE})


def may_list(grants: Iterable[Grant]) -> bool:
    """Whether their holder may ask for the catalog: it lists what they may pull."""
    return any(grant.resource in {ANY, "repository", "catalog"} for grant in grants)


class Namespace(msgspec.Struct, frozen=True):
    """What repositories stand in, such as a project: its number, and the name their names begin with."""

    id: int
    name: str

    @property
    def scope(self) -> str:
        """Everything below it, as a grant writes it."""
        return f"{self.name}/*"

    def holds(self, repository: str) -> bool:
        """Whether the repository's name begins with the namespace's."""
        return repository.startswith(f"{self.name}/")


class Principal(msgspec.Struct, frozen=True):
    """Somebody whom rights can be given to: a user or a group, by the number and the name that its owner keeps.

    `subject` is what `Identity.subject` or `Identity.groups` holds for them.
    """

    kind: Literal["user", "group"]
    id: int
    name: str
    subject: str


class Refusal(msgspec.Struct, frozen=True):
    """No, and why. `message` is shown to the person as it stands: who, what is missing, what to do.

    `status` and `code` default to the pair every client prints (403 ``DENIED``).
    """

    message: str
    status: int = 403
    code: str = "DENIED"
    detail: Any = None
