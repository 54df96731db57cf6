"""What a key may hold, beyond what its Python type says: Kind, and the annotations Settings are written with.

A kind travels in ``msgspec.Meta(extra={"kind": ...})``. It reads what people write, prints it back, and names
itself in the reference::

    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        timeout: Annotated[Duration, msgspec.Meta(description="How long the server may take.", ge=1)] = 30
        password: Annotated[Secret | None, msgspec.Meta(description="The bind password.")] = None
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from corereg.config.units import format_duration, format_size, parse_duration, parse_size

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_WITH_PORT = re.compile(r"[^:]*:[0-9]*|\[.*\]:[0-9]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def _as_given(value: Any) -> Any:
    return value


class Kind(msgspec.Struct, frozen=True):
    """A way to write a value.

    `parse(value, folder)` makes the Python value of what was written; it raises ValueError with a sentence without
    its subject (``must be ...``). A relative path counts from `folder`. `show` makes of a value what is written.
    A `secret` is never shown in a print-out or a problem.
    """

    name: str
    parse: Callable[[object, Path], Any] | None = None
    show: Callable[[Any], object] = _as_given
    secret: bool = False


def _network(value: object, _folder: Path) -> str:
    text = _text(value, "an IP address or network").strip()
    if text == "*":
        raise ValueError("cannot be *: any client could forge its address; write 0.0.0.0/0 and ::/0 if that is meant")
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            whole = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"must be an IP address or network such as 10.0.0.0/8, got {text!r}") from None
        raise ValueError(f"has bits set below the mask of {text}: write {whole}") from None
    return text


def is_host(name: str) -> bool:
    """Whether a name can be looked up at all: no part of it is empty, or longer than 63 characters."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _host(value: object, _folder: Path) -> str:
    text = _text(value, "a host name or IP address").strip()
    if not text or "/" in text or any(sign.isspace() or not sign.isprintable() for sign in text):
        raise ValueError("must be a host name or IP address to listen on, such as 127.0.0.1 or 0.0.0.0")
    if _WITH_PORT.fullmatch(text):
        raise ValueError("cannot hold a port: set server.port")
    if not is_host(text):
        raise ValueError("cannot be a host name: a part of it is empty or too long")
    return text.removeprefix("[").removesuffix("]")


def _web_address(value: object, _folder: Path) -> str:
    text = _text(value, "an address such as https://registry.example.com").strip()
    try:
        parts = urlsplit(text)
        sound = parts.port != 0 and bool(parts.hostname) and is_host(parts.hostname or "")
    except ValueError:
        sound = False
        parts = urlsplit("")
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("cannot hold a name or password: it is shown to every client")
    if parts.path not in {"", "/"}:
        raise ValueError("cannot have a path: clients look for /v2/ at the root of a host")
    if "?" in text or "#" in text:
        raise ValueError("cannot have a query or fragment: paths are appended to it")
    if (
        not sound
        or not _AUTHORITY.fullmatch(parts.netloc)
        or text.rstrip("/") != f"{text[: text.index(':')]}://{parts.netloc}"
    ):
        raise ValueError("must be a host and perhaps a port, such as https://registry.example.com:8443")
    return text.rstrip("/")


def _plugin(value: object, folder: Path) -> str:
    text = _text(value, "the name of a plugin or the path of a file").strip()
    if not text:
        raise ValueError("is empty: give the name of a plugin or the path of a file")
    if text.endswith(".py") or text.startswith((".", "~")) or "/" in text or os.sep in text:
        return str(located(text, folder))
    return text


def _location(value: object, folder: Path) -> str:
    text = _text(value, "a URL").strip()
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise ValueError("must begin with a scheme and a colon, as fs:/data and postgresql://user@host/name do")
    return f"{scheme}:{located(rest, folder)}" if rest.startswith(("./", "../", "~/")) else text


def located(text: str, folder: Path) -> Path:
    """The absolute path of what was written as `text`; ``~`` is the home folder. Raises ValueError."""
    if not text or "\0" in text:
        raise ValueError("must be a path")
    try:
        return (folder / Path(text).expanduser()).absolute()
    except RuntimeError:
        raise ValueError("begins with ~, and there is no home folder") from None


def _text(value: object, wanted: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {wanted}")
    return value


DURATION = Kind("duration", lambda value, _: parse_duration(value), format_duration)
SIZE = Kind("size", lambda value, _: parse_size(value), format_size)
SECRET = Kind("text", secret=True)
NETWORK = Kind("IP address or network", _network)
HOST = Kind("host name or IP address", _host)
WEB_ADDRESS = Kind("URL", _web_address)
LOCATION = Kind("URL", _location)
PLUGIN = Kind("plugin name or path", _plugin)

Duration = Annotated[int, msgspec.Meta(extra={"kind": DURATION})]
"""Seconds; written as ``"1h30m"`` or as a whole number of seconds."""
Size = Annotated[int, msgspec.Meta(extra={"kind": SIZE})]
"""Bytes; written as ``"4MiB"`` or as a whole number of bytes."""
Secret = Annotated[str, msgspec.Meta(extra={"kind": SECRET})]
"""Text that no print-out and no problem shows."""
Network = Annotated[str, msgspec.Meta(extra={"kind": NETWORK})]
"""An IP address or a network in CIDR form."""
Host = Annotated[str, msgspec.Meta(extra={"kind": HOST})]
"""A host name or an IP address without brackets and port."""
WebAddress = Annotated[str, msgspec.Meta(extra={"kind": WEB_ADDRESS})]
"""``http(s)://host[:port]``, kept without a slash at the end."""
Location = Annotated[str, msgspec.Meta(extra={"kind": LOCATION})]
"""A URL that says where something lies (``fs:./bytes`` becomes absolute); a password inside it is never shown."""
PluginName = Annotated[str, msgspec.Meta(extra={"kind": PLUGIN})]
"""A plugin's name, or the path of a file that is one (absolute once read)."""
