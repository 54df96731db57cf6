"""A registry inside an application of your own, beside its other routes.

Run it, with Starlette installed, and look at both:

    hypercorn --bind 127.0.0.1:8080 examples/mounted_in_starlette.py:app
    curl http://localhost:8080/hello
    docker login localhost:8080 -u admin

The first start prints the administrator's password. docker looks for ``/v2/`` at the root of a host, so the registry is
mounted there: last, for it answers whatever no other route takes. Below a prefix it works for clients that take one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from corereg import Config, Registry, asgi


async def hello(_: Request) -> PlainTextResponse:
    """Something of your own."""
    return PlainTextResponse("hello\n")


def application(registry: Registry, prefix: str = "/") -> Starlette:
    """An application that opens the registry when it starts: a mounted one gets no lifespan of its own."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with registry:
            yield

    return Starlette(routes=[Route("/hello", hello), Mount(prefix, asgi(registry))], lifespan=lifespan)


app = application(Registry(Config()))
