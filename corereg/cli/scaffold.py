"""What ``corereg plugins new`` writes: a distribution, or a policy in one file."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from corereg.cli.context import CONFLICT, USAGE

LONGEST = 40
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class ScaffoldError(Exception):
    """The files cannot be written; `str()` is a sentence, `status` the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Scaffold:
    """The files of a new plugin. `kind` is ``plugin`` or ``policy``."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name.replace("-", "_")
        self.kind = kind
        if not _NAME.fullmatch(self.name) or len(self.name) > LONGEST or keyword.iskeyword(self.name):
            raise ScaffoldError(
                f"{name!r} cannot be a plugin's name: it is used in Python and in corereg.toml; take small letters, "
                f"digits and _, a letter first, at most {LONGEST}",
                USAGE,
            )

    def files(self) -> Mapping[str, str]:
        """Path and text of each file."""
        texts = POLICY if self.kind == "policy" else PLUGIN
        return {self._filled(path): self._filled(text) for path, text in texts.items()}

    def write(self, folder: Path) -> list[Path]:
        """Write them; the paths. Nothing that is there already is touched."""
        files = {folder / path: text for path, text in self.files().items()}
        there = [path for path in files if path.exists()]
        if there:
            raise ScaffoldError(f"{there[0]} is there already, so nothing was written; choose another name", CONFLICT)
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return list(files)

    def next_steps(self, folder: Path) -> Iterator[str]:
        """What to do with them, line by line."""
        yield "Next:"
        if self.kind == "policy":
            yield f"  pytest {folder / f'test_{self.name}.py'}"
            yield f'  in corereg.toml: plugins = ["storage_fs", "accounts", "{folder / f"{self.name}.py"}"]'
        else:
            yield f"  pip install -e {folder / self.name}"
            yield f"  pytest {folder / self.name}"
            yield f'  in corereg.toml: plugins = ["storage_fs", "accounts", "{self.name}"]'

    def _filled(self, text: str) -> str:
        title = "".join(part.capitalize() for part in self.name.split("_"))
        return text.replace("@name@", self.name).replace("@Name@", title)


POLICY = {
    "@name@.py": '''\
"""Refuses pushes of ``latest``: a version says more. Enable it: ``plugins = [..., "./@name@.py"]``."""

from __future__ import annotations

from corereg import Operation, Refusal, hookimpl

REFUSED = frozenset({"latest"})


@hookimpl
async def admit(operation: Operation) -> Refusal | None:
    """Asked before each push, pull, mount and delete; None is no objection."""
    if operation.kind == "manifest.push" and REFUSED.intersection(operation.tags):
        return Refusal("push a version such as 1.4.2, not latest")
    return None
''',
    "test_@name@.py": '''\
"""The rule refuses what it should, and fits into a registry. Run it with pytest; ``pip install 'corereg[test]'``."""

from __future__ import annotations

from pathlib import Path

import pytest
from corereg import SYSTEM, Operation
from corereg.testing.plugins import PluginContract

import @name@


class TestPolicy(PluginContract):
    name = "@name@"
    plugin = str(Path(__file__).with_name("@name@.py"))

    @pytest.mark.parametrize(("tag", "refused"), [("latest", True), ("1.4.2", False)])
    async def test_latest_is_refused(self, tag: str, refused: bool) -> None:
        push = Operation(kind="manifest.push", identity=SYSTEM, repository="demo/app", tags=(tag,))
        assert (await @name@.admit(push) is not None) == refused

    async def test_a_pull_is_not(self) -> None:
        pull = Operation(kind="manifest.pull", identity=SYSTEM, repository="demo/app")
        assert await @name@.admit(pull) is None
''',
}

PLUGIN = {
    "@name@/pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.27,<2"]
build-backend = "hatchling.build"

[project]
# Not "corereg-...": distributions of that name are the registry's own, enabled where no configuration names plugins.
name = "@name@-for-corereg"
version = "0.1.0"
description = "@Name@ for corereg"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["corereg>=0.1,<0.2", "msgspec"]

[project.optional-dependencies]
test = ["corereg[test]"]

[project.entry-points.corereg]
@name@ = "corereg_@name@:@Name@"

[tool.hatch.build.targets.wheel]
packages = ["corereg_@name@"]

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["--import-mode=importlib"]
""",
    "@name@/README.md": """\
# @name@ for corereg

Refuses pushes of tags that say nothing. Change it into what you need.

    pip install -e '.[test]'
    pytest

In `corereg.toml`:

    plugins = ["storage_fs", "accounts", "@name@"]

    [@name@]
    refused_tags = ["latest", "dev"]
""",
    "@name@/corereg_@name@/__init__.py": '''\
"""@Name@: the plugin's face, all its hooks on one page. ``corereg plugins hooks`` lists what else there is."""

from __future__ import annotations

from typing import Annotated

import msgspec
from corereg import Operation, Refusal, hookimpl

__all__ = ["@Name@"]


class @Name@:
    """Refuses pushes of tags that say nothing."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """What nobody may push."""

        refused_tags: Annotated[tuple[str, ...], msgspec.Meta(description="Tags that are refused.")] = ("latest",)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @hookimpl
    async def admit(self, operation: Operation) -> Refusal | None:
        """Asked before each push, pull, mount and delete; None is no objection."""
        if operation.kind != "manifest.push":
            return None
        refused = [tag for tag in operation.tags if tag in self.settings.refused_tags]
        return Refusal(f"the tag {refused[0]} says nothing; push a version such as 1.4.2") if refused else None
''',
    "@name@/corereg_@name@/py.typed": "",
    "@name@/tests/test_@name@.py": '''\
"""@Name@ refuses what it should, and fits into a registry."""

from __future__ import annotations

import pytest
from corereg import SYSTEM, Operation
from corereg.testing.plugins import PluginContract

from corereg_@name@ import @Name@


class TestPlugin(PluginContract):
    name = "@name@"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(("tag", "refused"), [("latest", False), ("dev", True), ("1.4.2", False)])
async def test_the_tags_of_the_settings_are_refused(tag: str, refused: bool) -> None:
    plugin = @Name@(@Name@.Settings(refused_tags=("dev",)))
    push = Operation(kind="manifest.push", identity=SYSTEM, repository="demo/app", tags=(tag,))
    assert (await plugin.admit(push) is not None) == refused
''',
}
