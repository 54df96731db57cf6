"""What every plugin has to do: `PluginContract`, a class of tests to inherit from.

::

    class TestOurs(PluginContract):
        name = "ours"

takes the installed plugin of that name, through its entry point. ``plugin = Ours`` (a class, a module, or the path of a
file) takes that one instead; ``table = {"url": "..."}`` is its table of the configuration; ``open_routes`` lists
what it answers to everybody, so that no route is left open by mistake.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from uuid import uuid4

import anyio
import click
import msgspec
import pytest
import sqlalchemy as sa
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # fsspec ships no types

import corereg
from corereg.access import Action, Identity
from corereg.config import Config, StorageConfig, decode_table
from corereg.config.hints import Hint, take_apart
from corereg.hookspecs import hookimpl
from corereg.http.app import asgi
from corereg.http.routes import Table
from corereg.messages import OPEN, Request, Route
from corereg.plugins import HOOKS, Enabled, installed, load
from corereg.registry import Registry
from corereg.store.engines import connect
from corereg.store.filesystem import FsspecStorage
from corereg.store.inspection import differences
from corereg.store.schema import CORE, Schema, upgrade, versions
from corereg.testing.client import RegistryClient

PRIMITIVE = (sa.Integer, sa.String, sa.LargeBinary)
"""What columns hold: integers, text, bytes; times are microseconds, flags 0 or 1."""
SECRETS = ("password", "secret", "token")
"""A setting whose name holds one of these is a secret, which no print-out shows."""
PATIENCE = 5.0
"""Seconds in which threads and tasks that were told to end have ended."""
STRANGER = "x-contract-stranger"


class Surroundings:
    """What a registry needs beside the plugin under test: somewhere to keep bytes, and somebody without any right."""

    @hookimpl
    def provide_storage(self, url: str) -> FsspecStorage | None:
        scheme, _, name = url.partition(":")
        return FsspecStorage(MemoryFileSystem(), f"/{name}") if scheme == "memory" else None

    @hookimpl
    async def identify(self, request: Request) -> Identity | None:
        if request.header(STRANGER.encode()) is None:
            return None
        return Identity(name="stranger", subject="contract:stranger", kind="robot", source="surroundings")


class PluginContract:
    """Inherit from it and give it `name`, and `plugin` where no entry point has that name."""

    pytestmark = pytest.mark.anyio

    name: ClassVar[str]
    """The plugin's name, as it stands in ``plugins = [...]``."""
    plugin: ClassVar[Any] = None
    """A class, an instance, a module or the path of a file; None is the installed plugin of that name."""
    table: ClassVar[Mapping[str, Any]] = {}
    """Its own table of the configuration."""
    open_routes: ClassVar[frozenset[str]] = frozenset()
    """Routes that need no sign-in: ``GET /motd``."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """asyncio only, as corereg itself."""
        return "asyncio"

    def config(self, folder: Path) -> Config:
        """The configuration of a registry with this plugin. A storage plugin wants its own ``[storage] url`` here."""
        storage = StorageConfig(url=f"memory:{uuid4().hex}")
        return Config(data=folder, storage=storage, tables={self.name: self.table} if self.table else {})

    def registry(self, folder: Path) -> Registry:
        """One more registry with this plugin on the same data."""
        return Registry(self.config(folder), plugins=[self._wanted, Surroundings])

    @pytest.fixture
    async def opened(self, tmp_path: Path) -> AsyncIterator[Registry]:
        """An open registry with this plugin."""
        async with self.registry(tmp_path) as registry:
            yield registry

    @property
    def _wanted(self) -> Any:
        return self.name if self.plugin is None else self.plugin

    @property
    def _enabled(self) -> Enabled:
        return load([self._wanted], {self.name: self.table}).enabled[0]

    @property
    def _owner(self) -> Any:
        """The class or the module that carries the hooks."""
        plugin = self._enabled.plugin
        return plugin if isinstance(plugin, ModuleType) else type(plugin)

    # ---- boot ----

    def test_it_is_found_under_its_name(self) -> None:
        assert self._enabled.name == self.name
        if self.plugin is None:
            (found,) = (each for each in installed() if each.name == self.name)
            assert found.version

    def test_no_hook_is_left_unmarked(self) -> None:
        """A function with a hook's name and without @hookimpl is never asked."""
        forgotten = [
            hook
            for hook in HOOKS
            if callable(function := getattr(self._owner, hook, None)) and not hasattr(function, "corereg_impl")
        ]
        assert not forgotten, f"put @hookimpl above {', '.join(forgotten)}"

    def test_it_imports_only_the_face(self) -> None:
        found = [line for path in sources(self._owner) for line in forbidden_imports(path)]
        assert not found, "a plugin uses the names in `corereg` itself and no other plugin:\n" + "\n".join(found)

    # ---- settings ----

    def test_settings_explain_themselves(self) -> None:
        settings = getattr(self._owner, "Settings", None)
        if settings is None:
            pytest.skip("it has no settings")
        assert issubclass(settings, msgspec.Struct), "Settings is a msgspec.Struct"
        assert settings.__struct_config__.frozen, "Settings is frozen"
        assert (settings.__doc__ or "").strip(), "Settings has a docstring, which stands in the reference"
        wrong = list(unexplained(settings))
        assert not wrong, "\n".join(wrong)
        assert isinstance(decode_table(self.name, {}, settings), settings)

    # ---- tables ----

    @property
    def _schema(self) -> Schema:
        found = load([self._wanted], {self.name: self.table}).schemas()
        if not found:
            pytest.skip("it keeps no tables")
        return found[0]

    async def test_migrations_make_the_tables(self, tmp_path: Path) -> None:
        await made_by_migrations(f"sqlite:{tmp_path / 'corereg.db'}", self._schema)

    async def test_migrations_make_the_tables_on_postgresql(self, request: pytest.FixtureRequest) -> None:
        """Skipped where there is no PostgreSQL, and without ``-p corereg.testing.plugin``, which starts one."""
        schema = self._schema
        try:
            url = request.getfixturevalue("postgres_url")
        except pytest.FixtureLookupError:
            pytest.skip("needs a PostgreSQL: pytest -p corereg.testing.plugin")
        await made_by_migrations(url, schema)

    def test_tables_keep_to_themselves(self) -> None:
        schema = self._schema
        if schema.migrations is not None:
            assert schema.migrations.is_dir(), f"{schema.migrations} is no folder"
            folders = {path.parent for path in sources(self._owner)}
            assert schema.migrations in folders, "the migrations lie in the package, or they are not installed with it"
        for table in schema.metadata.tables.values():
            assert table.name.startswith(f"{schema.name}_"), f"the table {table.name} lacks its owner's prefix"
            strange = [column for column in table.columns if not primitive(column.type)]
            assert not strange, f"{strange}: columns hold integers, text and bytes"
            for key in table.foreign_keys:
                target = key.target_fullname.partition(".")[0]
                assert target in {*CORE.metadata.tables, *schema.metadata.tables}, f"{target} belongs to another plugin"

    # ---- life ----

    async def test_it_opens_and_closes_and_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.registry(tmp_path):  # what is made once per process is made here
            pass
        before = belongings()
        async with self.registry(tmp_path):
            await anyio.sleep(0.05)
        with anyio.move_on_after(PATIENCE):
            while belongings() - before:
                await anyio.sleep(0.05)
                gc.collect()
        left = belongings() - before
        assert not left, f"left behind: {', '.join(sorted(left))}"

    async def test_it_opens_beside_another_process(self, tmp_path: Path) -> None:
        async with self.registry(tmp_path) as first, self.registry(tmp_path) as second:
            assert await first.ready()
            assert await second.ready()

    # ---- routes ----

    def _routes(self, registry: Registry) -> list[Route]:
        Table(registry.routes)  # refuses those without a declared right, and whatever does not fit
        found = [route for name, route in registry.routes if name == self.name]
        if not found:
            pytest.skip("it answers no routes")
        return found

    async def test_routes_are_described(self, opened: Registry) -> None:
        silent = [f"{route.method} {route.path}" for route in self._routes(opened) if not route.summary]
        assert not silent, f"without a summary: {', '.join(silent)}"

    async def test_no_route_is_open_by_mistake(self, opened: Registry) -> None:
        found = {f"{route.method} {route.path}" for route in self._routes(opened) if route.needs == OPEN}
        assert found == self.open_routes, f"open: {found or 'none'}; meant to be: {set(self.open_routes) or 'none'}"

    async def test_routes_ask_who_is_there_and_what_they_may(self, opened: Registry) -> None:
        routes = self._routes(opened)
        async with RegistryClient("http://registry.test", app=asgi(opened), sign_in="never") as client:
            for route in routes:
                if route.needs == OPEN:
                    continue
                path = route.path.replace("{", "").replace("}", "")
                answer = await client.request(route.method, path)
                assert answer.status_code == 401, f"{route.method} {route.path} answers strangers"
                if isinstance(route.needs, Action):
                    answer = await client.request(route.method, path, headers={STRANGER: "1"})
                    assert answer.status_code == 403, f"{route.method} {route.path} answers people without the right"

    # ---- commands ----

    def test_commands_help_and_hide_secrets(self) -> None:
        found = load([self._wanted], {self.name: self.table}).commands()
        if not found:
            pytest.skip("it brings no commands")
        for command in (each for top in found for each in commands(top)):
            assert (command.help or "").strip(), f"{command.name} has no help"
            for option in command.params:
                shown = isinstance(option, click.Option) and not option.is_flag and not option.prompt
                bare = shown and any(str(option.name).endswith(word) for word in SECRETS)
                assert not bare, f"{command.name}: every process sees the value of {option.opts[0]}; read it elsewhere"


async def made_by_migrations(url: str, schema: Schema) -> None:
    """Whether a plugin's migrations, run twice, make what its metadata says."""
    database = connect(url)
    await database.open()
    try:
        await upgrade(database, [CORE, schema])
        await upgrade(database, [CORE, schema])
        assert all(each.is_current for each in await versions(database, [CORE, schema]))
        found: list[Any] = []
        await database.run_sync(lambda connection: found.extend(differences(connection, schema)))
        assert not found, f"what the migrations make is not what the metadata says: {found}"
    finally:
        await database.close()


def sources(owner: Any) -> list[Path]:
    """The Python files of a plugin: those of its package, or its only one."""
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    file = Path(str(module.__file__))
    return sorted(file.parent.rglob("*.py")) if (file.parent / "__init__.py").exists() else [file]


def forbidden_imports(path: Path) -> Iterator[str]:
    """``path:line  name`` for each import of something below the face, or of another plugin."""
    own = next((parent.name for parent in path.parents if parent.name.startswith("corereg_")), None)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        names: list[str] = []
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                names = [f"{module}.{alias.name}" for alias in aliases]
            case ast.Attribute(value=ast.Name(id="corereg"), attr=attribute):
                names = [f"corereg.{attribute}"]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names = [name]
        for name in names:
            top, _, rest = name.partition(".")
            below = top == "corereg" and rest and rest not in corereg.__all__
            if below or (top.startswith("corereg_") and top != own):
                yield f"{path}:{getattr(node, 'lineno', 0)}  {name}"


def unexplained(settings: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """What is wrong with the fields of a Settings, one sentence each; tables inside it included."""
    for field in msgspec.structs.fields(settings):
        hint, name = take_apart(field.type), f"{prefix}{field.encode_name}"
        inner: Hint = hint if hint.struct else hint.item
        if field.required and not prefix:
            yield f"{name} has no default; a plugin that is installed starts without a configuration"
        if not hint.description and not hint.struct:
            yield f"{name} has no description; write Annotated[..., msgspec.Meta(description=...)]"
        if any(word in name for word in SECRETS) and not (hint.secret or inner.secret) and hint.type is not bool:
            yield f"{name} is shown in print-outs; annotate it as a secret"
        if inner.struct:
            yield from unexplained(inner.struct, f"{name}.")


def primitive(kind: Any) -> bool:
    """Whether a column's type means the same on every engine without conversion."""
    return isinstance(kind, PRIMITIVE) and not isinstance(kind, sa.Enum)


def belongings() -> set[str]:
    """What this process holds: tasks, threads (but those of the event loop's own pools), open files and sockets."""
    found = {f"task {id(task)} {task.get_name()} {task.get_coro()!r}" for task in asyncio.all_tasks()}
    found |= {
        f"thread {thread.ident} {thread.name}"
        for thread in threading.enumerate()
        if not thread.name.startswith(("AnyIO worker thread", "asyncio_"))
    }
    place = Path("/proc/self/fd")
    for link in place.iterdir() if place.is_dir() else ():
        try:
            found.add(f"file {link.name} {os.readlink(link)}")  # noqa: PTH115 - "socket:[4711]" is no path
        except OSError:  # the one that lists this folder
            continue
    return found


def commands(command: click.Command) -> Iterator[click.Command]:
    """A command and all inside it."""
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from commands(inner)
