"""The hooks tell of themselves: five labels each, an example that runs, and pages that are not stale."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import fsspec
import msgspec
import pytest
import sqlalchemy as sa

import corereg
from corereg import (
    ANONYMOUS,
    OPEN,
    SYSTEM,
    Event,
    FsspecStorage,
    Grant,
    Identity,
    Namespace,
    Operation,
    Registry,
    Schema,
    hookimpl,
)
from corereg.documentation import HookPage, hook_pages, main, owned_pages
from corereg.messages import Request
from corereg.plugins import HOOKS, Plugins, default_names, load
from corereg.store.jobs import Claimed, Task

from .blocks import DOCS

pytestmark = pytest.mark.anyio

PAGES = {page.name: page for page in hook_pages()}
ALICE = Identity(name="alice", subject="user:alice")
COUNTERS = sa.Table("counters", sa.MetaData(), sa.Column("pushes", sa.BigInteger))


# ---- the docstrings ----


def test_every_hook_has_a_page_and_a_title_in_the_order_of_a_requests_life() -> None:
    assert tuple(PAGES) == HOOKS
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == list(load(default_names(), {}).hooks), "those of the plugins that are installed come last"


OWNED = {page.name: page for pages in owned_pages().values() for page in pages}


@pytest.mark.parametrize("page", [*PAGES.values(), *OWNED.values()], ids=[*PAGES, *OWNED])
def test_every_label_says_something(page: HookPage) -> None:
    assert page.sentence[0].isupper()
    assert page.sentence.endswith(".")
    assert list(page.labels) == ["Asked", "Order", "None", "Raises"]
    assert all(text.endswith(".") for text in page.labels.values())
    assert page.example.startswith("@hookimpl(optionalhook=True)\n" if page.name in OWNED else "@hookimpl\n")


@pytest.mark.parametrize("lacking", ["Asked", "Order", "None", "Raises", "Example::", "Hear"])
def test_a_missing_label_is_noticed(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    docstring = str(corereg.hookspecs.observe.__doc__).replace(lacking, "", 1)  # type: ignore[attr-defined]
    if lacking == "Hear":
        docstring = docstring.replace(" of what has happened.", "Something happens")
    monkeypatch.setattr(corereg.hookspecs.observe, "__doc__", docstring)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="hook observe: its docstring lacks"):
        hook_pages()


# ---- the examples ----

NAMES = {
    "asynccontextmanager": asynccontextmanager,
    "click": click,
    "counters": COUNTERS,
    "fsspec": fsspec,
    "metadata": sa.MetaData(),
    "msgspec": msgspec,
    "os": os,
    "Path": Path,
    "secrets": secrets,
    "update": sa.update,
    **{name: getattr(corereg, name) for name in corereg.__all__},
}
"""What an example takes for granted: the names of `corereg` and what it says to be imported."""


def example(hook: str) -> Plugins:
    """The example of a hook, as a plugin."""
    module = ModuleType(f"example_of_{hook}")
    module.__dict__.update(NAMES, __file__=__file__)
    exec(compile(PAGES[hook].example, f"<example of {hook}>", "exec"), module.__dict__)
    plugins = load([module], {})
    assert plugins.implementers(hook) == [f"example_of_{hook}"]
    return plugins


async def provide_hooks(plugins: Plugins) -> None:
    assert plugins.hooks[-1] == "describe_builds"
    assert plugins.asked("describe_builds") == ()

    class Builds:
        @hookimpl(optionalhook=True)
        async def describe_builds(self, artifacts: object) -> object:
            return artifacts

    owner = next(iter(plugins)).plugin
    ((name, ask),) = load([owner, Builds], {}).asked("describe_builds")
    assert (name, await ask("these")) == ("builds", "these")
    assert load([Builds], {}).hooks == HOOKS, "without its owner the hook is not there, and nobody minds"


async def provide_settings(plugins: Plugins) -> None:
    (setting,) = plugins.settings()
    assert (setting.name, setting.type, setting.default) == ("self_registration", bool, False)


async def provide_storage(plugins: Plugins) -> None:
    assert isinstance(plugins.storage("memory:"), FsspecStorage)
    with pytest.raises(corereg.PluginError):
        plugins.storage("elsewhere:/x")


async def provide_schema(plugins: Plugins) -> None:
    (schema,) = plugins.schemas()
    assert isinstance(schema, Schema)
    assert schema.migrations == Path(__file__).with_name("migrations")


async def provide_routes(plugins: Plugins) -> None:
    ((_, route),) = plugins.routes(None)
    assert (route.method, route.path, route.needs) == ("GET", "/motd", OPEN)
    assert await route.handler(None) == {"message": "Maintenance on Sunday"}


async def provide_checks(plugins: Plugins) -> None:
    ((_, check),) = plugins.checks(None)
    (finding,) = await check.look()
    assert (check.name, finding.status, finding.do) == ("moon", "warn", "wait for two weeks")


async def provide_jobs(plugins: Plugins) -> None:
    ((_, job),) = plugins.jobs(None)
    assert (job.kind, job.schedule) == ("RECOUNT", "0 0 3 * * *")
    task = Task(
        Claimed(id=1, execution_id=1, kind=job.kind, vendor_id=0, parameters={}, attempt=1, owner="here", lines=0),
        _spawn,
    )
    assert await job.handler(task) == {"found": 42}
    assert task.take().progress == ("counting", 1, 1, 0)


async def _spawn(execution: int, kind: str, tasks: Sequence[Mapping[str, Any]]) -> None:
    raise AssertionError


async def provide_commands(plugins: Plugins) -> None:
    (command,) = plugins.commands()
    assert command.name == "hello"
    assert command.callback is not None
    command.callback()


async def lifespan(plugins: Plugins) -> None:
    (around,) = plugins.lifespans(None)
    async with around:
        pass


async def identify(plugins: Plugins) -> None:
    def request(*headers: tuple[bytes, bytes]) -> Request:
        return Request({"method": "GET", "path": "/", "headers": list(headers)}, _nothing)

    found = await plugins.identify(request((b"x-build-agent", b"7")))
    assert found is not None
    assert found.kind == "robot"
    assert await plugins.identify(request()) is None


async def _nothing() -> Any:
    raise AssertionError("nobody asked for the body")


async def check_password(plugins: Plugins) -> None:
    found = await plugins.check_password("ci", "the secret of the test")
    assert found is not None
    assert found.name == "ci"
    assert await plugins.check_password("ci", "another") is None
    assert await plugins.check_password("alice", "the secret of the test") is None


async def complete_identity(plugins: Plugins) -> None:
    ops = Identity(name="ops", subject="user:ops")
    assert (await plugins.complete_identity(ops)).administrator
    assert await plugins.complete_identity(ALICE) == ALICE


async def resolve_namespace(plugins: Plugins) -> None:
    library = Namespace(1, "library")
    assert await plugins.resolve_namespace(1) == await plugins.resolve_namespace("library") == library
    assert await plugins.resolve_namespace("1") is None
    assert await plugins.namespace_of("library/tools/hammer") == library
    assert await plugins.namespace_of("other/hammer") is None


async def grants(plugins: Plugins) -> None:
    assert await plugins.grants(ALICE) == (Grant("demo/*", "repository", frozenset({"pull"})),)
    assert await plugins.grants(ANONYMOUS) == ()


async def admit(plugins: Plugins) -> None:
    def push(tag: str) -> Operation:
        return Operation(kind="manifest.push", identity=ALICE, repository="demo/app", tags=(tag,))

    assert await plugins.admit(push("latest")) is not None
    assert await plugins.admit(push("1.0")) is None


async def commit(plugins: Plugins) -> None:
    asked: list[str] = []

    class Statements:
        async def execute(self, statement: object) -> int:
            asked.append(str(statement))
            return 1

    tx: Any = Statements()
    for kind in ("manifest.push", "blob.push"):
        assert await plugins.commit(Operation(kind=kind, identity=SYSTEM), tx) is None
    assert asked == ["UPDATE counters SET pushes=(counters.pushes + :pushes_1)"]


async def observe(plugins: Plugins) -> None:
    event = Event(serial=7, time=0, kind="manifest.push", actor="alice", subject="user:alice", repository="demo/app")
    for hear in plugins.observers().values():
        await hear(event)


TRIALS: Mapping[str, Callable[[Plugins], Any]] = {
    trial.__name__: trial
    for trial in (
        *(provide_hooks, provide_storage, provide_schema, provide_settings, provide_routes),
        *(provide_jobs, provide_checks, provide_commands, lifespan),
        *(identify, check_password, complete_identity, resolve_namespace, grants, admit, commit, observe),
    )
}


PRINTED = {
    "provide_commands": "hello\n",
    "lifespan": "open\nclosed\n",
    "observe": "7 alice manifest.push demo/app\n",
}


@pytest.mark.parametrize("hook", HOOKS)
async def test_the_example_does_what_its_hook_says(
    hook: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI_SECRET", "the secret of the test")
    assert hook in TRIALS, f"the example of {hook} is not tried: write a trial for it"
    await TRIALS[hook](example(hook))
    printed = {
        "provide_commands": "hello\n",
        "lifespan": "open\nclosed\n",
        "observe": "7 alice manifest.push demo/app\n",
    }
    assert capsys.readouterr().out == printed.get(hook, "")


def test_an_example_without_its_parts_fails() -> None:
    """The trial of the trial: the names an example needs are really the ones above."""
    module = ModuleType("bare")
    with pytest.raises(NameError):
        exec(PAGES["observe"].example, module.__dict__)


# ---- the pages ----


def test_the_pages_are_not_stale(capsys: pytest.CaptureFixture[str]) -> None:
    stale = main(["--check"])
    assert not stale, capsys.readouterr().err


def test_a_stale_page_is_noticed_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--into", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "docs/hooks.md is stale: run scripts/docs\ndocs/configuration.md is stale: run scripts/docs\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert main(["--into", str(tmp_path)]) == 0
    assert main(["--check", "--into", str(tmp_path)]) == 0
    (tmp_path / "hooks.md").write_text("old")
    assert main(["--check", "--into", str(tmp_path)]) == 1


def test_the_module_is_what_the_script_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "corereg.documentation", "--into", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configuration.md", "hooks.md"]


def test_the_configuration_page_knows_the_plugins(tmp_path: Path) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for name, kind in ((each.name, type(each.plugin)) for each in Registry().plugins):
        settings = getattr(kind, "Settings", None)
        if settings is not None:
            assert f"### `[{name}]`" in text
