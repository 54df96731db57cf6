"""Settings that change while the registry runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from corereg import (
    BadRequest,
    Config,
    ConfigError,
    Denied,
    Forbidden,
    Grant,
    Identity,
    PluginError,
    Refusal,
    Registry,
    Setting,
    hookimpl,
)
from corereg.testing.registry import scratch

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("every_database")]


def _even(value: int) -> None:
    if value % 2:
        message = "only even numbers"
        raise ValueError(message)


class Owner:
    """Declares one of each kind."""

    @hookimpl
    def provide_settings(self) -> Sequence[Setting[Any]]:
        return [
            Setting(name="number", type=int, default=2, description="An even one.", check=_even),
            Setting(name="flag", type=bool, default=False, description="On or off."),
            Setting(name="word", type=Literal["one", "two"], default="one", description="One of two."),
            Setting(name="maybe", type=str | None, default="something", description="Or nothing."),
            Setting(name="key", type=str, default="", description="A secret.", secret=True),
            Setting(name="names", type=list[str], default=[], description="Several."),
        ]


async def test_defaults_and_changes(tmp_path: Path) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        settings, session = registry.settings, registry.session()
        assert [settings.get(name) for name in ("number", "flag", "word", "maybe")] == [2, False, "one", "something"]
        await session.change_settings({"number": 4, "flag": True, "names": ["a", "b"]})
        assert [settings.get(name) for name in ("number", "flag", "names")] == [4, True, ["a", "b"]]
        await session.change_settings({"number": 2})
        assert settings.get("number") == 2, "back to the default is a change too"
        await session.change_settings({"maybe": None})
        assert settings.get("maybe") is None, "nothing is a value where the type has it"
    async with scratch(tmp_path, Owner()) as registry:
        assert [registry.settings.get(name) for name in ("number", "flag", "maybe")] == [2, True, None]


@pytest.mark.parametrize("value", ["6", 6.0], ids=repr)
async def test_numbers_as_clients_send_them(tmp_path: Path, value: object) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        await registry.session().change_settings({"number": value})
        assert registry.settings.get("number") == 6


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"number": 3}, "the setting number cannot be 3: only even numbers"),
        ({"number": "much"}, "the setting number cannot be 'much'"),
        ({"number": None}, "the setting number cannot be None"),
        ({"flag": "perhaps"}, "the setting flag cannot be 'perhaps'"),
        ({"word": "three"}, "the setting word cannot be 'three'"),
        ({"names": [1]}, "the setting names cannot be"),
        ({"nobodys": 1}, "there is no setting 'nobodys'"),
        ({"number": 4, "word": "three"}, "the setting word cannot be"),
    ],
)
async def test_all_of_a_change_or_nothing(tmp_path: Path, values: dict[str, object], sentence: str) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        with pytest.raises(BadRequest) as refused:
            await registry.session().change_settings(values)
        assert refused.value.message.startswith(sentence)
        assert registry.settings.get("number") == 2
        assert await registry.journal.events() == []


async def test_a_secret_is_kept_and_never_told(tmp_path: Path) -> None:
    told: list[object] = []

    class Nosy(Owner):
        @hookimpl
        async def admit(self, operation: Any) -> Refusal | None:
            told.append(operation.details)
            return None

        @hookimpl
        async def commit(self, operation: Any, tx: Any) -> Refusal | None:
            told.append(operation.details)
            return None

    async with scratch(tmp_path, Nosy()) as registry:
        await registry.session().change_settings({"key": "hunter2-secret", "number": 4})
        assert registry.settings.get("key") == "hunter2-secret"
        (event,) = await registry.journal.events()
        assert (event.kind, event.details) == ("configuration.update", {"settings": {"key": "***", "number": 4}})
        assert "hunter2" not in str(told)
        with pytest.raises(BadRequest) as refused:
            await registry.session().change_settings({"key": ["hunter3-secret"]})
        assert "hunter3" not in refused.value.message


async def test_only_what_differs_is_told(tmp_path: Path) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        await registry.session().change_settings({"number": 2, "flag": True})
        (event,) = await registry.journal.events()
        assert event.details == {"settings": {"flag": True}}


async def test_who_may(tmp_path: Path) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        alice = Identity(name="alice", subject="user:alice")
        with pytest.raises(Denied):
            await registry.session(alice).change_settings({"flag": True})
        everywhere = Grant("*/*", "configuration", frozenset({"update"}))
        with pytest.raises(Denied):
            await registry.session(alice, grants=[everywhere]).change_settings({"flag": True})
        grant = Grant("system", "configuration", frozenset({"update"}))
        await registry.session(alice, grants=[grant]).change_settings({"flag": True})
        assert registry.settings.get("flag") is True


# ---- two processes ----


async def test_another_process_sees_it_within_five_seconds(tmp_path: Path) -> None:
    async with scratch(tmp_path, Owner()) as first, scratch(tmp_path, Owner()) as second:
        heard = asyncio.Event()

        async def listen() -> None:
            if second.settings.get("number") == 8:
                heard.set()

        second.settings.on_change.append(listen)
        await first.session().change_settings({"number": 8})
        async with asyncio.timeout(5):
            while not heard.is_set():  # as requests do
                await second.rights.refresh()
                await asyncio.sleep(0.05)


async def test_who_raises_is_told_again_and_keeps_nobody_from_hearing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    failing = 2

    async def fails() -> None:
        nonlocal failing
        heard.append("fails")
        if failing:
            failing -= 1
            message = "not now"
            raise RuntimeError(message)

    async def works() -> None:
        heard.append("works")

    async with scratch(tmp_path, Owner()) as registry:
        registry.settings.on_change += [fails, works]
        await registry.session().change_settings({"number": 8})
        assert (heard, registry.settings.get("number")) == (["fails", "works"], 8)
        for _ in range(3):
            await registry.rights.refresh(now=True)
        assert heard == ["fails", "works", "fails", "fails"], "again until it works, and alone"
        assert caplog.text.count("could not be applied") == 1
        await registry.session().change_settings({"number": 10})
        assert heard[4:] == ["fails", "works"]


async def test_a_change_back_is_one_though_the_other_process_has_not_heard(tmp_path: Path) -> None:
    """The second still believes that the number is 2, and is asked to make it 2."""
    async with scratch(tmp_path, Owner()) as first, scratch(tmp_path, Owner()) as second:
        await first.session().change_settings({"number": 8})
        await second.session().change_settings({"number": 2})
        await first.rights.refresh(now=True)
        assert (first.settings.get("number"), second.settings.get("number")) == (2, 2)


async def test_what_nobody_declares_any_more_or_cannot_be_read_is_left_aside(tmp_path: Path) -> None:
    class Stricter:
        @hookimpl
        def provide_settings(self) -> Sequence[Setting[Any]]:
            return [Setting(name="number", type=int, default=100, description="Ten at least.", check=self.check)]

        @staticmethod
        def check(value: int) -> None:
            if value < 10:
                message = "ten at least"
                raise ValueError(message)

    async with scratch(tmp_path, Owner()) as registry:
        await registry.session().change_settings({"number": 4, "flag": True})
    async with scratch(tmp_path, Stricter()) as registry:
        assert registry.settings.get("number") == 100
        await registry.session().change_settings({"number": 100})
    async with scratch(tmp_path, Owner()) as registry:
        assert registry.settings.get("flag") is True


# ---- from outside ----


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Registry]:
    def made(text: str) -> Registry:
        config = Config.load(None, {"CONFIG_OVERWRITE_JSON": text}, {"data": tmp_path})
        return Registry(config, plugins=[Owner(), "storage_fs"])

    return made


async def test_an_operators_values_win_and_nothing_can_be_changed(
    tmp_path: Path, make: Callable[[str], Registry]
) -> None:
    async with scratch(tmp_path, Owner()) as registry:
        await registry.session().change_settings({"number": 4, "flag": True})
    async with make('{"number": "6", "key": "hunter2"}') as registry:
        assert [registry.settings.get(name) for name in ("number", "flag", "key")] == [6, True, "hunter2"]
        with pytest.raises(Forbidden, match="CONFIG_OVERWRITE_JSON"):
            await registry.session().change_settings({"flag": False})
        assert registry.settings.get("flag") is True


@pytest.mark.parametrize("text", ["{", "[]", "7", "[" * 5000])
def test_what_is_no_object_of_settings(make: Callable[[str], Registry], text: str) -> None:
    with pytest.raises(ConfigError, match="CONFIG_OVERWRITE_JSON"):
        make(text)


@pytest.mark.parametrize("text", ['{"nobodys": 1}', '{"number": 3}'])
def test_an_operators_values_are_checked_too(make: Callable[[str], Registry], text: str) -> None:
    with pytest.raises((ConfigError, PluginError, BadRequest), match=r"nobodys|number"):
        make(text)
