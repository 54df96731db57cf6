"""The OpenAPI document, and a page to try the API on. Everything the page loads comes from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import anyio

from corereg import OPEN, Missing, Registry, Request, Response, Route, Session, openapi_document

PAGE = "/devcenter-api-2.0"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No script and no style but from this registry's own files, and nobody's frame around it."""
HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>corereg API</title>
<link rel="icon" type="image/png" href="{base}favicon-32x32.png">
<link rel="stylesheet" href="{base}swagger-ui.css">
</head>
<body>
<div id="explorer"></div>
<script src="{base}swagger-ui-bundle.js"></script>
<script src="{base}start.js"></script>
</body>
</html>
"""
START = """"use strict";
// The token against forged requests comes with every answer to a signed-in browser and goes back with changes.
let csrf = "";
SwaggerUIBundle({
  url: new URL("../api/v2.0/openapi.json", document.currentScript.src).href,
  dom_id: "#explorer",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null,
  requestInterceptor: (request) => {
    if (csrf) request.headers["X-Harbor-CSRF-Token"] = csrf;
    return request;
  },
  responseInterceptor: (response) => {
    csrf = response.headers["x-harbor-csrf-token"] || csrf;
    return response;
  },
});
"""
FILES: Mapping[str, str] = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
"""The files of Swagger UI that are served, and no others."""

Handler = Callable[[Session], Awaitable[Response]]


class ExplorerRoutes:
    """The routes of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._document: dict[str, object] | None = None
        self._read: dict[str, bytes] = {}

    def routes(self) -> Sequence[Route]:
        """The table."""
        return [
            Route(
                "GET", "/api/v2.0/openapi.json", self.get_openapi, OPEN, "Get this API as an OpenAPI document.",
                extension=True,
            ),
            Route(
                "GET", "/api/v2.0/docs", self.get_docs, OPEN, "Get a page to try this API on.",
                produces="text/html", extension=True,
            ),
            Route("GET", PAGE, self.get_explorer, OPEN, "Get a page to try the API on.", produces="text/html"),
            Route("GET", f"{PAGE}/start.js", self.get_start, OPEN, "Get what starts the page.", produces="text/plain"),
            *(
                Route("GET", f"{PAGE}/{name}", self._file(name, kind), OPEN, f"Get {name}.", produces=kind)
                for name, kind in FILES.items()
            ),
        ]  # fmt: skip

    async def get_openapi(self, session: Session, request: Request) -> Response:
        """OpenAPI 3.1, made from the routes of every plugin."""
        if self._document is None:
            self._document = openapi_document(self._registry)
        document = {**self._document, "servers": [{"url": request.prefix or "/"}]}
        return Response.json(document, headers=[("cache-control", "no-cache")])

    async def get_docs(self, session: Session) -> Response:
        """Swagger UI, with nothing from elsewhere."""
        return _page("../..")

    async def get_explorer(self, session: Session) -> Response:
        """The same under Harbor's address."""
        return _page(".")

    async def get_start(self, session: Session) -> Response:
        """What starts the page: no script stands in the page itself."""
        return _answer(START.encode(), "text/javascript; charset=utf-8")

    def _file(self, name: str, kind: str) -> Handler:
        async def get_file(_: Session) -> Response:
            if name not in self._read:
                self._read[name] = await anyio.Path(folder() / name).read_bytes()
            return _answer(self._read[name], kind, ("cache-control", "public, max-age=86400"))

        return get_file


def folder() -> Path:
    """Where the files of Swagger UI are installed; the package itself is not loaded. Raises Missing."""
    found = find_spec("flask_swagger_ui")
    if found is None or not found.submodule_search_locations:
        message = "the files of this page are not installed: pip install flask-swagger-ui"
        raise Missing(message)
    return Path(found.submodule_search_locations[0]) / "dist"


def _page(above: str) -> Response:
    html = HTML.format(base=f"{above}{PAGE}/")
    return _answer(html.encode(), "text/html; charset=utf-8", ("content-security-policy", POLICY))


def _answer(body: bytes, kind: str, *headers: tuple[str, str]) -> Response:
    known = [("content-type", kind), ("content-length", str(len(body))), ("x-content-type-options", "nosniff")]
    return Response(200, [*known, *headers], body)
