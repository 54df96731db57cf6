from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from corereg.cli import CommandContext, cli

from .standin import Standin, standin

POLICY = '''
"""Lets admin in, and brings a noun."""

import click

from corereg import EVERYTHING, Conflict, DatabaseError, Denied, Identity, StorageError, Unauthorized, hookimpl
from corereg.oci.errors import ManifestUnknown


@hookimpl
async def check_password(name, password):
    if (name, password) == ("admin", "secret"):
        return Identity(name="admin", subject="user:admin", administrator=True)


@hookimpl
async def grants(identity):
    return None if identity.anonymous else [EVERYTHING]


ERRORS = {
    "conflict": Conflict("there is one already"),
    "database": DatabaseError("the database sleeps"),
    "storage": StorageError("the disk is away"),
    "missing": ManifestUnknown("no such manifest"),
    "denied": Denied("not you"),
    "unauthorized": Unauthorized("who are you"),
    "bug": ZeroDivisionError("a bug"),
}


@hookimpl
def provide_commands():
    @click.group(invoke_without_command=True)
    def crate():
        """Handle crates."""

    @crate.command()
    @click.pass_obj
    def folder(obj):
        """Where data lies."""

        async def work(registry):
            return registry.config.data

        click.echo(obj.run(work))

    @crate.command()
    @click.argument("what")
    @click.pass_obj
    def fail(obj, what):
        """Fail on purpose."""

        async def work(registry):
            raise ERRORS[what]

        obj.run(work)

    @crate.command()
    def stop():
        """As Ctrl+C does."""
        raise KeyboardInterrupt

    return [crate]
'''

Corereg = Callable[..., Result]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a configuration."""
    for name in ("COREREG_CONFIG", "COREREG__PLUGINS", "COREREG__DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.py").write_text(POLICY)
    (tmp_path / "corereg.toml").write_text('plugins = ["storage_fs", "./policy.py"]\n')
    return tmp_path


NOUNS = Path(__file__).with_name("nouns.py")


@pytest.fixture
def home(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own folder for contexts and credentials."""
    folder = house / "home"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder / "corereg"


@pytest.fixture
def there(home: Path, house: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    """A stand-in that is selected, and the first-party commands that speak to registries."""
    (house / "corereg.toml").write_text(f'plugins = ["storage_fs", "{NOUNS}"]\n')
    with standin() as made:
        monkeypatch.setenv("COREREG_URL", made.url)
        monkeypatch.setenv("COREREG_TOKEN", "a-token")
        yield made


@pytest.fixture
def corereg(house: Path, monkeypatch: pytest.MonkeyPatch) -> Corereg:
    """Run `corereg ARGUMENTS...` in this process."""

    def run(*arguments: str, **how: Any) -> Result:
        monkeypatch.setattr(cli, "_plugins", None)
        words = [str(each) for each in arguments]
        return CliRunner().invoke(cli, words, prog_name="corereg", obj=CommandContext(), **how)

    return run
