"""Find, check and order the plugins; one typed method per hook.

pluggy discovers and validates. It does not ask: it knows nothing of ``await``, and an abstaining policy would silence
the next one. Each hook's implementations are compiled once into a tuple, and the loops below are the semantics.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
import pluggy

from corereg import hookspecs
from corereg.access import Grant, Identity, Namespace, Refusal, limited
from corereg.config import ConfigError, decode_table
from corereg.config.problems import nearest
from corereg.events import Event, Operation
from corereg.findings import Check
from corereg.messages import Request, Route
from corereg.oci.errors import OCIError, Unauthorized, Unavailable
from corereg.store.database import DatabaseError, Transaction
from corereg.store.storage import Storage

if TYPE_CHECKING:  # for the types alone: `corereg --help` must not wait for a database driver
    from corereg.store.jobs import Job
    from corereg.store.schema import Schema
    from corereg.store.settings import Setting

Noun = TypeVar("Noun")

log = logging.getLogger(__name__)

COMMIT_DEADLINE = 30.0
"""Seconds the `commit` hooks may take over one operation: every other writer waits for them, and not for longer."""

GROUP = "corereg"
FIRST_PARTY = "corereg-"
"""Distributions of this name's beginning are enabled where no configuration names plugins."""


def specified(namespace: Any) -> tuple[str, ...]:
    """Names of the hooks that a module or class declares, in the order they stand there."""
    return tuple(name for name in vars(namespace) if hasattr(getattr(namespace, name), "corereg_spec"))


HOOKS = specified(hookspecs)


class PluginError(Exception):
    """The plugins do not fit; `str()` names plugin, hook and remedy."""


class Installed(msgspec.Struct, frozen=True):
    """A plugin that could be enabled: its name, its distribution and version, and what to import."""

    name: str
    distribution: str
    version: str
    target: str


class Enabled(msgspec.Struct, frozen=True):
    """A plugin at work: its name and the object that carries the hooks."""

    name: str
    plugin: Any
    settings: Any = None


def installed() -> list[Installed]:
    """Every plugin some installed distribution offers, by name."""
    found = [
        Installed(
            entry.name, entry.dist.name if entry.dist else "?", entry.dist.version if entry.dist else "?", entry.value
        )
        for entry in entry_points(group=GROUP)
    ]
    return sorted(found, key=lambda each: each.name)


def default_names() -> list[str]:
    """The first-party plugins that are installed."""
    return [each.name for each in installed() if each.distribution.replace("_", "-").lower().startswith(FIRST_PARTY)]


def load(wanted: Sequence[object], tables: Mapping[str, Mapping[str, Any]]) -> Plugins:
    """The plugins of `wanted`, in that order: names of installed ones, paths of files, classes, instances or modules.

    `tables` holds each plugin's own table of the configuration. A class gets its `Settings` as its only argument, a
    module that has `Settings` finds them as ``settings``. Raises PluginError; a bad table raises ConfigError.
    """
    offered = _offered() if any(isinstance(each, str) for each in wanted) else {}
    return Plugins([_enable(each, tables, offered) for each in wanted])


def _enable(
    wanted: object, tables: Mapping[str, Mapping[str, Any]], offered: Mapping[str, Sequence[EntryPoint]]
) -> Enabled:
    name, target = _resolve(wanted, offered)
    settings = None
    if inspect.isclass(target):
        kind = getattr(target, "Settings", None)
        if kind is not None:
            settings = _decoded(name, kind, tables)
        target = _made(name, target, settings)
    elif isinstance(target, ModuleType) and hasattr(target, "Settings"):
        settings = _decoded(name, target.Settings, tables)
        target.settings = settings  # type: ignore[attr-defined]  # where a policy's file reads them
    return Enabled(name, target, settings)


def _decoded(name: str, kind: Any, tables: Mapping[str, Mapping[str, Any]]) -> msgspec.Struct:
    if not (inspect.isclass(kind) and issubclass(kind, msgspec.Struct)):
        message = f"plugin {name!r}: its `Settings` is no msgspec.Struct; write `class Settings(msgspec.Struct)`"
        raise PluginError(message)
    try:
        return decode_table(name, tables.get(name, {}), kind)
    except ConfigError:
        raise
    except Exception as error:
        message = f"plugin {name!r}: its `Settings` cannot be read: {type(error).__name__}: {error}"
        raise PluginError(message) from error


def _made(name: str, make: Callable[..., Any], settings: msgspec.Struct | None) -> Any:
    try:
        return make() if settings is None else make(settings)
    except (ConfigError, PluginError):
        raise
    except (TypeError, ValueError, OSError) as error:
        message = f"plugin {name!r} could not be made: {error}"
        raise PluginError(message) from error
    except (Exception, SystemExit) as error:
        message = f"plugin {name!r} could not be made: {type(error).__name__}: {error}"
        raise PluginError(message) from error


def _offered() -> Mapping[str, Sequence[EntryPoint]]:
    """What distributions offer, by the plugins' names: to ask all of them takes milliseconds."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def _resolve(wanted: object, offered: Mapping[str, Sequence[EntryPoint]]) -> tuple[str, Any]:
    if isinstance(wanted, str):
        if wanted.endswith(".py") or "/" in wanted:
            return _from_file(Path(wanted))
        return wanted, _from_entry_point(wanted, offered)
    if isinstance(wanted, ModuleType):
        return wanted.__name__.rpartition(".")[2], wanted
    kind = wanted if inspect.isclass(wanted) else type(wanted)
    return getattr(wanted, "name", None) or _snake(kind.__name__), wanted


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _from_entry_point(name: str, offered: Mapping[str, Sequence[EntryPoint]]) -> Any:
    if name not in offered:
        near = nearest(name, offered)
        hint = f" - did you mean {near}?" if near else "."
        message = (
            f"plugin {name!r} is not installed{hint} Install its distribution, or take it out of `plugins`; "
            f"installed are: {', '.join(sorted(offered)) or 'none'}"
        )
        raise PluginError(message)
    entry, *others = offered[name]
    for other in others:
        if other.value != entry.value:
            message = f"two distributions offer a plugin {name!r}: {entry.value} and {other.value}"
            raise PluginError(message)
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        message = f"plugin {name!r} ({entry.value}) cannot be imported: {type(error).__name__}: {error}"
        raise PluginError(message) from error


def _from_file(path: Path) -> tuple[str, ModuleType]:
    name = path.stem
    spec = importlib.util.spec_from_file_location(f"corereg_policy_{name}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        message = f"plugin file {path} is not there, or is no Python file"
        raise PluginError(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        message = f"plugin file {path} cannot be run: {type(error).__name__}: {error}"
        raise PluginError(message) from error
    return name, module


Ask = tuple[tuple[str, Callable[..., Any]], ...]


class Plugins:
    """The plugins of one registry. Every hook is one method; the rest of the code never sees pluggy."""

    def __init__(self, enabled: Sequence[Enabled]) -> None:
        self.enabled = tuple(enabled)
        self._manager = pluggy.PluginManager("corereg")
        self._manager.add_hookspecs(hookspecs)
        self.owned: dict[str, Any] = {}
        """Further hooks: which plugin asks them, by name of plugin, and what declares them."""
        for each in self.enabled:
            self._own_hooks(each)
        self.hooks = (*HOOKS, *(hook for namespace in self.owned.values() for hook in specified(namespace)))
        for each in self.enabled:
            self._register(each)
        self._check()
        order = {each.name: place for place, each in enumerate(self.enabled)}
        self._asks: dict[str, Ask] = {hook: self._compile(hook, order) for hook in self.hooks}
        for hook in HOOKS:
            setattr(self, f"_{hook}", self._asks[hook])

    _identify: Ask
    _check_password: Ask
    _complete_identity: Ask
    _resolve_namespace: Ask
    _grants: Ask
    _admit: Ask
    _commit: Ask
    _observe: Ask

    def __iter__(self) -> Iterator[Enabled]:
        return iter(self.enabled)

    def implementers(self, hook: str) -> list[str]:
        """Names of the plugins that implement a hook, in the order they are asked."""
        return [name for name, _ in self._asks[hook]]

    def hooks_of(self, plugin: str) -> list[str]:
        """The hooks a plugin implements."""
        return [hook for hook in self.hooks if plugin in self.implementers(hook)]

    def asked(self, hook: str) -> Ask:
        """Name of plugin and function for each that implements a hook which a plugin owns (`provide_hooks`), in the
        order of asking. Whoever owns the hook calls them, and decides what a failure means.
        """
        return self._asks[hook]

    # ---- check ----

    def _own_hooks(self, each: Enabled) -> None:
        offered = getattr(each.plugin, "provide_hooks", None)
        if offered is None or not hasattr(offered, "corereg_impl"):
            return
        namespace = _at_boot(each.name, "provide_hooks", offered)
        if namespace is None:
            return
        if not isinstance(namespace, ModuleType | type):
            message = (
                f"plugin {each.name!r}, hook 'provide_hooks': it must return a class or module, not {_name(namespace)}"
            )
            raise PluginError(message)
        known = {*HOOKS, *(hook for other in self.owned.values() for hook in specified(other))}
        twice = known & set(specified(namespace))
        if twice:
            message = f"plugin {each.name!r}, hook 'provide_hooks': there is a hook {twice.pop()!r} already; rename it"
            raise PluginError(message)
        try:
            self._manager.add_hookspecs(namespace)
        except ValueError as error:
            message = (
                f"plugin {each.name!r}, hook 'provide_hooks': it gives no hooks; mark its functions with @hookspec"
            )
            raise PluginError(message) from error
        self.owned[each.name] = namespace

    def _register(self, each: Enabled) -> None:
        if self._manager.has_plugin(each.name):
            message = f"two plugins are named {each.name!r}; take one out of `plugins`, or rename it"
            raise PluginError(message)
        try:
            self._manager.register(each.plugin, name=each.name)
        except pluggy.PluginValidationError as error:
            message = f"plugin {each.name!r}: {str(error).splitlines()[-1].strip()}; see `corereg plugins hooks`"
            raise PluginError(message) from error
        if not self._manager.get_hookcallers(each.plugin):
            message = f"plugin {each.name!r} implements no hook; mark its functions with @hookimpl"
            raise PluginError(message)

    def _check(self) -> None:
        for hook in self._manager.hook.__dict__.values():
            if not isinstance(hook, pluggy.HookCaller):
                continue
            for implementation in hook.get_hookimpls():
                self._check_one(hook, implementation)

    def _check_one(self, hook: pluggy.HookCaller, implementation: pluggy.HookImpl) -> None:
        where = f"plugin {implementation.plugin_name!r}, hook {hook.name!r}"
        if hook.spec is None:
            if implementation.optionalhook:
                return
            near = nearest(hook.name, self.hooks)
            hint = f"did you mean {near}?" if near else "see `corereg plugins hooks`"
            message = f"{where}: there is no such hook; {hint} (optionalhook=True for a hook of another plugin)"
            raise PluginError(message)
        if implementation.wrapper or implementation.hookwrapper:
            message = f"{where}: wrappers are not asked here; implement the hook itself"
            raise PluginError(message)
        function = implementation.function
        wants_async = inspect.iscoroutinefunction(hook.spec.function)
        if inspect.isasyncgenfunction(function):
            message = f"{where}: an async generator cannot answer; put @asynccontextmanager above it"
            raise PluginError(message)
        if wants_async and not inspect.iscoroutinefunction(function):
            message = f"{where}: it is awaited for each request; write `async def {hook.name}(...)`"
            raise PluginError(message)
        if not wants_async and inspect.iscoroutinefunction(function):
            message = f"{where}: it is called at start-up and not awaited; write `def {hook.name}(...)`"
            raise PluginError(message)

    def _compile(self, hook: str, order: Mapping[str, int]) -> Ask:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        assert caller.spec is not None  # noqa: S101 - HOOKS are the specified ones
        offered = tuple(caller.spec.argnames)
        ranked = sorted(
            caller.get_hookimpls(), key=lambda each: (not each.tryfirst, each.trylast, order[each.plugin_name])
        )
        return tuple((each.plugin_name, _adapted(each.function, offered, tuple(each.argnames))) for each in ranked)

    # ---- nouns, at start-up ----

    def storage(self, url: str) -> Storage:
        for name, ask in self._asks["provide_storage"]:
            storage: Storage | None = _noun(Storage, name, "provide_storage", ask, url)
            if storage is not None:
                return storage
        known = ", ".join(self.implementers("provide_storage")) or "none"
        message = f"no enabled plugin serves the storage {url.partition(':')[0]!r}; storage plugins enabled: {known}"
        raise PluginError(message)

    def schemas(self) -> list[Schema]:
        from corereg.store.schema import Schema  # noqa: PLC0415 - `corereg --help` waits for no database driver

        found: list[Schema | None] = [
            _noun(Schema, name, "provide_schema", ask) for name, ask in self._asks["provide_schema"]
        ]
        schemas = [each for each in found if each is not None]
        names = [each.name for each in schemas]
        for name in names:
            if names.count(name) > 1 or name == "core":
                message = f"two plugins keep tables under the name {name!r}; rename one schema"
                raise PluginError(message)
        return schemas

    def routes(self, registry: Any) -> list[tuple[str, Route]]:
        """Every route with the name of its plugin."""
        return [
            (name, route)
            for name, ask in self._asks["provide_routes"]
            for route in _nouns(Route, name, "provide_routes", ask, registry)
        ]

    def settings(self) -> list[Setting[Any]]:
        """Every declared setting."""
        from corereg.store.settings import Setting  # noqa: PLC0415 - `corereg --help` waits for no database driver

        found: dict[str, str] = {}
        declared = []
        for name, ask in self._asks["provide_settings"]:
            for setting in _nouns(Setting, name, "provide_settings", ask):
                if setting.name in found:
                    message = f"plugins {found[setting.name]!r} and {name!r} both declare a setting {setting.name!r}"
                    raise PluginError(message)
                found[setting.name] = name
                declared.append(setting)
        return declared

    def jobs(self, registry: Any) -> list[tuple[str, Job]]:
        """Every declared job with the name of its plugin."""
        from corereg.store.jobs import Job  # noqa: PLC0415 - `corereg --help` waits for no database driver

        return [
            (name, job)
            for name, ask in self._asks["provide_jobs"]
            for job in _nouns(Job, name, "provide_jobs", ask, registry)
        ]

    def checks(self, registry: Any) -> list[tuple[str, Check]]:
        """Every check for the doctor with the name of its plugin."""
        return [
            (name, check)
            for name, ask in self._asks["provide_checks"]
            for check in _nouns(Check, name, "provide_checks", ask, registry)
        ]

    def commands(self) -> list[click.Command]:
        found: dict[str, tuple[str, click.Command]] = {}
        for name, ask in self._asks["provide_commands"]:
            for command in _nouns(click.Command, name, "provide_commands", ask):
                if command.name in found:
                    message = f"plugins {found[command.name][0]!r} and {name!r} both bring a command {command.name!r}"
                    raise PluginError(message)
                found[str(command.name)] = (name, command)
        return [command for _, command in found.values()]

    def lifespans(self, registry: Any) -> list[AbstractAsyncContextManager[None]]:
        found = [
            (name, _noun(AbstractAsyncContextManager, name, "lifespan", ask, registry))
            for name, ask in self._asks["lifespan"]
        ]
        return [Lifespan(name, each) for name, each in found if each is not None]

    # ---- verbs, for each request ----

    async def identify(self, request: Request) -> Identity | None:
        for name, ask in self._identify:
            answer = await _or_reject(name, "identify", ask, request)
            if answer is not None:
                return answer
        return None

    async def check_password(self, name: str, password: str, address: str | None = None) -> Identity | None:
        for plugin, ask in self._check_password:
            answer = await _or_reject(plugin, "check_password", ask, name, password, address)
            if answer is not None:
                return answer
        return None

    async def complete_identity(self, identity: Identity) -> Identity:
        limits = identity.limits
        for name, ask in self._complete_identity:
            identity = await _or_reject(name, "complete_identity", ask, identity) or identity
        if limits is not None and identity.limits is None:  # whoever completes an identity does not widen it
            identity = msgspec.structs.replace(identity, limits=limits)
        return identity

    async def resolve_namespace(self, reference: int | str) -> Namespace | None:
        for _, ask in self._resolve_namespace:
            answer: Namespace | None = await ask(reference)
            if answer is not None:
                return answer
        return None

    async def namespace_of(self, repository: str) -> Namespace | None:
        """The namespace a repository stands in: the longest that its name begins with."""
        prefix = repository
        while "/" in prefix:
            prefix = prefix.rpartition("/")[0]
            answer = await self.resolve_namespace(prefix)
            if answer is not None:
                return answer
        return None

    async def grants(self, identity: Identity) -> tuple[Grant, ...]:
        granted: dict[Grant, None] = {}
        for name, ask in self._grants:
            try:
                answer: Iterable[Grant] | None = await ask(identity)
            except DatabaseError:
                raise
            except Exception as error:
                log.exception("plugin %s failed in grants; nothing is granted", name)
                raise Unauthorized(_failed(name, "grants")) from error
            granted.update(dict.fromkeys(answer or ()))
        return limited(granted, identity.limits)

    async def admit(self, operation: Operation) -> Refusal | None:
        for name, ask in self._admit:
            refusal = await _or_refuse(name, "admit", ask, operation)
            if refusal is not None:
                return refusal
        return None

    @property
    def admits(self) -> bool:
        """Whether anybody wants to be asked; a pull builds no Operation otherwise."""
        return bool(self._admit)

    async def commit(self, operation: Operation, tx: Transaction) -> Refusal | None:
        if not self._commit:
            return None
        import asyncio  # noqa: PLC0415 - `corereg --help` needs no event loop

        asked = ""
        try:
            async with asyncio.timeout(COMMIT_DEADLINE):  # half of what anyio's costs, for each change
                for name, ask in self._commit:
                    asked = name
                    refusal = await _or_refuse(name, "commit", ask, operation, tx)
                    if refusal is not None:
                        return refusal
        except TimeoutError as error:
            log.exception("plugin %s did not end in commit within %g s; rolled back", asked, COMMIT_DEADLINE)
            message = "a rule of this registry took too long, so nothing was changed; try again soon"
            raise Unavailable(message) from error
        return None

    def observers(self) -> dict[str, Callable[[Event], Any]]:
        """Who wants to hear of events, by name of plugin."""
        return dict(self._observe)


def _adapted(function: Callable[..., Any], offered: Sequence[str], taken: Sequence[str]) -> Callable[..., Any]:
    """`function`, called with all that the hook offers, though it takes only some of it."""
    if tuple(taken) == tuple(offered):
        return function
    places = [offered.index(name) for name in taken]

    def call(*arguments: Any) -> Any:
        return function(**{offered[place]: arguments[place] for place in places})

    return call


class Lifespan(AbstractAsyncContextManager[None]):
    """A plugin's `lifespan`, which names the plugin when it fails to begin."""

    def __init__(self, plugin: str, inner: AbstractAsyncContextManager[Any]) -> None:
        self._plugin = plugin
        self._inner = inner

    async def __aenter__(self) -> None:
        """Let the plugin begin. Raises PluginError; what has a sentence of its own is not changed."""
        try:
            await self._inner.__aenter__()
        except (ConfigError, PluginError, DatabaseError):
            raise
        except (Exception, SystemExit) as error:
            raise _broken(self._plugin, "lifespan", error) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Let the plugin end."""
        return await self._inner.__aexit__(kind, error, trace)


def _noun(kind: type[Any], plugin: str, hook: str, ask: Callable[..., Any], *arguments: Any) -> Any:
    """What a plugin gives, if it gives anything. Raises PluginError when that is something else."""
    answer = _at_boot(plugin, hook, ask, *arguments)
    if answer is None or isinstance(answer, kind):
        return answer
    word = "an @asynccontextmanager" if kind is AbstractAsyncContextManager else f"a {_of(kind)}"
    message = f"plugin {plugin!r}, hook {hook!r}: it must return {word} or None, not {_name(answer)}"
    raise PluginError(message)


def _nouns(kind: type[Noun], plugin: str, hook: str, ask: Callable[..., Any], *arguments: Any) -> list[Noun]:
    """As `_noun`, where a hook gives many."""
    answer = _at_boot(plugin, hook, ask, *arguments)
    if answer is None:
        return []
    if not isinstance(answer, Iterable):
        message = f"plugin {plugin!r}, hook {hook!r}: it must return a list of {_of(kind)} or None, not {_name(answer)}"
        raise PluginError(message)
    given: list[Any] = _at_boot(plugin, hook, list, answer)  # a generator runs only now
    for each in given:
        if not isinstance(each, kind):
            message = f"plugin {plugin!r}, hook {hook!r}: it must give {_of(kind)} only, not {_name(each)}"
            raise PluginError(message)
    return given


def _of(kind: type[Any]) -> str:
    return f"click.{kind.__name__}" if kind is click.Command else f"corereg.{kind.__name__}"


def _name(value: object) -> str:
    """What a value is; not the value itself, which may be long, or secret."""
    return type(value).__name__


def _at_boot(plugin: str, hook: str, ask: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except (Exception, SystemExit) as error:
        raise _broken(plugin, hook, error) from error


def _broken(plugin: str, hook: str, error: BaseException) -> PluginError:
    return PluginError(f"plugin {plugin!r}, hook {hook!r} failed: {type(error).__name__}: {error}")


def _failed(plugin: str, hook: str) -> str:
    return f"the plugin {plugin} failed in {hook}, so nothing is allowed; tell the operator of this registry"


async def _or_reject(plugin: str, hook: str, ask: Callable[..., Any], *arguments: Any) -> Identity | None:
    try:
        return await ask(*arguments)  # type: ignore[no-any-return]  # by the hook's specification
    except (OCIError, DatabaseError):
        raise  # a database that is away is no wrong password
    except Exception as error:
        log.exception("plugin %s failed in %s; the request is rejected", plugin, hook)
        raise Unauthorized(_failed(plugin, hook)) from error


async def _or_refuse(plugin: str, hook: str, ask: Callable[..., Any], *arguments: Any) -> Refusal | None:
    try:
        return await ask(*arguments)  # type: ignore[no-any-return]  # by the hook's specification
    except (OCIError, DatabaseError):
        raise  # a database that is away is no refusal: what is written is rolled back, and the client comes again
    except Exception:
        log.exception("plugin %s failed in %s; the operation is refused", plugin, hook)
        return Refusal(_failed(plugin, hook))
