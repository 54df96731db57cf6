"""Names and passwords in, identities out: slowly for those who guess, the same way for every name.

Failures are counted for each pair of name and address and for each address alone, in this process; a client that
fails too often waits. A password that was right is remembered for a minute as a keyed hash, so that Basic
credentials on every request do not cost a password check each; a revocation ends that at once, and after a change of
rights the plugins are asked anew who that is.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import msgspec

from corereg.access import Identity
from corereg.metrics import Metrics
from corereg.oci.errors import TooManyRequests, Unauthorized
from corereg.plugins import Plugins
from corereg.store.journal import Happening, Journal
from corereg.store.rights import Rights

REMEMBERED = 60.0
"""Seconds a right password is remembered."""
MOST = 10_000
"""Names, addresses and passwords remembered at once."""
LONGEST_NAME = 255
LONGEST_PASSWORD = 4096
ADDRESS_FACTOR = 10
"""How many times more failures one address may have over all names together."""


class SignedIn(msgspec.Struct, frozen=True):
    """Who signed in, and the serial of rights known when it was asked."""

    identity: Identity
    serial: int


class Failures:
    """Failed sign-ins of the last `window` seconds, by key."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._times: OrderedDict[tuple[str, ...], list[float]] = OrderedDict()

    def count(self, key: tuple[str, ...]) -> int:
        since = time.monotonic() - self.window
        times = [each for each in self._times.get(key, ()) if each > since]
        if times:
            self._times[key] = times
        else:
            self._times.pop(key, None)
        return len(times)

    def wait(self, key: tuple[str, ...], limit: int) -> float:
        """Seconds until the key may try again; 0 when it may now."""
        if self.count(key) < limit:
            return 0.0
        times = self._times[key]
        return max(0.0, times[-limit] + self.window - time.monotonic())

    def add(self, key: tuple[str, ...]) -> None:
        self._times.setdefault(key, []).append(time.monotonic())
        self._times.move_to_end(key)
        while len(self._times) > MOST:
            self._times.popitem(last=False)

    def forget(self, key: tuple[str, ...]) -> None:
        self._times.pop(key, None)


class Turns:
    """How many tries of one key may be under way, and how many want to."""

    def __init__(self, limit: int) -> None:
        self.free = anyio.Semaphore(limit)
        self.wanted = 0


def _pair(name: str, address: str | None) -> tuple[str, ...]:
    """What failures are counted by; names that differ in case alone count together."""
    return (name[:LONGEST_NAME].casefold(), address or "")


class SignIn:
    """Asks the plugins who somebody is."""

    def __init__(
        self,
        plugins: Plugins,
        rights: Rights,
        journal: Journal,
        *,
        failures: int,
        window: float,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self.plugins = plugins
        self.rights = rights
        self.journal = journal
        self._failures = Failures(failures, window)
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[SignedIn, float]] = OrderedDict()
        self._turns: dict[tuple[str, ...], Turns] = {}

    async def password(self, name: str, password: str, address: str | None) -> SignedIn:
        """Who this is. Raises Unauthorized, or TooManyRequests with ``Retry-After``."""
        key = hmac.digest(self._secret, f"{len(name)}:{name}:{password}".encode("utf-8", "replace"), hashlib.sha256)
        known = await self._remembered(key)
        self._metrics.caches.add("password", "miss" if known is None else "hit")
        if known is not None:
            return known  # also while somebody at the same address is guessing
        limit = self._failures.limit
        async with self._turn((address or "",), limit * ADDRESS_FACTOR), self._turn(_pair(name, address), limit):
            return await self._remembered(key) or await self._sign_in(key, name, password, address)

    @asynccontextmanager
    async def _turn(self, key: tuple[str, ...], limit: int) -> AsyncGenerator[None]:
        """At most as many tries at once as may fail: whoever sends hundreds side by side is counted as well."""
        turns = self._turns.setdefault(key, Turns(limit))
        turns.wanted += 1
        try:
            async with turns.free:
                yield
        finally:
            turns.wanted -= 1
            if not turns.wanted:
                self._turns.pop(key, None)

    async def _sign_in(self, key: bytes, name: str, password: str, address: str | None) -> SignedIn:
        self._check_pace(name, address)
        await self.rights.refresh()
        serial = self.rights.serial
        try:
            identity = await self._ask(name, password, address)
        except Unauthorized:
            await self._failed(name, address)
            raise
        self._failures.forget(_pair(name, address))
        signed_in = SignedIn(identity, serial)
        self._known[key] = (signed_in, time.monotonic() + REMEMBERED)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return signed_in

    async def _ask(self, name: str, password: str, address: str | None) -> Identity:
        wrong = "the name or the password is wrong; check both and sign in again"
        if not name or not password or len(name) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
            raise Unauthorized(wrong)
        if "\x00" in name or "\x00" in password:
            raise Unauthorized(wrong)
        identity = await self.plugins.check_password(name, password, address)
        if identity is None:
            raise Unauthorized(wrong)
        return await self.plugins.complete_identity(identity)

    async def _remembered(self, key: bytes) -> SignedIn | None:
        """Who gave this password a moment ago, as the plugins complete them now. A revocation ends it; for a change of
        rights alone nobody has to pay for another check of a password that is still right.
        """
        found = self._known.get(key)
        if found is None:
            return None
        signed_in, until = found
        identity, rights, serial = signed_in.identity, self.rights, self.rights.serial
        subjects = (identity.subject, *identity.groups)
        if time.monotonic() > until or any(rights.revoked(each, signed_in.serial) for each in subjects):
            del self._known[key]
            return None
        if rights.stale(identity.subject, identity.groups, signed_in.serial):
            self._known.pop(key)
            signed_in = SignedIn(await self.plugins.complete_identity(identity), serial)
            self._known[key] = (signed_in, until)
        return signed_in

    def _check_pace(self, name: str, address: str | None) -> None:
        limit = self._failures.limit
        wait = max(
            self._failures.wait(_pair(name, address), limit),
            self._failures.wait((address or "",), limit * ADDRESS_FACTOR),
        )
        if wait > 0:
            seconds = int(wait) + 1
            message = f"too many failed sign-ins; wait {seconds} seconds, then try again with the right password"
            raise TooManyRequests(message, headers={"Retry-After": str(seconds)})

    async def _failed(self, name: str, address: str | None) -> None:
        key = _pair(name, address)
        self._failures.add(key)
        self._failures.add((address or "",))
        self.journal.gather(
            Happening(kind="signin.failed", actor=name[:LONGEST_NAME], subject="anonymous", address=address)
        )
        await anyio.sleep(min(2.0, 0.1 * 2 ** self._failures.count(key)))
