"""The floors of the house: imports run down, one way; here is the table, and here the line is drawn.

Every import counts, wherever it stands: inside a function, under TYPE_CHECKING, or as ``import_module("...")`` with
a literal name. Three laws:

1. A room of corereg imports only itself and rooms that stand lower (`FLOORS`; `BESIDE` lists the exceptions).
2. The core imports no plugin.
3. A plugin or an example imports the face (``corereg`` itself) and nothing behind it; its tests also
   ``corereg.testing``. No plugin imports another plugin.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FLOORS = {
    "corereg.testing": 11,  # how it is proven
    "corereg": 10,  # the face: the names that a plugin may use
    "corereg.__main__": 10,
    "corereg.cli": 10,
    "corereg.server": 10,
    "corereg.documentation": 10,
    "corereg.doctor": 10,
    "corereg.http": 9,  # how it is said
    "corereg.client": 9,  # and heard
    "corereg.care": 8,  # and looked after
    "corereg.registry": 8,
    "corereg.runner": 8,
    "corereg.session": 7,  # what may be done
    "corereg.signin": 7,
    "corereg.plugins": 6,  # who is asked
    "corereg.hookspecs": 5,
    "corereg.store": 4,  # what is kept
    "corereg.tokens": 3,
    "corereg.events": 3,
    "corereg.errors": 2,
    "corereg.messages": 2,  # words
    "corereg.access": 2,
    "corereg.tracing": 2,
    "corereg.findings": 2,
    "corereg.metrics": 1,  # what is counted
    "corereg.config": 1,
    "corereg.oci": 1,
}

# Neighbours on one floor that may meet, and why.
BESIDE = {
    ("corereg.registry", "corereg.runner"): "the registry starts and ends it",
    ("corereg.__main__", "corereg.cli"): "`python -m corereg` is `corereg`",
    ("corereg.cli", "corereg.server"): "`corereg serve` starts it",
    ("corereg.cli", "corereg.doctor"): "`corereg doctor` asks it",
    ("corereg.doctor", "corereg.server"): "it reads the certificate as the server does, and tells errors as it does",
    ("corereg.cli", "corereg.documentation"): "`corereg plugins hooks` shows the page on a terminal",
    ("corereg.messages", "corereg.access"): "a route says which right it needs",
}


class Source:
    """One Python file: where it is, what it is called (None: no importable module), which names it imports."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        parts = self.path.with_suffix("").parts
        self.plugin = parts[1] if parts[0] == "plugins" else parts[0] if parts[0] == "examples" else None
        self.is_test = "tests" in parts or parts[-1].startswith("test_") or parts[-1] == "conftest"
        self.is_package = parts[-1] == "__init__"
        dotted = parts[2:] if parts[0] == "plugins" else parts
        self.module = ".".join(dotted[:-1] if self.is_package else dotted)
        self.tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))

    def imports(self, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
        """The line and the module of each import. ``from corereg import store`` is an import of corereg.store."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=names):
                    yield from ((node.lineno, alias.name) for alias in names)
                case ast.ImportFrom(names=names):
                    base = self._absolute(node)
                    for alias in names:
                        inner = f"{base}.{alias.name}"
                        yield node.lineno, inner if inner in modules else base
                case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if _imports(function):
                    yield node.lineno, name

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module.split(".") if self.is_package else self.module.split(".")[:-1]
        above = package[: len(package) - node.level + 1]
        return ".".join([*above, *([node.module] if node.module else [])])


def _imports(function: ast.expr) -> bool:
    match function:
        case ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"):
            return True
    return False


def sources(root: Path) -> list[Source]:
    """Every Python file of the core, the plugins and the examples below `root`."""
    return [
        Source(root, path) for top in ("corereg", "plugins", "examples") for path in sorted((root / top).rglob("*.py"))
    ]


def room(module: str) -> str:
    """The row of `FLOORS` that a module of corereg belongs to, or the module itself where none names it."""
    return next((row for row in FLOORS if row != "corereg" and f"{module}.".startswith(f"{row}.")), module)


def crossings(files: Iterable[Source]) -> list[str]:
    """One sentence, ``path:line  why``, for each import that crosses a line."""
    files = list(files)
    modules = frozenset(file.module for file in files if file.plugin is None)
    found = []
    for file in files:
        judge = _from_core if file.plugin is None else _from_plugin
        for line, target in file.imports(modules):
            reason = judge(file, target)
            if reason:
                found.append(f"{file.path}:{line}  {reason}")
    return found


def _from_core(file: Source, target: str) -> str | None:
    top = target.partition(".")[0]
    if top.startswith("corereg_"):
        return f"the core imports the plugin {top}"
    if top != "corereg":
        return None
    here, there = room(file.module), room(target)
    if here == there or (here, there) in BESIDE:
        return None
    if missing := [name for name in (here, there) if name not in FLOORS]:
        return f"{missing[0]} stands on no floor"
    if FLOORS[there] < FLOORS[here]:
        return None
    return f"{here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"


def _from_plugin(file: Source, target: str) -> str | None:
    top = target.partition(".")[0]
    if top.startswith("corereg_"):
        return None if top == f"corereg_{file.plugin}" else f"{file.plugin} imports the plugin {top}"
    if top != "corereg" or target == "corereg" or (file.is_test and room(target) == "corereg.testing"):
        return None
    return f"{file.plugin} imports {target}; a plugin uses the names in `corereg` itself"


# --------------------------------------------------------------------------------------------------- the house


def test_no_import_crosses_a_line() -> None:
    assert crossings(sources(ROOT)) == []


def test_every_module_stands_on_a_floor() -> None:
    homeless = [file.module for file in sources(ROOT) if file.plugin is None and room(file.module) not in FLOORS]
    assert homeless == []


def test_every_floor_is_lived_on() -> None:
    lived = {room(file.module) for file in sources(ROOT) if file.plugin is None}
    assert set(FLOORS) - lived == set()


# --------------------------------------------------------------------------------------------- the test's own test

CROSSES = [
    ("corereg/oci/digest.py", "import corereg.config", "corereg.oci (floor 1) imports corereg.config (floor 1)"),
    (
        "corereg/access.py",
        "from corereg.session import Session",
        "corereg.access (floor 2) imports corereg.session (floor 7)",
    ),
    ("corereg/access.py", "from corereg import session", "corereg.access (floor 2) imports corereg.session (floor 7)"),
    ("corereg/access.py", "from . import session", "corereg.access (floor 2) imports corereg.session (floor 7)"),
    ("corereg/store/catalog.py", "from ..http import app", "corereg.store (floor 4) imports corereg.http (floor 9)"),
    (
        "corereg/store/__init__.py",
        "from ..http.app import asgi",
        "corereg.store (floor 4) imports corereg.http (floor 9)",
    ),
    ("corereg/registry.py", "from corereg import Identity", "corereg.registry (floor 8) imports corereg (floor 10)"),
    ("corereg/registry.py", "def late():\n    from corereg.http.app import asgi", "imports corereg.http (floor 9)"),
    (
        "corereg/store/jobs.py",
        "if TYPE_CHECKING:\n    from corereg.session import S",
        "imports corereg.session (floor 7)",
    ),
    ("corereg/plugins.py", "importlib.import_module('corereg.registry')", "imports corereg.registry (floor 8)"),
    ("corereg/server.py", "import corereg.cli", "corereg.server (floor 10) imports corereg.cli (floor 10)"),
    ("corereg/http/app.py", "import corereg.testing.client", "imports corereg.testing (floor 11)"),
    ("corereg/helpers.py", "import corereg.oci.digest", "corereg.helpers stands on no floor"),
    ("corereg/registry.py", "import corereg_accounts", "the core imports the plugin corereg_accounts"),
    ("corereg/testing/plugin.py", "from corereg_storage_fs import S", "the core imports the plugin corereg_storage_fs"),
    (
        "plugins/accounts/corereg_accounts/routes.py",
        "from corereg.access import Identity",
        "accounts imports corereg.access",
    ),
    ("plugins/accounts/corereg_accounts/routes.py", "from corereg import access", "accounts imports corereg.access"),
    ("plugins/accounts/corereg_accounts/routes.py", "import corereg.testing", "accounts imports corereg.testing"),
    (
        "plugins/accounts/corereg_accounts/routes.py",
        "import corereg_robots",
        "accounts imports the plugin corereg_robots",
    ),
    ("plugins/accounts/tests/test_x.py", "from corereg.store import database", "accounts imports corereg.store"),
    ("plugins/accounts/tests/test_x.py", "import corereg_storage_fs", "accounts imports the plugin corereg_storage_fs"),
    ("examples/policy.py", "from corereg.events import Operation", "examples imports corereg.events"),
]

STAYS = [
    ("corereg/oci/manifest.py", "from corereg.oci.digest import Digest"),
    ("corereg/oci/manifest.py", "from .digest import Digest"),
    ("corereg/cli.py", "def serve():\n    from corereg.server import run"),
    ("corereg/__init__.py", "from corereg.http.app import asgi\nfrom corereg.access import Identity"),
    ("corereg/testing/client/registry.py", "from corereg import Registry\nimport corereg.oci.digest\nimport httpx2"),
    ("corereg/config/units.py", "from corereg.config.problems import ConfigError"),
    ("plugins/accounts/corereg_accounts/__init__.py", "from corereg import hookimpl\nfrom .schema import users"),
    ("plugins/accounts/corereg_accounts/routes.py", "from corereg_accounts.schema import users\nimport argon2"),
    ("plugins/accounts/tests/test_x.py", "from corereg.testing import PluginContract\nimport corereg_accounts"),
    ("examples/test_policy.py", "from corereg.testing.client import Client"),
]


def _built(root: Path, path: str, text: str) -> list[Source]:
    for other in ("corereg/session.py", "corereg/access.py", "corereg/store/database.py", path):
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        (root / other).write_text(text if other == path else "")
    return sources(root)


@pytest.mark.parametrize(("path", "text", "sentence"), CROSSES)
def test_a_crossed_line_is_seen(tmp_path: Path, path: str, text: str, sentence: str) -> None:
    (found,) = crossings(_built(tmp_path, path, text))
    assert found.startswith(f"{path}:{len(text.splitlines())}  ")
    assert sentence in found


@pytest.mark.parametrize(("path", "text"), STAYS)
def test_a_kept_line_is_not(tmp_path: Path, path: str, text: str) -> None:
    assert crossings(_built(tmp_path, path, text)) == []
