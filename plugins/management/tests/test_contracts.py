"""The plugin keeps the contract of plugins."""

from __future__ import annotations

from corereg.testing.plugins import PluginContract

API = "/api/v2.0"
PAGE = "/devcenter-api-2.0"


class TestPlugin(PluginContract):
    name = "management"
    open_routes = frozenset(
        f"GET {path}"
        for path in (
            "/api/version",
            f"{API}/ping",
            f"{API}/health",
            f"{API}/systeminfo",
            f"{API}/systeminfo/getcert",
            f"{API}/repositories",
            f"{API}/search",
            f"{API}/icons/{{digest}}",
            f"{API}/openapi.json",
            f"{API}/docs",
            PAGE,
            f"{PAGE}/start.js",
            f"{PAGE}/swagger-ui.css",
            f"{PAGE}/swagger-ui-bundle.js",
            f"{PAGE}/favicon-32x32.png",
        )
    )
