"""Names and passwords from the environment: for a registry that a handful of machines share.

Start a registry with it, and sign in:

    COREREG__PLUGINS=storage_fs,accounts,examples/static_password.py STATIC_PASSWORDS=ci=a-long-secret corereg serve
    docker login localhost:8080 -u ci --password-stdin

Several stand side by side with commas: ``ci=...,deploy=...``. A password that is changed here holds from the next
start; tokens that were handed out before live until they end (``[tokens] lifetime``).
"""

import hmac
import os
import secrets
from collections.abc import Iterable

from corereg import Grant, Identity, hookimpl

PAIRS = (pair.partition("=") for pair in os.environ.get("STATIC_PASSWORDS", "").split(","))
PASSWORDS = {name: password for name, _, password in PAIRS if name and password}
KEY = secrets.token_bytes(32)


def sealed(text: str) -> bytes:
    """A keyed hash: of one length for every text, so that comparing two takes the same time."""
    return hmac.digest(KEY, text.encode(errors="surrogatepass"), "sha256")


@hookimpl
async def check_password(name: str, password: str) -> Identity | None:
    """Compare with what is known of the name; for an unknown one, with something nobody can send."""
    right = PASSWORDS.get(name, secrets.token_hex())
    same = hmac.compare_digest(sealed(right), sealed(password))
    return Identity(name=name, subject=f"static:{name}", kind="robot", source="static_password") if same else None


@hookimpl
async def grants(identity: Identity) -> Iterable[Grant] | None:
    """Whoever signed in here may push and pull everywhere."""
    ours = identity.source == "static_password"
    return [Grant("*", "repository", frozenset({"pull", "push"}))] if ours else None
