"""A registry for tests: in this process, in a temporary folder, with people made up on the spot."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from corereg.access import EVERYTHING, Grant, Identity
from corereg.config import Config, DatabaseConfig, StorageConfig
from corereg.hookspecs import hookimpl
from corereg.oci.errors import Unauthorized
from corereg.registry import Registry


class Person(msgspec.Struct):
    """Somebody in a test: change the fields while the registry runs, then say so with `Registry.rights`."""

    password: str
    grants: Sequence[Grant] = (EVERYTHING,)
    disabled: bool = False
    groups: tuple[str, ...] = ()


def may(scope: str, *actions: str) -> Grant:
    """A grant on repositories: ``may("demo/*", "pull")``."""
    return Grant(scope, "repository", frozenset(actions))


class People:
    """A plugin that knows the people it is given, and what anybody may do (`anonymous`)."""

    name = "people"

    def __init__(self, people: Mapping[str, Person], anonymous: Iterable[Grant] = ()) -> None:
        self.people = dict(people)
        self.anonymous = tuple(anonymous)
        self.asked: list[str] = []

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        self.asked.append(name)
        person = self.people.get(name)
        right = hmac.compare_digest(password.encode(), (person.password if person else "nobody").encode())
        if person is None or not right:
            return None
        return Identity(name=name, subject=f"user:{name}", source=self.name)

    @hookimpl
    async def complete_identity(self, identity: Identity) -> Identity | None:
        if identity.source != self.name:
            return None
        person = self.people.get(identity.name)
        if person is None or person.disabled:
            message = f"{identity.name} is disabled; ask an administrator"
            raise Unauthorized(message)
        return msgspec.structs.replace(identity, groups=person.groups)

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant]:
        if identity.anonymous:
            return self.anonymous
        person = self.people.get(identity.name)
        return person.grants if person else ()


def scratch(
    folder: Path,
    *plugins: object,
    people: Mapping[str, Person] | None = None,
    database: str | None = None,
    storage: str | None = None,
    **sections: Any,
) -> Registry:
    """A registry that keeps everything in `folder`, unless told otherwise.

    `plugins` come before the storage plugin and `People`; `sections` are sections of the Config (``protocol=...``).
    """
    config = Config(data=folder, database=DatabaseConfig(url=database), storage=StorageConfig(url=storage), **sections)
    crowd = People(people if people is not None else {"admin": Person("a password for tests only")})
    return Registry(config, plugins=[*plugins, "storage_fs", crowd])
