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


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking.

    `name` is what people read (``alice``, ``robot$ci``); `subject` is what revocation counts on and is
    unique over all kinds (``user:alice``). `groups` are subjects too (``group:ops``). `administrator`
    is set by the plugin that knows, in `complete_identity`; it grants nothing by itself.
    `source` names the plugin that vouched for the identity. `attributes` belongs to plugins.
    """

    name: str
    subject: str
    kind: Literal["anonymous", "user", "robot", "system"] = "user"
    groups: tuple[str, ...] = ()
    administrator: bool = False
    source: str = ""
    attributes: Mapping[str, Any] = {}

    @property
    def anonymous(self) -> bool:
        return self.kind == "anonymous"


ANONYMOUS = Identity(name="anonymous", subject="anonymous", kind="anonymous", source="corereg")
SYSTEM = Identity(name="system", subject="system", kind="system", administrator=True, source="corereg")


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

    `scope` is ``*`` (everything), ``system``, ``namespace/*`` (every repository below that namespace) or
    an exact repository name. `resource` is a word or ``*``; `actions` may hold ``*``.
    """

    scope: str
    resource: str
    actions: frozenset[str]

    def covers_scope(self, scope: str) -> bool:
        if self.scope in (ANY, scope):
            return True
        return self.scope.endswith("/*") and scope.startswith(self.scope[:-1])

    def allows(self, action: Action) -> bool:
        return (
            self.resource in (ANY, action.resource)
            and (action.action in self.actions or ANY in self.actions)
            and self.covers_scope(action.scope)
        )


EVERYTHING = Grant("*", "*", frozenset({"*"}))


def allowed(grants: Iterable[Grant], action: Action) -> bool:
    """Grants are a union; nothing granted means denied."""
    for grant in grants:  # noqa: SIM110 - on every pull, and twice as fast as any()
        if grant.allows(action):
            return True
    return False


class Refusal(msgspec.Struct, frozen=True):
    """No, and why. `message` is shown to the person as it stands: who, what is missing, what to do.

    `status` and `code` default to the pair every client prints (403 ``DENIED``).
    """

    message: str
    status: int = 403
    code: str = "DENIED"
    detail: Any = None
