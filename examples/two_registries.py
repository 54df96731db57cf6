"""Two registries in one process: other data, other people, other policies; each answers to a host name of its own.

Run it, with Starlette installed, and push to both:

    LAB_PASSWORD=... PRODUCTION_PASSWORD=... hypercorn --bind 127.0.0.1:8080 examples/two_registries.py:app
    docker login lab.localhost:8080 -u lab
    docker login production.localhost:8080 -u release

In the lab one may do everything. In production images stand on the company's base images (`golden_base.py`), and
whoever releases cannot delete.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Host

from corereg import EVERYTHING, Config, Grant, Identity, Registry, asgi, hookimpl


class Person:
    """A plugin made in Python: one person, the password from the environment (without it, nobody), what they may do."""

    def __init__(self, name: str, variable: str, *grants: Grant) -> None:
        self.person = Identity(name=name, subject=f"user:{name}", source="person")
        self.password = os.environ.get(variable, "").encode()
        self.granted = grants

    @hookimpl
    async def check_password(self, name: str, password: str) -> Identity | None:
        right = hmac.compare_digest(self.password, password.encode()) and bool(self.password)
        return self.person if right and name == self.person.name else None

    @hookimpl
    async def grants(self, identity: Identity) -> Iterable[Grant]:
        return self.granted if identity.subject == self.person.subject else ()


def registries(folder: Path) -> dict[str, Registry]:
    """Each registry by its host name. The tokens of one are worth nothing at the other."""
    lab = Person("lab", "LAB_PASSWORD", EVERYTHING)
    release = Person("release", "PRODUCTION_PASSWORD", Grant("*", "repository", frozenset({"pull", "push"})))
    golden_base = str(Path(__file__).with_name("golden_base.py"))
    return {
        "lab.localhost": Registry(Config(data=folder / "lab"), plugins=["storage_fs", lab]),
        "production.localhost": Registry(
            Config(data=folder / "production"), plugins=["storage_fs", release, golden_base]
        ),
    }


def application(houses: Mapping[str, Registry]) -> Starlette:
    """One application: the host name of a request says which registry answers."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for house in houses.values():
                await stack.enter_async_context(house)
            yield

    return Starlette(routes=[Host(name, asgi(house)) for name, house in houses.items()], lifespan=lifespan)


app = application(registries(Path("two-registries")))
