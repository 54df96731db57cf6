"""Which passwords are good enough, and what checking them costs whom."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from corereg_accounts.passwords import LONGEST, PasswordRefused, Passwords, check_strength, generate

pytestmark = pytest.mark.anyio

RIGHT = "Correct-horse-7"
BAD = {
    "Short-7": "has 7",
    "": "has 0",
    "Aa1" * 43: "has 129",
    "no-upper-case-7": "no upper-case letter",
    "NO-LOWER-CASE-7": "no lower-case letter",
    "No-digit-at-all": "no digit",
    "---------": "no lower-case letter and no upper-case letter and no digit",
    "Ünd-ÄÖ-٣٤٥": "no upper-case letter and no digit",
    "Correct\0horse7": "control character",
    "Correct-horse7\n": "control character",
    "Correct-horse7\ud800": "control character",
}


@pytest.mark.parametrize("password", [RIGHT, "Aa345678", "Aa1" * 42 + "Aa", "Pass wörd 1", "Пароль-Aa1", "Aa1:Aa1:"])
def test_good_ones(password: str) -> None:
    check_strength(password)


@pytest.mark.parametrize(("password", "said"), BAD.items())
def test_the_rule_is_said_and_the_password_is_not(password: str, said: str) -> None:
    with pytest.raises(PasswordRefused, match=said) as caught:
        check_strength(password)
    assert "8 to 128 characters" in caught.value.message
    assert not password or password not in caught.value.message
    assert len(caught.value.message) <= 200


def test_a_generated_one_keeps_the_rule_and_no_shell_changes_it() -> None:
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        check_strength(password)
        assert re.fullmatch(r"[A-Za-z0-9]{20,}", password)


async def test_a_hash_is_argon2id_and_salted(passwords: Passwords) -> None:
    first, second = await passwords.hash(RIGHT), await passwords.hash(RIGHT)
    assert first.startswith("$argon2id$")
    assert first != second
    assert await passwords.verify(first, RIGHT)
    assert not await passwords.verify(first, f"{RIGHT}x")


async def test_accents_are_the_same_however_they_are_typed(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("Zo\u00eb-horse-7"), "Zoe\u0308-horse-7")


@pytest.mark.parametrize("kept", [None, "", "$argon2id$broken", "plain"])
async def test_nothing_sensible_is_kept(passwords: Passwords, kept: str | None) -> None:
    assert not await passwords.verify(kept, RIGHT)


@pytest.mark.parametrize("given", ["", "\ud800", "\0", "x" * (LONGEST + 1), "x" * 1_000_000])
async def test_nothing_sensible_is_given(passwords: Passwords, given: str) -> None:
    assert not await passwords.verify(await passwords.hash(RIGHT), given)


class SlowHasher(PasswordHasher):
    """Counts how many of it run at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1, type=Type.ID)
        self.running = self.most = 0
        self.lock = threading.Lock()

    def hash(self, *arguments: object, **named: object) -> str:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.02)
        with self.lock:
            self.running -= 1
        return "kept"


async def test_two_run_at_once_and_the_others_wait() -> None:
    hasher = SlowHasher()
    with Passwords(hasher) as passwords:
        await asyncio.gather(*(passwords.hash(RIGHT) for _ in range(9)))
    assert hasher.most == 2


async def test_those_given_up_do_not_let_more_in() -> None:
    hasher = SlowHasher()
    with Passwords(hasher) as passwords:
        for _ in range(10):
            tasks = [asyncio.create_task(passwords.hash(RIGHT)) for _ in range(5)]
            await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
        await asyncio.gather(passwords.hash(RIGHT), *tasks, return_exceptions=True)
    assert hasher.most == 2


class CountedHasher(PasswordHasher):
    """Writes down what it is asked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self.asked: list[str] = []

    def hash(self, *arguments: object, **named: object) -> str:
        self.asked.append("hash")
        return super().hash(*arguments, **named)

    def verify(self, *arguments: object) -> bool:
        self.asked.append("verify")
        return super().verify(*arguments)


async def test_a_name_nobody_has_costs_what_a_wrong_password_costs() -> None:
    """Both are one run of the same function with the same parameters: to make a hash, and to make it for comparison."""
    hasher = CountedHasher()
    with Passwords(hasher) as passwords:
        kept = await passwords.hash(RIGHT)
        hasher.asked.clear()
        for each in (kept, None):
            assert not await passwords.verify(each, "Wrong-horse-7")
    assert hasher.asked == ["verify", "hash"]
    assert extract_parameters(kept) == extract_parameters(hasher.hash("of nobody"))


@pytest.mark.usefixtures("real_passwords")
async def test_hashes_that_people_get_are_dear() -> None:
    with Passwords() as passwords:
        kept = await passwords.hash(RIGHT)
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$"), "the second of the choices of RFC 9106"
        assert await passwords.verify(kept, RIGHT)
        assert not await passwords.verify(kept, "Wrong-horse-7")
