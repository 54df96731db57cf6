"""The table of plugins' routes: typed path, query and body through msgspec, and the right each route needs.

Everything about a route is read once, at start-up; what does not fit (no declared right, an unknown parameter, two
routes of one method and path) keeps the registry from starting and names the plugin.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec

from corereg.access import Action
from corereg.http.gate import Gate
from corereg.messages import OPEN, SIGNED_IN, Open, Request, Response, Route, SignedIn
from corereg.oci.errors import MethodNotAllowed, NotFound, OCIError, Unauthorized
from corereg.plugins import PluginError
from corereg.session import Session

BODY_LIMIT = 1024 * 1024
LARGEST_NUMBER = 2**63 - 1
"""What a database column holds."""
_segment = re.compile(r"\{([a-z_]+)\}")


class Unprocessable(OCIError, code="UNSUPPORTED", status=422, message="The request does not have the expected shape."):
    """A path segment, query or body of the wrong type."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a handler: its name, where it comes from, its type."""

    name: str
    source: str
    type: Any


class Entry(msgspec.Struct, frozen=True):
    """A route, ready to be called."""

    plugin: str
    route: Route
    pattern: re.Pattern[str]
    parameters: tuple[Parameter, ...]


class Table:
    """All routes of one registry."""

    def __init__(self, routes: Sequence[tuple[str, Route]]) -> None:
        self._buckets: dict[str, list[Entry]] = {}
        seen: dict[tuple[str, str], str] = {}
        for plugin, route in routes:
            shape = (route.method, _segment.sub("{}", route.path))
            if shape in seen:
                message = f"plugins {seen[shape]!r} and {plugin!r} both answer {route.method} {route.path}"
                raise PluginError(message)
            seen[shape] = plugin
            entry = _entry(plugin, route)
            self._buckets.setdefault(_bucket(route.path), []).append(entry)
        for entries in self._buckets.values():
            entries.sort(key=lambda entry: entry.route.path.count("{"))  # a literal path beats a segment

    async def answer(self, gate: Gate, request: Request) -> Response:
        """Find the route, check the right it needs, call it. Raises NotFound and MethodNotAllowed."""
        allowed: list[str] = []
        for entry in self._buckets.get(_bucket(request.path), ()):
            match = entry.pattern.match(request.path)
            if match is None:
                continue
            method = "GET" if request.method == "HEAD" else request.method
            if entry.route.method == method:
                return await _call(entry, gate, request, match.groupdict())
            allowed.append(entry.route.method)
        if allowed:
            raise MethodNotAllowed(allowed)
        raise NotFound


def _bucket(path: str) -> str:
    """The first two segments, which no route may leave open: so that a look-up reads few patterns."""
    return "/".join(path.split("/", 3)[:3]) if path.count("/") > 1 else path


def _entry(plugin: str, route: Route) -> Entry:
    where = f"plugin {plugin!r}, route {route.method} {route.path}"
    needs: object = route.needs  # a plugin's author may not use a type checker
    if not isinstance(needs, Action | Open | SignedIn):
        message = f"{where}: say what it needs: an Action, SIGNED_IN, or OPEN for everybody"
        raise PluginError(message)
    if not route.path.startswith("/") or route.path.startswith("/v2/") or "{" in _bucket(route.path):
        message = f"{where}: a path begins with two literal segments, or is one, and lies outside /v2/"
        raise PluginError(message)
    if not inspect.iscoroutinefunction(route.handler):
        message = f"{where}: the handler is awaited; write `async def`"
        raise PluginError(message)
    names = _segment.findall(route.path)
    if isinstance(route.needs, Action):
        strange = set(_segment.findall(route.needs.scope)) - set(names)
        if strange:
            message = f"{where}: the scope {route.needs.scope!r} names {strange.pop()!r}, which the path does not have"
            raise PluginError(message)
    pattern = "".join(
        f"(?P<{part}>[^/]+)" if place % 2 else re.escape(part) for place, part in enumerate(_segment.split(route.path))
    )
    return Entry(plugin, route, re.compile(pattern + r"\Z"), _parameters(where, route.handler, names))


def _parameters(where: str, handler: Callable[..., Any], names: Sequence[str]) -> tuple[Parameter, ...]:
    try:
        hints = get_type_hints(handler, include_extras=True)
    except NameError as error:
        message = f"{where}: its annotations cannot be resolved: {error}"
        raise PluginError(message) from error
    found = []
    for name in list(inspect.signature(handler).parameters)[1:]:
        if name in names:
            found.append(Parameter(name, "path", hints.get(name, str)))
        elif name in {"query", "body", "request"}:
            if name != "request" and name not in hints:
                message = f"{where}: annotate {name} with a msgspec Struct"
                raise PluginError(message)
            found.append(Parameter(name, name, hints.get(name)))
        else:
            message = f"{where}: nothing fills the parameter {name!r}; it is no segment, query, body or request"
            raise PluginError(message)
    return tuple(found)


async def _call(entry: Entry, gate: Gate, request: Request, segments: Mapping[str, str]) -> Response:
    session = await gate.session(request)
    await _require(entry.route, session, segments)
    arguments = {each.name: await _argument(each, request, segments) for each in entry.parameters}
    answer = await entry.route.handler(session, **arguments)
    if isinstance(answer, Response):
        return answer
    return Response(entry.route.status) if answer is None else Response.json(answer, entry.route.status)


async def _require(route: Route, session: Session, segments: Mapping[str, str]) -> None:
    if route.needs == OPEN:
        return
    if session.identity.anonymous:
        message = "sign in first"
        raise Unauthorized(message)
    if route.needs == SIGNED_IN:
        return
    needs = route.needs
    assert isinstance(needs, Action)  # noqa: S101 - checked when the table was made
    scope = _segment.sub(lambda match: segments[match[1]], needs.scope)
    await session.require(Action(needs.resource, needs.action, scope))


async def _argument(parameter: Parameter, request: Request, segments: Mapping[str, str]) -> Any:
    try:
        if parameter.source == "path":
            value = msgspec.convert(segments[parameter.name], parameter.type, strict=False)
            if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
                raise NotFound  # nothing that is kept has such a number
            return value
        if parameter.source == "query":
            values = {name: given[-1] for name, given in request.query.items()}
            return msgspec.convert(values, parameter.type, strict=False)
        if parameter.source == "body":
            return msgspec.json.decode(await request.body(BODY_LIMIT), type=parameter.type)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        message = f"{parameter.source} of the request: {str(error)[:150]}"
        raise Unprocessable(message) from None
    return request
