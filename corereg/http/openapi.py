"""What the plugins' routes say of themselves, as an OpenAPI 3.1 document: made from the same annotations that check
requests, so it cannot say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin

import msgspec

from corereg.access import Action, Namespace
from corereg.http.routes import NAMESPACE, Entry, Parameter, Table
from corereg.messages import OPEN, Created, Listed, Response, Told
from corereg.registry import Registry

REFERENCE = "#/components/schemas/{name}"
_segment = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")
_words = re.compile(r"_([a-z])")

TEXTS = {
    200: "Done.",
    201: "Made.",
    202: "Begun.",
    400: "The request makes no sense as it stands.",
    401: "Nobody has signed in, or the credentials do not hold.",
    403: "The caller may not do this.",
    404: "There is no such thing, or the caller may not know of it.",
    405: "The path does not take this method.",
    409: "It is there already.",
    412: "Something else must be changed first.",
    413: "The body is too large.",
    415: "The body is of the wrong media type.",
    422: "The request has the wrong shape.",
    429: "Too many requests; Retry-After says when to come again.",
    501: "The transfer coding is not known here.",
    503: "The registry cannot answer now.",
    507: "The registry has no room left.",
}


class ErrorRow(msgspec.Struct, frozen=True):
    """One error: a code for machines, a sentence for people."""

    code: str
    message: str
    detail: Any = None


class Errors(msgspec.Struct, frozen=True):
    """What every failure looks like."""

    errors: list[ErrorRow]


def openapi_document(registry: Registry, *, title: str = "corereg", version: str = "2.0") -> dict[str, Any]:
    """The document of every route below ``/api/`` that the registry's plugins answer."""
    entries = [entry for entry in Table(registry.routes).entries if entry.route.path.startswith("/api/")]
    schemas = _Schemas(entries)
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        path = _segment.sub(r"{\1}", entry.route.path)
        paths.setdefault(path, {})[entry.route.method.lower()] = _operation(entry, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"cookie": []}, {}],
        "tags": [{"name": tag} for tag in sorted({entry.route.tag or entry.plugin for entry in entries})],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "sid"},
            },
        },
    }


class _Schemas:
    """JSON Schemas of all types that requests and answers have, named once."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.types: list[Any] = [Errors]
        for entry in entries:
            wanted = [each.type for each in entry.parameters if each.source in {"path", "query", "body", "form"}]
            self.types += [kind for kind in (*wanted, item_of(entry.returns)) if kind not in self.types and kind]
        self.types = [kind for kind in self.types if kind is not Namespace]
        found, self.components = msgspec.json.schema_components(self.types, ref_template=REFERENCE)
        self._found = list(zip(self.types, found, strict=True))

    def of(self, kind: Any) -> Mapping[str, Any]:
        """The schema of one type."""
        return next((schema for known, schema in self._found if known == kind), {})

    def fields(self, kind: Any) -> tuple[Mapping[str, Any], Sequence[str]]:
        """The properties of a Struct and which are required."""
        schema = self.components[self.of(kind)["$ref"].rpartition("/")[2]]
        return schema.get("properties", {}), schema.get("required", ())


def item_of(returns: Any) -> Any:
    """The type that stands in the body: T of ``Listed[T]`` and its sisters; None where there is no JSON."""
    if get_origin(returns) in {Listed, Created, Told}:
        returns = get_args(returns)[0]
    return None if returns in {None, type(None), Response, Created, Any} else returns


def _operation(entry: Entry, schemas: _Schemas) -> dict[str, Any]:
    route = entry.route
    said: dict[str, Any] = {
        "operationId": _camel(route.handler.__name__),
        "summary": route.summary,
        "tags": [route.tag or entry.plugin],
        "parameters": [*_path_parameters(entry, schemas), *_query_parameters(entry, schemas)],
        "responses": _responses(entry, schemas),
    }
    description = (route.handler.__doc__ or "").strip()
    if description:
        said["description"] = "\n".join(line.strip() for line in description.splitlines())
    if isinstance(route.needs, Action):
        said["x-needs"] = {"resource": route.needs.resource, "action": route.needs.action}
    if route.extension:
        said["x-extension"] = True
    body = next((each for each in entry.parameters if each.source in {"body", "form"}), None)
    if body is not None:
        kind = "application/json" if body.source == "body" else "application/x-www-form-urlencoded"
        said["requestBody"] = {"required": True, "content": {kind: {"schema": schemas.of(body.type)}}}
    if route.needs == OPEN:
        said["security"] = [{}, {"basic": []}, {"cookie": []}]
    return said


def _camel(name: str) -> str:
    return _words.sub(lambda match: match[1].upper(), name)


def _path_parameters(entry: Entry, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    typed = {each.name: each for each in entry.parameters if each.source == "path"}
    for name in entry.segments:
        yield {"name": name, "in": "path", "required": True, "schema": _path_schema(name, typed.get(name), schemas)}


def _path_schema(name: str, parameter: Parameter | None, schemas: _Schemas) -> Mapping[str, Any]:
    if name == NAMESPACE or parameter is None:
        return {"type": "string", "minLength": 1}
    return schemas.of(parameter.type)


def _query_parameters(entry: Entry, schemas: _Schemas) -> Iterable[dict[str, Any]]:
    for each in entry.parameters:
        if each.source != "query":
            continue
        properties, required = schemas.fields(each.type)
        for name, schema in properties.items():
            yield {"name": name, "in": "query", "required": name in required, "schema": schema}


def _responses(entry: Entry, schemas: _Schemas) -> dict[str, Any]:
    route, returns = entry.route, entry.returns
    kind = get_origin(returns) or returns
    good: dict[str, Any] = {"description": TEXTS.get(route.status, "Done.")}
    headers = {}
    status = route.status
    if kind is Created:
        status, good["description"] = 201, TEXTS[201]
        headers["Location"] = {"schema": {"type": "string"}}
    if kind is Listed:
        headers["X-Total-Count"] = {"schema": {"type": "integer"}}
        headers["Link"] = {"schema": {"type": "string"}}
    if headers:
        good["headers"] = headers
    item = item_of(returns)
    if route.produces != "application/json":
        good["content"] = {route.produces: {"schema": {"type": "string"}}}
    elif item is not None:
        schema = schemas.of(item)
        good["content"] = {
            "application/json": {"schema": {"type": "array", "items": schema} if kind is Listed else schema}
        }
    failed = {"content": {"application/json": {"schema": schemas.of(Errors)}}}
    return {
        str(status): good,
        **{str(each): {"description": TEXTS[each], **failed} for each in sorted(failures_of(entry)) if each != status},
    }


def failures_of(entry: Entry) -> set[int]:
    """The statuses by which the route may fail."""
    found = {400, 401, 429, 503, *entry.route.errors}
    if isinstance(entry.route.needs, Action) or entry.route.method not in {"GET", "HEAD"}:
        found.add(403)  # for want of the right; and any change may be refused by a policy, or for want of a CSRF token
    if entry.segments:
        found |= {404, 405}  # what a segment holds may be the word of another route
    sources = {each.source for each in entry.parameters}
    if sources & {"query", "body", "form", "path"}:
        found.add(422)
    if sources & {"body", "form"}:
        found |= {413, 501, 507}
    return found
