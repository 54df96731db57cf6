"""The dispatcher: what the loops mean, and what start-up refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from corereg import (
    ANONYMOUS,
    SYSTEM,
    Config,
    ConfigError,
    Conflict,
    DatabaseError,
    Denied,
    Event,
    Grant,
    Identity,
    OCIError,
    Operation,
    PluginError,
    Refusal,
    Registry,
    Schema,
    Unauthorized,
    hookimpl,
)
from corereg.plugins import Plugins, load
from corereg.store.database import DatabaseUnavailable

ALICE = Identity(name="alice", subject="user:alice")
BOB = Identity(name="bob", subject="user:bob")
PULL = Grant("demo/*", "repository", frozenset({"pull"}))
PUSH = Grant("demo/*", "repository", frozenset({"push"}))
OPERATION = Operation(kind="manifest.push", identity=ALICE, repository="demo/app")

pytestmark = pytest.mark.anyio


def plugins(*wanted: object) -> Plugins:
    return load(wanted, {})


def named(name: str, **hooks: Any) -> object:
    """A plugin object whose attributes are the given functions."""
    functions = {hook: staticmethod(hookimpl(function)) for hook, function in hooks.items()}
    return type(name, (), {"name": name, **functions})()


def checker(value: Identity | None, name: str, asked: list[str]) -> object:
    async def check_password(name: str, password: str, _own: str = name) -> Identity | None:
        asked.append(_own)
        return value

    return named(name, check_password=check_password)


async def test_an_abstaining_plugin_does_not_silence_the_next_one() -> None:
    asked: list[str] = []
    house = plugins(checker(None, "first", asked), checker(BOB, "second", asked), checker(ALICE, "third", asked))
    assert await house.check_password("x", "y") == BOB
    assert asked == ["first", "second"], "in the order of the list, and no further than the first answer"


async def test_nobody_answering_is_none() -> None:
    assert await plugins(checker(None, "first", [])).check_password("x", "y") is None


async def test_grants_are_a_union() -> None:
    async def pulls(identity: Identity) -> list[Grant]:
        return [PULL]

    async def pushes(identity: Identity) -> list[Grant]:
        return [PUSH, PULL]

    async def abstains(identity: Identity) -> None:
        return None

    house = plugins(named("a", grants=pulls), named("b", grants=abstains), named("c", grants=pushes))
    assert set(await house.grants(ALICE)) == {PULL, PUSH}


async def test_a_failing_grants_hook_grants_nothing_at_all() -> None:
    async def pulls(identity: Identity) -> list[Grant]:
        return [PULL]

    async def breaks(identity: Identity) -> list[Grant]:
        raise ZeroDivisionError

    with pytest.raises(Unauthorized, match="broken failed in grants"):
        await plugins(named("fine", grants=pulls), named("broken", grants=breaks)).grants(ALICE)


async def test_the_first_refusal_vetoes() -> None:
    asked: list[str] = []

    async def fine(operation: Operation) -> None:
        asked.append("fine")

    async def refuses(operation: Operation) -> Refusal:
        asked.append("refuses")
        return Refusal("not on Fridays")

    async def late(operation: Operation) -> None:
        asked.append("late")

    house = plugins(named("a", admit=fine), named("b", admit=refuses), named("c", admit=late))
    assert await house.admit(OPERATION) == Refusal("not on Fridays")
    assert asked == ["fine", "refuses"]


async def test_a_failing_policy_fails_closed() -> None:
    async def breaks(operation: Operation) -> None:
        raise KeyError("label")

    refusal = await plugins(named("golden", admit=breaks)).admit(OPERATION)
    assert refusal is not None
    assert refusal.status == 403
    assert "golden" in refusal.message
    assert "label" not in refusal.message, "what broke is for the log, not for the client"


@pytest.mark.parametrize("error", [DatabaseUnavailable, Conflict])
async def test_a_database_that_is_away_is_no_policys_no(error: type[DatabaseError]) -> None:
    """The client hears 503 and comes again; 403 would tell it that it may not."""

    async def breaks(operation: Operation) -> None:
        raise error("two waited for one another")

    async def breaks_inside(operation: Operation, tx: object) -> None:
        raise error("two waited for one another")

    house = plugins(named("counts", admit=breaks, commit=breaks_inside))
    with pytest.raises(error):
        await house.admit(OPERATION)
    with pytest.raises(error):
        await house.commit(OPERATION, object())  # type: ignore[arg-type]  # nobody looks at it


async def test_a_policy_may_choose_its_own_error() -> None:
    async def raises(operation: Operation) -> None:
        raise Denied("by the book")

    with pytest.raises(OCIError, match="by the book"):
        await plugins(named("golden", admit=raises)).admit(OPERATION)


async def test_complete_identity_passes_through_every_plugin_in_order() -> None:
    async def admin(identity: Identity) -> Identity:
        return msgspec.structs.replace(identity, administrator=True)

    async def groups(identity: Identity) -> Identity:
        assert identity.administrator, "it gets what the one before returned"
        return msgspec.structs.replace(identity, groups=("group:ops",))

    async def nothing(identity: Identity) -> None:
        return None

    house = plugins(
        named("a", complete_identity=admin), named("b", complete_identity=nothing), named("c", complete_identity=groups)
    )
    assert await house.complete_identity(ALICE) == msgspec.structs.replace(
        ALICE, administrator=True, groups=("group:ops",)
    )


async def test_a_hook_may_take_fewer_arguments() -> None:
    async def check_password(name: str) -> Identity | None:
        return ALICE if name == "alice" else None

    house = plugins(named("short", check_password=check_password))
    assert await house.check_password("alice", "whatever") == ALICE
    assert await house.check_password("bob", "alice") is None


# ---- what start-up refuses ----


def test_a_sync_function_for_an_async_hook() -> None:
    def admit(operation: Operation) -> None:
        return None

    with pytest.raises(PluginError, match=r"'golden', hook 'admit'.*async def admit"):
        plugins(named("golden", admit=admit))


def test_an_async_function_for_a_boot_hook() -> None:
    async def provide_schema() -> Schema | None:
        return None

    with pytest.raises(PluginError, match=r"'notes', hook 'provide_schema'.*`def provide_schema"):
        plugins(named("notes", provide_schema=provide_schema))


def test_an_undecorated_async_generator_as_lifespan() -> None:
    async def lifespan(registry: Registry) -> AsyncIterator[None]:
        yield

    with pytest.raises(PluginError, match="asynccontextmanager"):
        plugins(named("late", lifespan=lifespan))


def test_an_unknown_hook_names_a_near_one() -> None:
    async def admitt(operation: Operation) -> None:
        return None

    with pytest.raises(PluginError, match=r"no such hook; did you mean admit\?"):
        plugins(named("golden", admitt=admitt))


def test_an_unknown_hook_may_be_optional() -> None:
    class Guest:
        @hookimpl(optionalhook=True)
        def ui_pages(self) -> None:
            """Of another plugin."""

        @hookimpl
        async def observe(self, event: Event) -> None:
            """Something the core knows."""

    assert plugins(Guest()).implementers("observe") == ["guest"]


def test_surplus_arguments() -> None:
    async def admit(operation: Operation, request: object) -> None:
        return None

    with pytest.raises(PluginError, match=r"'golden'.*request"):
        plugins(named("golden", admit=admit))


def test_wrappers_are_refused() -> None:
    class Wrapping:
        @hookimpl(wrapper=True)
        def admit(self, operation: Operation) -> Any:
            return (yield)

    with pytest.raises(PluginError, match="wrappers"):
        plugins(Wrapping())


def test_two_plugins_of_one_name() -> None:
    with pytest.raises(PluginError, match="two plugins are named 'twin'"):
        plugins(checker(None, "twin", []), checker(None, "twin", []))


def test_a_plugin_without_a_hook() -> None:
    with pytest.raises(PluginError, match="implements no hook"):
        plugins(type("Empty", (), {})())


def test_an_installed_name_that_is_not_there() -> None:
    with pytest.raises(PluginError, match=r"'storage_fz' is not installed - did you mean storage_fs\?"):
        plugins("storage_fz")


def offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Let installed distributions offer plugins: the first two are called `lock`, the third `open`."""
    entries = [
        EntryPoint(name, value, "corereg") for name, value in zip(("lock", "lock", "open"), values, strict=False)
    ]
    monkeypatch.setattr("corereg.plugins.entry_points", lambda group: EntryPoints(entries).select(group=group))


def test_two_distributions_that_offer_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "one:Plugin", "other:Plugin", "corereg_labels:Labels")
    with pytest.raises(PluginError, match="two distributions offer a plugin 'lock': one:Plugin and other:Plugin"):
        load(["lock"], {})
    assert [each.name for each in load(["open"], {})] == ["open"], "nobody has asked for the other one"


def test_a_distribution_that_is_found_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "corereg_labels:Labels", "corereg_labels:Labels")
    assert [each.name for each in load(["lock"], {})] == ["lock"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"golden\.py is not there"):
        plugins(str(tmp_path / "golden.py"))


@pytest.mark.parametrize(
    ("text", "error"),
    [("import nowhere_to_be_found\n", "ModuleNotFoundError"), ("raise SystemExit('boo')\n", "SystemExit: boo")],
)
def test_a_file_that_breaks_is_named(tmp_path: Path, text: str, error: str) -> None:
    policy = tmp_path / "golden.py"
    policy.write_text(text)
    with pytest.raises(PluginError, match=rf"golden\.py cannot be run: {error}"):
        plugins(str(policy))


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 3


class Configured:
    name = "configured"
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @hookimpl
    async def observe(self, event: Event) -> None:
        """Nothing to do."""


def test_a_plugin_gets_its_own_table() -> None:
    loaded = load([Configured], {"configured": {"limit": 7}, "other": {"limit": "x"}})
    assert [each.settings.limit for each in loaded] == [7]


def test_a_bad_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="limit"):
        load([Configured], {"configured": {"limit": "many"}})


def test_a_table_of_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="configurd"):
        Registry(Config(data=tmp_path, tables={"configurd": {"limit": 7}}), plugins=["storage_fs", Configured])


def test_two_commands_of_one_name() -> None:
    def provide_commands() -> list[click.Command]:
        return [click.Command("hello")]

    house = plugins(named("a", provide_commands=provide_commands), named("b", provide_commands=provide_commands))
    with pytest.raises(PluginError, match="'a' and 'b' both bring a command 'hello'"):
        house.commands()


def test_a_boot_hook_that_fails_is_named() -> None:
    def provide_storage(url: str) -> None:
        raise OSError("no such bucket")

    with pytest.raises(PluginError, match="plugin 'bucket', hook 'provide_storage' failed: OSError: no such bucket"):
        plugins(named("bucket", provide_storage=provide_storage)).storage("s3://x")


GIVEN = {
    "provide_hooks": (5, "it must return a class or module, not int"),
    "provide_storage": ("x", "it must return a corereg.Storage or None, not str"),
    "provide_schema": ("x", "it must return a corereg.Schema or None, not str"),
    "provide_settings": (["x"], "it must give corereg.Setting only, not str"),
    "provide_routes": (5, "it must return a list of corereg.Route or None, not int"),
    "provide_jobs": (7, "it must return a list of corereg.Job or None, not int"),
    "provide_checks": (["x"], "it must give corereg.Check only, not str"),
    "provide_commands": (["x"], "it must give click.Command only, not str"),
    "lifespan": (5, "it must return an @asynccontextmanager or None, not int"),
}
ASKED = {
    "provide_storage": lambda house: house.storage("x:"),
    "provide_schema": Plugins.schemas,
    "provide_settings": Plugins.settings,
    "provide_routes": lambda house: house.routes(None),
    "provide_jobs": lambda house: house.jobs(None),
    "provide_checks": lambda house: house.checks(None),
    "provide_commands": Plugins.commands,
    "lifespan": lambda house: house.lifespans(None),
}


@pytest.mark.parametrize("hook", GIVEN)
def test_what_a_hook_must_not_give_is_named(hook: str) -> None:
    given, said = GIVEN[hook]
    with pytest.raises(PluginError) as caught:  # noqa: PT012 - some are asked at once, the others by name
        house = plugins(named("odd", **{hook: lambda: given}))
        ASKED[hook](house)
    assert str(caught.value) == f"plugin 'odd', hook {hook!r}: {said}"


def test_a_hook_may_give_what_it_makes_on_the_way() -> None:
    def provide_commands() -> Iterator[click.Command]:
        yield click.Command("one")
        raise SystemExit("boo")  # whatever ends it

    with pytest.raises(PluginError, match=r"plugin 'late', hook 'provide_commands' failed: SystemExit: boo"):
        plugins(named("late", provide_commands=provide_commands)).commands()


async def test_a_lifespan_that_fails_is_named(tmp_path: Path) -> None:
    left = []

    @asynccontextmanager
    async def sound(registry: Registry) -> AsyncIterator[None]:
        yield
        left.append("sound")

    @asynccontextmanager
    async def broken(registry: Registry) -> AsyncIterator[None]:
        raise ZeroDivisionError("boom")
        yield

    registry = Registry(
        Config(data=tmp_path), ["storage_fs", named("one", lifespan=sound), named("two", lifespan=broken)]
    )
    with pytest.raises(PluginError, match=r"^plugin 'two', hook 'lifespan' failed: ZeroDivisionError: boom$"):
        await registry.open()
    assert left == ["sound"]


def test_settings_that_are_no_struct() -> None:
    class Odd:
        class Settings:
            pass

    with pytest.raises(PluginError, match=r"plugin 'odd': its `Settings` is no msgspec\.Struct"):
        plugins(Odd)


def test_a_class_that_fails_is_named() -> None:
    class Odd:
        def __init__(self) -> None:
            raise SystemExit("boo")

    with pytest.raises(PluginError, match=r"plugin 'odd' could not be made: SystemExit: boo"):
        plugins(Odd)


def test_a_storage_nobody_serves() -> None:
    with pytest.raises(PluginError, match="no enabled plugin serves the storage 's3'"):
        plugins("storage_fs").storage("s3://bucket")


async def test_lifespans_are_entered_in_order_and_left_in_reverse(tmp_path: Path) -> None:
    told: list[str] = []

    def living(name: str) -> object:
        @asynccontextmanager
        async def lifespan(registry: Registry) -> AsyncIterator[None]:
            told.append(f"{name} opens")
            yield
            told.append(f"{name} closes")

        return named(name, lifespan=lifespan)

    async with Registry(Config(data=tmp_path), plugins=["storage_fs", living("a"), living("b")]):
        told.append("served")
    assert told == ["a opens", "b opens", "served", "b closes", "a closes"]


async def test_two_registries_in_one_process_do_not_meet(tmp_path: Path) -> None:
    one = Registry(Config(data=tmp_path / "one"), plugins=["storage_fs", checker(ALICE, "people", [])])
    two = Registry(Config(data=tmp_path / "two"), plugins=["storage_fs", checker(BOB, "people", [])])
    async with one, two:
        assert await one.plugins.check_password("x", "y") == ALICE
        assert await two.plugins.check_password("x", "y") == BOB
        assert one.session(SYSTEM).identity is SYSTEM
        assert await two.plugins.grants(ANONYMOUS) == ()
