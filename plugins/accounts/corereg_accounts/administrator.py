"""The first administrator: made when a registry has no users at all, so that somebody can sign in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from corereg import Config, PluginError, Registry
from corereg_accounts.passwords import PasswordRefused, check_strength, generate
from corereg_accounts.users import NameTaken, User, Users

NAME = "admin"
VARIABLE = "COREREG_ADMIN_PASSWORD"


async def ensure_administrator(registry: Registry, users: Users, environment: Mapping[str, str]) -> User | None:
    """Make ``admin``, if there is no user yet, with the password from `environment` or a new one, which is printed.

    Of several workers that start at once one makes it, and only that one prints. Raises PluginError for a password that
    is too weak.
    """
    if not await users.none_yet():
        return None
    given = environment.get(VARIABLE)
    password = generate() if given is None else _checked(given)
    try:
        user = await users.create(registry.session(), NAME, password, administrator=True)
    except NameTaken:  # another worker was faster
        return None
    told = f"with the password from {VARIABLE}" if given is not None else f"with the password {password}"
    sys.stderr.write(_told(registry.config, told, generated=given is None))  # once, and into no log
    sys.stderr.flush()
    return user


def _checked(password: str) -> str:
    try:
        check_strength(password)
    except PasswordRefused as error:
        message = f"{VARIABLE}: {error.message}; change it, or leave it out and one is made up"
        raise PluginError(message) from None
    return password


def _told(config: Config, password: str, *, generated: bool) -> str:
    lines = [
        f"First start: the administrator {NAME} was made, {password}",
        f"  sign in    docker login {_address(config)} -u {NAME}",
    ]
    if generated:
        lines.append(f"  keep it    it is not shown again; `corereg user password {NAME}` sets another one")
    return "\n".join([*lines, ""])


def _address(config: Config) -> str:
    """Where clients find the registry, as far as the configuration knows."""
    server = config.server
    if server.external_url is not None:
        return urlsplit(server.external_url).netloc
    host = "localhost" if server.host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else server.host  # noqa: S104 - only compared
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
