"""What plugins own: hooks that others implement, settings, namespaces; and who is asked first."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest

from corereg import Identity, Namespace, Operation, PluginError, Refusal, Setting, hookimpl, hookspec
from corereg.plugins import Plugins, load

pytestmark = pytest.mark.anyio

OPERATION = Operation(kind="manifest.push", identity=Identity(name="alice", subject="user:alice"))


class Describing:
    """A hook to be owned."""

    @hookspec
    async def describe_things(self, things: Sequence[str], page: int) -> dict[str, str]:
        """Say what you know."""


def plugins(*wanted: object) -> Plugins:
    return load(wanted, {})


def named(name: str, **hooks: Any) -> object:
    """A plugin object whose attributes are the given functions, already marked."""
    functions = {hook: staticmethod(function) for hook, function in hooks.items()}
    return type(name, (), {"name": name, **functions})()


def owner(hooks: Any = Describing, name: str = "owner") -> object:
    @hookimpl
    def provide_hooks() -> Any:
        return hooks

    return named(name, provide_hooks=provide_hooks)


# ---- provide_hooks ----


async def test_owners_ask_whoever_implements_in_the_order_of_the_list() -> None:
    @hookimpl(optionalhook=True)
    async def whole(things: Sequence[str], page: int) -> dict[str, str]:
        return {"whole": f"{len(things)} {page}"}

    @hookimpl(optionalhook=True)
    async def part(page: int) -> dict[str, str]:
        return {"part": str(page)}

    house = plugins(named("b", describe_things=whole), owner(), named("a", describe_things=part))
    asked = house.asked("describe_things")
    assert [name for name, _ in asked] == ["b", "a"]
    assert [await ask(["x"], 7) for _, ask in asked] == [{"whole": "1 7"}, {"part": "7"}]
    assert house.hooks_of("a") == ["describe_things"]
    assert house.implementers("describe_things") == ["b", "a"]
    assert "describe_things" in house.hooks


def test_a_hook_without_a_self_is_one_too() -> None:
    class Static:
        @staticmethod
        @hookspec
        async def describe_things(things: Sequence[str]) -> dict[str, str]:
            """Say what you know."""
            raise NotImplementedError

    assert plugins(owner(Static)).asked("describe_things") == ()


async def test_nobody_implements_it() -> None:
    assert plugins(owner()).asked("describe_things") == ()


async def test_without_its_owner_an_optional_hook_is_never_asked() -> None:
    @hookimpl(optionalhook=True)
    async def describe_things(things: Sequence[str]) -> dict[str, str]:
        return {}

    house = plugins(named("labels", describe_things=describe_things))
    assert "describe_things" not in house.hooks
    with pytest.raises(KeyError):
        house.asked("describe_things")


def test_without_its_owner_a_hook_that_is_not_optional_is_refused() -> None:
    @hookimpl
    async def describe_things(things: Sequence[str]) -> dict[str, str]:
        return {}

    with pytest.raises(
        PluginError, match=r"plugin 'labels', hook 'describe_things': there is no such hook; .*optionalhook=True"
    ):
        plugins(named("labels", describe_things=describe_things))


def test_an_owned_hook_is_checked_like_any_other() -> None:
    @hookimpl(optionalhook=True)
    def plain(things: Sequence[str]) -> dict[str, str]:
        return {}

    @hookimpl(optionalhook=True)
    async def surplus(stranger: str) -> dict[str, str]:
        return {}

    with pytest.raises(
        PluginError, match=r"plugin 'labels', hook 'describe_things': .*write `async def describe_things"
    ):
        plugins(owner(), named("labels", describe_things=plain))
    with pytest.raises(PluginError, match=r"'labels'.*stranger"):
        plugins(owner(), named("labels", describe_things=surplus))


def test_a_module_may_hold_the_hooks() -> None:
    module = ModuleType("specifications")
    module.describe_things = vars(Describing)["describe_things"]  # type: ignore[attr-defined]  # as a file has it
    assert plugins(owner(module)).asked("describe_things") == ()


def test_two_owners_of_one_hook() -> None:
    with pytest.raises(
        PluginError, match="plugin 'second', hook 'provide_hooks': there is a hook 'describe_things' already; rename it"
    ):
        plugins(owner(), owner(name="second"))


def test_a_hook_of_the_cores_name() -> None:
    class Admitting:
        @hookspec
        async def admit(self, operation: object) -> None:
            """Ours."""

    with pytest.raises(PluginError, match="there is a hook 'admit' already"):
        plugins(owner(Admitting))


def test_an_owner_that_gives_no_hooks() -> None:
    class Unmarked:
        async def describe_things(self) -> None:
            """Nothing marks it."""

    with pytest.raises(PluginError, match="it gives no hooks; mark its functions with @hookspec"):
        plugins(owner(Unmarked))
    assert plugins(owner(None)).owned == {}


def test_an_owner_that_fails() -> None:
    @hookimpl
    def provide_hooks() -> Any:
        raise OSError("no such file")

    with pytest.raises(PluginError, match="plugin 'broken', hook 'provide_hooks' failed: OSError: no such file"):
        plugins(named("broken", provide_hooks=provide_hooks))


def test_two_registries_have_their_own_hooks() -> None:
    assert "describe_things" in plugins(owner()).hooks
    assert "describe_things" not in plugins(owner(None)).hooks


# ---- who is asked first ----


async def test_first_and_last_whatever_the_list_says() -> None:
    asked: list[str] = []

    def policy(name: str, **options: bool) -> object:
        @hookimpl(**options)
        async def admit(operation: Operation) -> Refusal | None:
            asked.append(name)
            return None

        return named(name, admit=admit)

    house = plugins(
        policy("last", trylast=True),
        policy("a"),
        policy("first", tryfirst=True),
        policy("b"),
        policy("early", tryfirst=True),
    )
    assert await house.admit(OPERATION) is None
    assert asked == ["first", "early", "a", "b", "last"]
    assert house.implementers("admit") == asked


async def test_who_is_first_answers_first() -> None:
    def knows(name: str, **options: bool) -> object:
        @hookimpl(**options)
        async def resolve_namespace(reference: int | str) -> Namespace | None:
            return Namespace(1, name) if reference == "x" else None

        return named(name, resolve_namespace=resolve_namespace)

    house = plugins(knows("a"), knows("b", tryfirst=True))
    assert await house.resolve_namespace("x") == Namespace(1, "b")
    assert await house.resolve_namespace("y") is None


# ---- namespaces ----


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("a/app", "a"),
        ("a/b/app", "a/b"),
        ("a/b/c/d", "a/b"),
        ("a/bb/app", "a"),
        ("a/b", "a"),
        ("a", None),
        ("ab/app", None),
        ("b/a/app", None),
        ("", None),
    ],
)
async def test_the_longest_namespace_holds_the_repository(repository: str, name: str | None) -> None:
    @hookimpl
    async def resolve_namespace(reference: int | str) -> Namespace | None:
        known = {"a": 1, "a/b": 2}
        return Namespace(known[reference], reference) if isinstance(reference, str) and reference in known else None

    found = await plugins(named("projects", resolve_namespace=resolve_namespace)).namespace_of(repository)
    assert (found.name if found else None) == name
    assert found is None or found.holds(repository)


# ---- settings ----


def declaring(plugin: str, *names: str) -> object:
    @hookimpl
    def provide_settings() -> Sequence[Setting[Any]]:
        return [Setting(name=name, type=int, default=1, description="A number.") for name in names]

    return named(plugin, provide_settings=provide_settings)


def test_settings_of_all() -> None:
    house = plugins(declaring("a", "one", "two"), declaring("b"), declaring("c", "three"))
    assert [each.name for each in house.settings()] == ["one", "two", "three"]


def test_two_settings_of_one_name() -> None:
    house = plugins(declaring("a", "one"), declaring("b", "two", "one"))
    with pytest.raises(PluginError, match="plugins 'a' and 'b' both declare a setting 'one'"):
        house.settings()


def test_settings_that_cannot_be_declared() -> None:
    @hookimpl
    def provide_settings() -> Sequence[Setting[Any]]:
        return [Setting(name="one")]  # type: ignore[call-arg]  # that is the fault

    with pytest.raises(PluginError, match="plugin 'a', hook 'provide_settings' failed: TypeError"):
        plugins(named("a", provide_settings=provide_settings)).settings()
