"""Contexts: the registries a person works with, by name, and what they sign in with.

Two files in ``$XDG_CONFIG_HOME/corereg`` (``~/.config/corereg``): ``contexts.json`` may be read by anybody,
``credentials.json`` by its owner alone (mode 0600), and is refused otherwise.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from corereg.client.errors import ClientError, Misuse, NotFound
from corereg.client.words import near

Value = TypeVar("Value", bound=msgspec.Struct)


class Credentials(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A user's name and password (or a robot's secret), or a token."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    def __repr__(self) -> str:  # a traceback shows no secret
        return f"Credentials(user={self.user!r})"


class Context(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One registry: its address, and the authority that signed its certificate, where that is not a public one."""

    url: str
    user: str | None = None
    ca_file: str | None = None


class _Contexts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    current: str | None = None
    contexts: dict[str, Context] = {}


class _Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    credentials: dict[str, Credentials] = {}


def config_folder(environ: Mapping[str, str]) -> Path:
    """Where a person's configuration lies: ``$XDG_CONFIG_HOME/corereg``, else ``~/.config/corereg``."""
    home = environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".config") / "corereg"


class Contexts:
    """All contexts of one person. Raises Misuse where a file cannot be believed, NotFound for a name nobody gave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "contexts.json"
        self._secrets_file = folder / "credentials.json"
        self._known: _Contexts = _read(self._file, _Contexts) or _Contexts()

    @property
    def current(self) -> str | None:
        """The name of the context in use."""
        return self._known.current

    def all(self) -> Mapping[str, Context]:
        """By name, in their order."""
        return dict(sorted(self._known.contexts.items()))

    def get(self, name: str) -> Context:
        """The context of that name."""
        if name not in self._known.contexts:
            message = f"there is no context {name!r}.{near(name, self._known.contexts)}"
            raise NotFound(message, hint="`corereg context list` shows them; `corereg login URL` makes one.")
        return self._known.contexts[name]

    def at(self, url: str) -> str | None:
        """The context of an address: the current one, if it is there, else the first."""
        names = [name for name, context in self.all().items() if context.url == url]
        return self.current if self.current in names else next(iter(names), None)

    def credentials(self, name: str) -> Credentials | None:
        """What a context signs in with."""
        return self._secrets().get(name)

    def put(self, name: str, context: Context, credentials: Credentials | None) -> None:
        """Add or replace a context, and use it."""
        secrets = {each: value for each, value in self._secrets().items() if each != name}
        if credentials is not None:
            secrets[name] = credentials
        self._save(name, {**self._known.contexts, name: context}, secrets)

    def use(self, name: str) -> None:
        """Work with that context from now on."""
        self.get(name)
        self._write(self._file, _Contexts(name, self._known.contexts), 0o644)
        self._known = _Contexts(name, self._known.contexts)

    def sign_in(self, name: str, credentials: Credentials) -> None:
        """Give a context other credentials."""
        self.get(name)
        self._write(self._secrets_file, _Secrets({**self._secrets(), name: credentials}), 0o600)

    def forget(self, name: str) -> bool:
        """Drop the credentials of a context; whether there were any."""
        self.get(name)
        secrets = dict(self._secrets())
        had = secrets.pop(name, None) is not None
        if had:
            self._write(self._secrets_file, _Secrets(secrets), 0o600)
        return had

    def remove(self, name: str) -> None:
        """Drop a context and its credentials."""
        self.get(name)
        contexts = {each: context for each, context in self._known.contexts.items() if each != name}
        secrets = {each: value for each, value in self._secrets().items() if each != name}
        self._save(None if self.current == name else self.current, contexts, secrets)

    def _save(self, current: str | None, contexts: dict[str, Context], secrets: dict[str, Credentials]) -> None:
        if secrets or self._secrets_file.exists():
            self._write(self._secrets_file, _Secrets(secrets), 0o600)
        self._known = _Contexts(current, contexts)
        self._write(self._file, self._known, 0o644)

    def _secrets(self) -> dict[str, Credentials]:
        if self._secrets_file.exists() and os.name == "posix":
            mode = stat.S_IMODE(self._secrets_file.stat().st_mode)
            if mode & 0o077:
                message = f"{self._secrets_file} can be read by others (mode {mode:04o})"
                raise Misuse(message, hint=f"Run: chmod 600 {self._secrets_file}")
        found = _read(self._secrets_file, _Secrets)
        return found.credentials if found else {}

    def _write(self, path: Path, value: msgspec.Struct, mode: int) -> None:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, text, mode)
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror or error}"
            raise ClientError(message, hint="XDG_CONFIG_HOME says where it lies.") from error


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Write a file in one step, with its mode from the first byte on: whoever reads sees the old one or the new."""
    import tempfile

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(path: Path, kind: type[Value]) -> Value | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        message = f"{path} cannot be read: {error}"
        raise Misuse(message, hint="Mend it, or move it away and sign in again.") from error
