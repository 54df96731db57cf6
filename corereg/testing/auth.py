"""What everything that checks passwords has to do: `AuthContract`, a class of tests to inherit from.

::

    class TestOurs(AuthContract):
        @pytest.fixture
        async def check_password(self, tmp_path):
            plugin = Ours(Ours.Settings(...))
            async with Registry(Config(data=tmp_path), plugins=["storage_fs", plugin]):
                yield plugin.check_password

        @pytest.fixture
        def known(self):
            return [Credentials("alice", "Correct-horse-7"), Credentials("bob", "Battery-staple-8")]

`check_password` is the plugin's own function, ready to be asked (a registry would hide what it raises); `known` are
names with the passwords that are right for them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, NamedTuple

import anyio
import pytest

from corereg.access import Identity
from corereg.oci.errors import Unauthorized
from corereg.testing.client import Credentials

CheckPassword = Callable[[str, str], Awaitable[Identity | None]]

NOBODY = "nobody-has-this-name"
LONG = "Aa1" * 100_000


def wrong_passwords(right: str) -> Mapping[str, str]:
    """Passwords that are not `right`, by what is wrong with them."""
    return {
        "empty": "",
        "a space": " ",
        "NUL": "\0",
        "NUL before it": f"\0{right}",
        "NUL behind it": f"{right}\0",
        "NUL inside it": f"{right[:1]}\0{right[1:]}",
        "one character more": f"{right}x",
        "one character less": right[:-1],
        "other case": right.swapcase(),
        "backwards": f"{right[::-1]}x",
        "a space behind it": f"{right} ",
        "a line end behind it": f"{right}\n",
        "very long": f"{right}{LONG}",
        "no character at all": "\ud800",
        "another alphabet": "пароль🔑",
        "what LDAP takes for everything": "*",
        "what SQL takes for true": "' OR '1'='1",
    }


STRANGE_NAMES = {
    "unknown": NOBODY,
    "empty": "",
    "a space": " ",
    "NUL": "\0",
    "very long": LONG,
    "lines": "alice\r\nadmin",
    "no character at all": "\ud800",
    "another alphabet": "алиса",
    "what LDAP takes for everybody": "*",
    "what LDAP takes for a filter": "*)(uid=*))(|(uid=*",
    "what SQL takes for true": "' OR '1'='1' --",
    "a path": "../../etc/passwd",
    "a format": "%s%n{0}",
}


class AuthContract:
    """Inherit from it and give it `check_password` and `known`."""

    pytestmark = pytest.mark.anyio

    time_factor: ClassVar[float] = 2.0
    """How much longer than an unknown name a wrong password may take, or the reverse."""
    time_floor: ClassVar[float] = 0.005
    """Seconds nobody can tell apart over a network; checks that are quicker are not compared."""
    rounds: ClassVar[int] = 7
    """How often each is timed."""
    threads: ClassVar[int] = 8
    """Threads that many checks at once may occupy."""
    pause: ClassVar[float] = 0.5
    """Seconds the rest of the registry may stand still while many checks wait."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """asyncio only, as corereg itself."""
        return "asyncio"

    @pytest.fixture
    def check_password(self) -> CheckPassword:
        """The hook, ready to be asked."""
        raise NotImplementedError

    @pytest.fixture
    def known(self) -> Sequence[Credentials]:
        """Names with the passwords that are right for them: one, better two."""
        raise NotImplementedError

    @pytest.fixture
    def right(self, known: Sequence[Credentials]) -> Credentials:
        """One of them."""
        return known[0]

    # ---- who somebody is ----

    async def test_the_right_password_says_who_it_is(
        self, check_password: CheckPassword, known: Sequence[Credentials]
    ) -> None:
        for each in known:
            identity = await check_password(*each)
            assert isinstance(identity, Identity), f"{each.name} is not known by the right password"
            assert identity.name, "an identity has a name that people read"
            assert identity.subject, "an identity has a subject that revocation counts on"
            assert identity.kind in {"user", "robot"}, "a password makes nobody anonymous, or the registry itself"

    async def test_the_subject_stays_the_same(self, check_password: CheckPassword, right: Credentials) -> None:
        first, second = await check_password(*right), await check_password(*right)
        assert first is not None
        assert second is not None
        assert first.subject == second.subject

    async def test_everybody_has_a_subject_of_their_own(
        self, check_password: CheckPassword, known: Sequence[Credentials]
    ) -> None:
        subjects = [identity.subject for each in known if (identity := await check_password(*each)) is not None]
        assert len(set(subjects)) == len(known), f"{subjects}: a revocation of one would be one of another"
        assert not {"anonymous", "system", "*"} & set(subjects), "these belong to the registry"

    async def test_a_name_in_another_case_is_the_same_person_or_nobody(
        self, check_password: CheckPassword, right: Credentials
    ) -> None:
        identity = await check_password(*right)
        other = await refused(check_password, right.name.swapcase(), right.password)
        assert identity is not None
        assert other is None or other.subject == identity.subject, "two subjects for one person: one escapes revocation"

    # ---- who nobody is ----

    @pytest.mark.parametrize("wrong", wrong_passwords("x"))
    async def test_a_wrong_password_is_refused(
        self, check_password: CheckPassword, known: Sequence[Credentials], wrong: str
    ) -> None:
        for each in known:
            answer = await refused(check_password, each.name, wrong_passwords(each.password)[wrong])
            assert answer is None, f"{each.name} gets in with a password that is wrong ({wrong})"

    async def test_the_password_of_another_is_refused(
        self, check_password: CheckPassword, known: Sequence[Credentials]
    ) -> None:
        for each in known:
            for other in known:
                if each.password != other.password:
                    answer = await refused(check_password, each.name, other.password)
                    assert answer is None, f"{each.name} gets in with the password of {other.name}"

    @pytest.mark.parametrize("strange", STRANGE_NAMES)
    async def test_a_name_that_nobody_has_is_refused(
        self, check_password: CheckPassword, right: Credentials, strange: str
    ) -> None:
        for password in (right.password, "", "\0", LONG):
            answer = await refused(check_password, STRANGE_NAMES[strange], password)
            assert answer is None, f"a name that nobody has gets in ({strange})"

    @pytest.mark.parametrize("changed", ["{}\0", "\0{}", "{}\n", " {}", "{} ", "{}*", "{}\u200b", "{}/"])
    async def test_a_name_with_something_added_is_nobody(
        self, check_password: CheckPassword, right: Credentials, changed: str
    ) -> None:
        name = changed.format(right.name)
        assert await refused(check_password, name, right.password) is None, f"{name!r} gets in as {right.name!r}"

    # ---- what can be learnt from the outside ----

    async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
        self, check_password: CheckPassword, right: Credentials
    ) -> None:
        unknown, wrong = [], []
        for _ in range(self.rounds):  # in turns, so that a busy machine slows both
            unknown.append(await timed(check_password, NOBODY, right.password))
            wrong.append(await timed(check_password, right.name, f"{right.password}x"))
        # The least is what a check costs; whatever else the machine does makes all the others longer.
        quick, slow = sorted((min(unknown), min(wrong)))
        assert slow < self.time_floor or slow < quick * self.time_factor, (
            f"an unknown name takes {min(unknown):.4f} s, a wrong password "
            f"{min(wrong):.4f} s: whoever measures learns which names exist"
        )

    # ---- many at once ----

    async def test_the_registry_goes_on_while_checks_wait(
        self, check_password: CheckPassword, right: Credentials
    ) -> None:
        pauses = []
        for _ in range(3):  # a check that blocks does it each time, a busy machine does not
            watch = asyncio.create_task(watched())
            await asyncio.sleep(0.01)
            names = (right.name, NOBODY) * 10
            await asyncio.gather(*(refused(check_password, name, f"{right.password}x") for name in names))
            watch.cancel()
            seen = await watch
            assert seen.threads <= self.threads, f"{seen.threads} threads for 20 checks: let few run, others wait"
            pauses.append(seen.pause)
            if seen.pause < self.pause:
                break
        assert min(pauses) < self.pause, f"everything stood still for {min(pauses):.2f} s: check in a thread, or await"

    async def test_right_ones_among_many_wrong_ones(
        self, check_password: CheckPassword, known: Sequence[Credentials]
    ) -> None:
        async def ask(each: Credentials, *, wrong: bool) -> bool:
            answer = await refused(check_password, each.name, f"{each.password}x" if wrong else each.password)
            return (answer is None) is wrong

        answers = await asyncio.gather(*(ask(each, wrong=wrong) for each in known for wrong in (True, False) * 3))
        assert all(answers), "answers to checks at once were mixed up"

    async def test_a_check_that_is_given_up_does_no_harm(
        self, check_password: CheckPassword, right: Credentials
    ) -> None:
        for pause in (0, 0.001, 0.01):
            with anyio.move_on_after(pause):
                await refused(check_password, right.name, f"{right.password}x")
            task = asyncio.create_task(refused(check_password, right.name, right.password))
            await asyncio.sleep(pause)
            task.cancel()  # as servers do it
            with suppress(asyncio.CancelledError):
                await task
        with anyio.fail_after(30):
            assert await check_password(*right) is not None


class Seen(NamedTuple):
    """What a watch has seen: the longest pause between two looks, in seconds, and the most threads beyond the first."""

    pause: float
    threads: int


async def watched() -> Seen:
    """Look at the clock and the threads until cancelled."""
    before = threading.active_count()
    longest, most, last = 0.0, 0, time.perf_counter()
    cancelled = False
    while not cancelled:
        try:
            await asyncio.sleep(0.005)
        except asyncio.CancelledError:  # the last look is a look too
            cancelled = True
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        most = max(most, threading.active_count() - before)
    return Seen(longest, most)


async def refused(check_password: CheckPassword, name: str, password: str) -> Identity | None:
    """The answer, None also for Unauthorized: the two ways to say no. Whatever else is raised fails the test."""
    try:
        return await check_password(name, password)
    except Unauthorized:
        return None


async def timed(check_password: CheckPassword, name: str, password: str) -> float:
    """Seconds until the refusal."""
    start = time.perf_counter()
    assert await refused(check_password, name, password) is None
    return time.perf_counter() - start
