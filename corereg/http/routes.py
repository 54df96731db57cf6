"""The table of plugins' routes: typed path, query and body through msgspec, and the right each route needs.

Everything about a route is read once, at start-up; what does not fit (no declared right, an unknown parameter, two
routes of one method and path) keeps the registry from starting and names the plugin.

The manners of Harbor's API live here, once for all plugins: slashes are merged and one at the end is left out; a
namespace that is not there is a 401, 403 or 404, by who asks; errors carry Harbor's codes; lists say their total and
where the next page is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, get_type_hints
from urllib.parse import quote, unquote, urlencode

import msgspec

from corereg.access import Action, Namespace
from corereg.errors import Missing, Unprocessable, in_harbors_words
from corereg.http.gate import Gate
from corereg.messages import OPEN, SIGNED_IN, Created, Listed, Open, Request, Response, Route, SignedIn, Told
from corereg.oci.errors import MethodNotAllowed, NotFound, OCIError, Unauthorized
from corereg.plugins import PluginError
from corereg.session import Session
from corereg.store.listing import Listing

BODY_LIMIT = 1024 * 1024
LARGEST_NUMBER = 2**63 - 1
"""What a database column holds."""
NOWHERE = "/*"
"""A scope that no grant names: only who may act everywhere learns that a namespace is not there."""
NAMESPACE = "namespace"
_segment = re.compile(r"\{([a-z_]+)(?::([a-z]+))?\}")
_slashes = re.compile(r"/{2,}")
_number = re.compile(r"[0-9]{1,18}\Z")
_whole = re.compile(r"-?[0-9]+\Z")
_SAFE = "/:@!$&'()*+,;=~"
"""What stands in a path as it is."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a handler: its name, where it comes from, its type."""

    name: str
    source: str
    type: Any


class Entry(msgspec.Struct, frozen=True):
    """A route, ready to be called. `segments` are the kinds of its open segments, by name."""

    plugin: str
    route: Route
    pattern: re.Pattern[str]
    segments: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    returns: Any = None


class Table:
    """All routes of one registry."""

    def __init__(self, routes: Sequence[tuple[str, Route]]) -> None:
        self.entries: list[Entry] = []
        self._buckets: dict[str, list[Entry]] = {}
        seen: dict[tuple[str, str], str] = {}
        for plugin, route in routes:
            shape = (route.method, _segment.sub("{}", route.path))
            if shape in seen:
                message = f"plugins {seen[shape]!r} and {plugin!r} both answer {route.method} {route.path}"
                raise PluginError(message)
            seen[shape] = plugin
            entry = _entry(plugin, route)
            self.entries.append(entry)
            self._buckets.setdefault(_bucket(route.path), []).append(entry)
        for entries in self._buckets.values():
            entries.sort(key=_rank)

    async def answer(self, gate: Gate, request: Request) -> Response:
        """Find the route, check the right it needs, call it. Raises NotFound and MethodNotAllowed."""
        path = _plain(request.path)
        try:
            return await self._answer(gate, request, path)
        except OCIError as error:
            if not f"{path}/".startswith("/api/"):
                raise
            raise in_harbors_words(error) from error.__cause__

    async def _answer(self, gate: Gate, request: Request, path: str) -> Response:
        allowed: list[str] = []
        method = "GET" if request.method == "HEAD" else request.method
        head = None
        for entry in self._candidates(path):
            match = entry.pattern.match(path)
            if match is None:
                continue
            if entry.route.method == request.method:
                return await _call(entry, gate, request, match.groupdict())
            if entry.route.method == method and head is None:
                head = (entry, match.groupdict())
            allowed.append(entry.route.method)
        if head is not None:
            return await _call(head[0], gate, request, head[1])
        if allowed:
            raise MethodNotAllowed(dict.fromkeys(allowed))
        raise NotFound

    def _candidates(self, path: str) -> Sequence[Entry]:
        buckets = self._buckets
        return buckets.get(_bucket(path)) or buckets.get("/".join(path.split("/", 3)[:3])) or ()


def _plain(path: str) -> str:
    """Without slashes that say nothing: two at the beginning of a Location would even name another host."""
    return _slashes.sub("/", path).rstrip("/") or "/"


def _bucket(path: str) -> str:
    """The first three segments, or those before an open one: so that a look-up reads few patterns."""
    parts = path.split("/", 4)[:4]
    return "/".join(parts[:3] if "{" in parts[-1] else parts)


def _rank(entry: Entry) -> tuple[int, int]:
    """The more a route says literally, the earlier it is tried: ``.../artifacts`` before a name that takes slashes."""
    segments = entry.route.path.split("/")
    return -sum("{" not in segment for segment in segments), len(entry.segments)


def _entry(plugin: str, route: Route) -> Entry:
    where = f"plugin {plugin!r}, route {route.method} {route.path}"
    needs: object = route.needs  # a plugin's author may not use a type checker
    if not isinstance(needs, Action | Open | SignedIn):
        message = f"{where}: say what it needs: an Action, SIGNED_IN, or OPEN for everybody"
        raise PluginError(message)
    if not route.path.startswith("/") or route.path.startswith("/v2/") or "{" in "/".join(route.path.split("/")[:3]):
        message = f"{where}: a path begins with two literal segments, or is one, and lies outside /v2/"
        raise PluginError(message)
    if not inspect.iscoroutinefunction(route.handler):
        message = f"{where}: the handler is awaited; write `async def`"
        raise PluginError(message)
    segments = {match[1]: match[2] or "one" for match in _segment.finditer(route.path)}
    _check_kinds(where, segments)
    if isinstance(route.needs, Action):
        strange = {match[1] for match in _segment.finditer(route.needs.scope)} - set(segments)
        if strange:
            message = f"{where}: the scope {route.needs.scope!r} names {strange.pop()!r}, which the path does not have"
            raise PluginError(message)
    parameters, returns = _signature(where, route.handler, segments)
    return Entry(plugin, route, re.compile(_pattern(route.path) + r"\Z"), segments, parameters, returns)


def _check_kinds(where: str, segments: Mapping[str, str]) -> None:
    for name, kind in segments.items():
        if kind not in {"one", "path", "name"} or (kind == "name" and name != NAMESPACE):
            message = f"{where}: {{{name}:{kind}}} is no segment; write {{name}}, {{name:path}} or {{namespace:name}}"
            raise PluginError(message)


def _pattern(path: str) -> str:
    parts = []
    end = 0
    for match in _segment.finditer(path):
        parts += [re.escape(path[end : match.start()]), f"(?P<{match[1]}>{'.+' if match[2] == 'path' else '[^/]+'})"]
        end = match.end()
    return "".join([*parts, re.escape(path[end:])])


def _signature(
    where: str, handler: Callable[..., Any], segments: Mapping[str, str]
) -> tuple[tuple[Parameter, ...], Any]:
    try:
        hints = get_type_hints(handler, include_extras=True)
    except NameError as error:
        message = f"{where}: its annotations cannot be resolved: {error}"
        raise PluginError(message) from error
    found = []
    for name in list(inspect.signature(handler).parameters)[1:]:
        if name == NAMESPACE and name in segments and hints.get(name) is not Namespace:
            message = f"{where}: a segment {{namespace}} is looked up; annotate it with Namespace, or rename it"
            raise PluginError(message)
        if name in segments:
            found.append(Parameter(name, "path", hints.get(name, str)))
        elif name in {"query", "body", "form", "request"}:
            if name != "request" and name not in hints:
                message = f"{where}: annotate {name} with a msgspec Struct"
                raise PluginError(message)
            found.append(Parameter(name, name, hints.get(name)))
        else:
            message = f"{where}: nothing fills the parameter {name!r}; it is no segment, query, body, form or request"
            raise PluginError(message)
    return tuple(found), hints.get("return")


# ---- one call ----


async def _call(entry: Entry, gate: Gate, request: Request, texts: Mapping[str, str]) -> Response:
    request.operation = entry.route.handler.__name__
    session = await gate.session(request)
    request.caller = session.identity.name
    segments = {name: unquote(text) if entry.segments[name] == "path" else text for name, text in texts.items()}
    namespace = await _namespace(entry, gate, request, segments)
    await _require(entry.route, session, segments, namespace)
    if NAMESPACE in segments and namespace is None:
        message = f"there is no project {segments[NAMESPACE][:80]!r}"
        raise Missing(message)
    arguments = {}
    for each in entry.parameters:
        arguments[each.name] = (
            namespace if each.name == NAMESPACE and each.source == "path" else await _argument(each, request, segments)
        )
    answer = await entry.route.handler(session, **arguments)
    return _response(entry.route, request, answer, arguments.get("query"))


async def _namespace(entry: Entry, gate: Gate, request: Request, segments: Mapping[str, str]) -> Namespace | None:
    """What a ``{namespace}`` segment means: a number unless the client says that it is a name."""
    if NAMESPACE not in segments:
        return None
    text = unquote(segments[NAMESPACE])
    named = entry.segments[NAMESPACE] == "name" or request.headers.get("x-is-resource-name", "").lower() == "true"
    return await gate.registry.plugins.resolve_namespace(int(text) if _number.match(text) and not named else text)


async def _require(route: Route, session: Session, segments: Mapping[str, str], namespace: Namespace | None) -> None:
    if route.needs == OPEN:
        return
    needs = route.needs
    if needs == SIGNED_IN:
        if session.identity.anonymous:
            message = "sign in first"
            raise Unauthorized(message)
        return
    assert isinstance(needs, Action)  # noqa: S101 - checked when the table was made
    values = {**segments, NAMESPACE: namespace.name} if namespace else segments
    scope = _segment.sub(lambda match: values[match[1]], needs.scope)
    if NAMESPACE in segments and namespace is None:
        scope = NOWHERE
    # A refusal repeats the caller's own words: it tells neither what a number is called nor whether it is there.
    said = _segment.sub(lambda match: unquote(segments[match[1]]), needs.scope)
    await session.require(Action(needs.resource, needs.action, scope), said=Action(needs.resource, needs.action, said))


async def _argument(parameter: Parameter, request: Request, segments: Mapping[str, str]) -> Any:
    try:
        if parameter.source == "path":
            return _typed(parameter, segments[parameter.name])
        if parameter.source == "query":
            # An empty value says as little as none; only where one has to be there it may be an empty text.
            needed = _needed(parameter.type)
            values = {name: given[-1] for name, given in request.query.items() if given[-1] or name in needed}
            return msgspec.convert(values, parameter.type, strict=False)
        if parameter.source == "body":
            return msgspec.json.decode(await request.body(BODY_LIMIT), type=parameter.type)
        if parameter.source == "form":
            return msgspec.convert(await request.form(BODY_LIMIT), parameter.type, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{parameter.source} of the request: {str(error)[:150]}"
        raise Unprocessable(message) from None
    return request


@cache
def _needed(kind: Any) -> frozenset[str]:
    """The fields of a query that have no default."""
    return frozenset(each.encode_name for each in msgspec.structs.fields(kind) if each.required)


def _typed(parameter: Parameter, text: str) -> Any:
    value = msgspec.convert(text, parameter.type, strict=False)
    if isinstance(value, int) and not isinstance(value, bool):
        if not _whole.match(text):  # 1e3 would be one
            message = f"path of the request: {parameter.name} is a whole number in digits"
            raise Unprocessable(message)
        if abs(value) > LARGEST_NUMBER:
            raise NotFound  # nothing that is kept has such a number
    return value


def _response(route: Route, request: Request, answer: Any, query: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, Listed):
        headers = [("x-total-count", str(answer.total))]
        link = _link(request, query, answer.total) if isinstance(query, Listing) else ""
        if link:
            headers.append(("link", link))
        return Response.json(answer.items, route.status, headers)
    if isinstance(answer, Created):
        here = quote(f"{_plain(request.path)}/{answer.id}", safe=_SAFE)
        location = here if answer.location is None else quote(answer.location, safe=f"{_SAFE}%")
        headers = [("location", request.prefix + location)]
        if answer.body is None:
            return Response(201, [*headers, ("content-length", "0")])
        return Response.json(answer.body, 201, headers)
    if isinstance(answer, Told):
        return Response.json(answer.body, route.status, answer.headers)
    if answer is None:
        return Response(route.status, [("content-length", "0")])
    return Response.json(answer, route.status)


def _link(request: Request, listing: Listing, total: int) -> str:
    """``</path?page=1&page_size=10>; rel="prev" , </path?page=3&page_size=10>; rel="next"``, relative as Harbor's."""
    pages = []
    if listing.limit is not None and 1 < listing.page <= -(-total // listing.limit) + 1:
        pages.append(("prev", listing.page - 1))
    if listing.limit is not None and listing.page * listing.limit < total:
        pages.append(("next", listing.page + 1))
    others = [(name, value) for name, values in request.query.items() for value in values]
    others = [(name, value) for name, value in others if name not in {"page", "page_size"}]
    path = quote(request.root_path + _plain(request.path), safe=_SAFE)
    return " , ".join(
        f'<{path}?{urlencode([*others, ("page", number), ("page_size", listing.page_size)])}>; rel="{word}"'
        for word, number in pages
    )
