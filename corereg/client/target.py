"""Which registry a command speaks to, and as whom: option, then environment, then context.

Credentials go only where they belong. ``--context`` takes address and credentials from one context; ``COREREG_URL``
takes the credentials of the environment, else those of the context with this very address. ``COREREG_TOKEN`` with
``COREREG_USER`` stands for that user's password, as personal access tokens do; alone it is sent as a bearer token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from corereg.client.contexts import Contexts, Credentials, config_folder
from corereg.client.errors import UNSIGNED, Misuse, NotAllowed
from corereg.config.kinds import is_host

LONGEST_SECRET = 64 * 1024
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Target(msgspec.Struct, frozen=True):
    """A registry's address, who speaks, and the file of the authority that is believed."""

    url: str
    credentials: Credentials | None = None
    context: str | None = None
    ca_file: str | None = None

    @property
    def registry(self) -> str:
        """Host and port, as image names begin."""
        return urlsplit(self.url).netloc


def address(text: str) -> str:
    """The address of a registry as a person types it: ``reg.example.com`` is https. Raises Misuse."""
    url = text.strip().rstrip("/")
    if "://" not in url:
        url = f"https://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port  # raises ValueError where it is no number
    except ValueError:
        parts, port = urlsplit(""), None
    sound = parts.hostname and is_host(parts.hostname) and not any(sign.isspace() for sign in url)
    if parts.scheme not in {"http", "https"} or not sound or parts.query or parts.fragment or port == 0:
        message = f"{text!r} is no address of a registry; write https://HOST or http://HOST:PORT"
        raise Misuse(message)
    if parts.username is not None or parts.password is not None:
        message = "the address holds a user or password, which end up in the shell's history; leave them out"
        raise Misuse(message, hint="Use --user, and --password-stdin, --password-file or the prompt.")
    return url


def is_plain(url: str) -> bool:
    """Whether passwords would travel readable to another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def selected(environ: Mapping[str, str], context: str | None = None) -> Target | None:
    """The registry that option, environment and contexts select; None when they select none."""
    contexts = Contexts(config_folder(environ))
    from_environment = _credentials(environ) if context is None else None
    ca_file = environ.get("COREREG_CA_FILE") or None
    url = environ.get("COREREG_URL")
    if context is None and url:
        url = address(url)
        name = environ.get("COREREG_CONTEXT") or contexts.at(url)
        known = name is not None and contexts.get(name).url == url
        own = contexts.credentials(name) if known and name and from_environment is None else None
        own_file = contexts.get(name).ca_file if known and name else None
        return Target(url, from_environment or own, name if known else None, ca_file or own_file)
    name = context or environ.get("COREREG_CONTEXT") or contexts.current
    if not name:
        return None
    found = contexts.get(name)
    credentials = contexts.credentials(name) if from_environment is None else from_environment
    return Target(found.url, credentials, name, ca_file or found.ca_file)


def required(environ: Mapping[str, str], context: str | None = None) -> Target:
    """As `selected`. Raises NotAllowed when there is none."""
    target = selected(environ, context)
    if target is None:
        message = "no registry is selected"
        raise NotAllowed(message, hint=f"{UNSIGNED.partition(',')[0]}, or set COREREG_URL.")
    return target


def _credentials(environ: Mapping[str, str]) -> Credentials | None:
    user, file = environ.get("COREREG_USER"), environ.get("COREREG_PASSWORD_FILE")
    if token := environ.get("COREREG_TOKEN"):
        return Credentials(user=user, password=token) if user else Credentials(token=token)
    if not file:
        return None
    if not user:
        message = "COREREG_PASSWORD_FILE is set, and COREREG_USER is not"
        raise Misuse(message, hint="Set both.")
    return Credentials(user=user, password=secret_of(Path(file)))


def secret_of(path: Path) -> str:
    """The secret in a file, without the line's end. Raises Misuse."""
    try:
        with path.open("rb") as file:
            return decoded_secret(file.read(LONGEST_SECRET + 1), str(path))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise Misuse(message) from error


def decoded_secret(data: bytes, origin: str) -> str:
    """`data` as a secret. Raises Misuse."""
    try:
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > LONGEST_SECRET or "\n" in text:
        message = f"{origin} holds no password: one line of UTF-8 is expected"
        raise Misuse(message)
    return text
