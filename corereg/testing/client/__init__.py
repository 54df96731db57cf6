"""A small black-box client for tests: one registry, reached by URL or as an ASGI application in this process.

`RegistryClient` says exactly what a test tells it to say (targets and headers go out as written, redirects are
followed only when asked) and brings along only what every docker client has: the sign-in. It follows the token flow of
the Docker token specification by itself, or sends Basic credentials, or stays anonymous, and never shows its
Authorization header to another host than the registry's.

`Content`, `blob`, `image` and `index` make what tests push; `expect` judges an answer and, when it is another one,
shows the whole exchange.
"""

from __future__ import annotations

from corereg.testing.client.answers import error_codes, exchange, expect, with_query
from corereg.testing.client.application import Application, AppTransport, Message, running
from corereg.testing.client.content import (
    DOCKER_CONFIG,
    DOCKER_IMAGE,
    DOCKER_LAYER,
    DOCKER_LIST,
    EMPTY,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_IMAGE,
    OCI_INDEX,
    OCI_LAYER,
    Content,
    Described,
    blob,
    digest,
    encode,
    image,
    index,
)
from corereg.testing.client.registry import Body, Headers, RegistryClient
from corereg.testing.client.signin import Challenge, Credentials, SignInError, Token, Tokens, challenges

__all__ = [
    "DOCKER_CONFIG",
    "DOCKER_IMAGE",
    "DOCKER_LAYER",
    "DOCKER_LIST",
    "EMPTY",
    "MANIFEST_TYPES",
    "OCI_CONFIG",
    "OCI_EMPTY",
    "OCI_IMAGE",
    "OCI_INDEX",
    "OCI_LAYER",
    "AppTransport",
    "Application",
    "Body",
    "Challenge",
    "Content",
    "Credentials",
    "Described",
    "Headers",
    "Message",
    "RegistryClient",
    "SignInError",
    "Token",
    "Tokens",
    "blob",
    "challenges",
    "digest",
    "encode",
    "error_codes",
    "exchange",
    "expect",
    "image",
    "index",
    "running",
    "with_query",
]
