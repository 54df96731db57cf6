"""Pulls while sign-ins queue: a password check takes 64 MiB and a tenth of a second, and must not take the registry."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from benchmark.content import IMAGE, Content
from benchmark.lists import API, basic
from benchmark.load import Request, Sample, wrk
from benchmark.target import Target
from benchmark.wire import Connection

PASSWORD = "Somebody-in-line-1"  # noqa: S105 - of users that live as long as the measurement
REPOSITORY = "library/bench-pull"
LEAST = 0.5
"""The part of their rate that pulls must keep."""
LONGEST = 5.0
"""Seconds nobody may wait."""


@dataclass
class Queue:
    """Sign-ins of people who were not seen before, one after another on each of several connections."""

    taken: list[float] = field(default_factory=list)
    refused: int = 0


def people(target: Target, number: int) -> list[str]:
    """That many users, made by the administrator."""
    headers = {**basic(target.user, target.password), "Content-Type": "application/json"}
    names = [f"user{each:04}" for each in range(number)]
    with Connection(target.address) as connection:
        for name in names:
            user = {"username": name, "email": f"{name}@example.com", "realname": name, "password": PASSWORD}
            connection.ask("POST", f"{API}/users", headers, json.dumps(user).encode()).expect(201, 409)
    return names


@contextmanager
def signing_in(target: Target, names: Sequence[str], clients: int) -> Iterator[Queue]:
    """While the body runs, `clients` connections sign in without a pause, each time as somebody else."""
    queue, turn, end = Queue(), count(), threading.Event()

    def run() -> None:
        with Connection(target.address) as connection:
            while not end.is_set():
                number = next(turn)
                if number >= len(names):
                    return
                began = time.perf_counter()
                answer = connection.ask("GET", "/service/token", basic(names[number], PASSWORD))
                queue.taken.append(time.perf_counter() - began)
                queue.refused += answer.status != 200

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for each in threads:
        each.start()
    try:
        yield queue
    finally:
        end.set()
        for each in threads:
            each.join()


def pulls(target: Target, seconds: float, connections: int) -> Sample:
    """The manifest of one tag, again and again."""
    request = Request("GET", f"/v2/{REPOSITORY}/manifests/latest", accept=IMAGE)
    return wrk(target, request, seconds=seconds, connections=connections)


def measure(
    target: Target, names: Sequence[str], *, seconds: float, connections: int, clients: int, repeat: int
) -> list[tuple[Sample, Sample, Queue]]:
    """Alternating: pulls alone, pulls while people sign in; each round with people of its own."""
    Content(0).seed_manifest(target, REPOSITORY)
    each = len(names) // repeat
    rounds = []
    for number in range(repeat):
        alone = pulls(target, seconds, connections)
        with signing_in(target, names[number * each : (number + 1) * each], clients) as queue:
            beside = pulls(target, seconds, connections)
        rounds.append((alone, beside, queue))
    return rounds
