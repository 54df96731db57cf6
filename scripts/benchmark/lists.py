"""Long lists: pages of the management API over many projects, repositories and tags.

The projects are made over the API; repositories and tags are written into the stopped server's SQLite file, because
pushing a hundred thousand of them would measure something else for an hour. The server that is measured was started on
that file and did its own work on it.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmark.content import Content
from benchmark.process import Server
from benchmark.target import Target
from benchmark.wire import Connection

API = "/api/v2.0"
LONGEST = 50.0
"""Milliseconds a page may take at the median."""
MAKERS = 8
REPOSITORY = "library/bench-tags"


@dataclass(frozen=True)
class Page:
    """One page that was asked for again and again: milliseconds at the median and at the 99th percentile."""

    what: str
    path: str
    p50: float
    p99: float
    total: str


def basic(user: str, password: str) -> dict[str, str]:
    """The Authorization header of somebody with a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def fill(target: Target, content: Content, projects: int) -> None:
    """The projects, and one image whose manifest all tags will point at."""
    headers = {**basic(target.user, target.password), "Content-Type": "application/json"}

    def make(first: int) -> None:
        with Connection(target.address) as connection:
            for number in range(first, projects, MAKERS):
                body = json.dumps({"project_name": f"p{number:05}", "public": number % 2 == 0}).encode()
                connection.ask("POST", f"{API}/projects", headers, body).expect(201, 409)

    with ThreadPoolExecutor(MAKERS) as pool:
        list(pool.map(make, range(MAKERS)))
    content.seed_manifest(target, REPOSITORY)


def write(server: Server, projects: int, repositories: int, tags: int) -> None:
    """The rows of a stopped server's database, as that many pushes leave them."""
    at = time.time_ns() // 1000
    with sqlite3.connect(server.folder / "corereg.db") as database:
        known = database.execute("SELECT id FROM repositories WHERE name = ?", (REPOSITORY,)).fetchone()[0]
        (digest,) = database.execute("SELECT digest FROM manifests WHERE repository_id = ?", (known,)).fetchone()
        database.executemany(
            "INSERT INTO repositories (name, created_at) VALUES (?, ?)",
            ((f"p{number % projects:05}/r{number:06}", at) for number in range(repositories)),
        )
        database.executemany(
            "INSERT INTO tags (repository_id, name, digest, updated_at) VALUES (?, ?, ?, ?)",
            ((known, f"t{number:06}", digest, at + number) for number in range(tags)),
        )
    database.close()


def pages() -> Sequence[tuple[str, str]]:
    """What is asked."""
    tagged = f"{API}/projects/library/repositories/bench-tags"
    return [
        ("projects, first page", f"{API}/projects?page_size=100"),
        ("projects, last page", f"{API}/projects?page=100&page_size=100"),
        ("projects by name", f"{API}/projects?name=p0777&page_size=100"),
        ("repositories of a project", f"{API}/projects/p00007/repositories?page_size=100"),
        ("all repositories", f"{API}/repositories?page_size=100"),
        ("all repositories, far in", f"{API}/repositories?page=400&page_size=100"),
        ("search", f"{API}/search?q=r0123"),
        ("artifacts of a repository", f"{tagged}/artifacts?page_size=100&with_tag=false"),
        ("tags of an artifact", f"{tagged}/artifacts/latest/tags?page_size=100"),
        ("tags of an artifact, far in", f"{tagged}/artifacts/latest/tags?page=900&page_size=100"),
        ("quotas", f"{API}/quotas?page_size=100"),
        ("statistics", f"{API}/statistics"),
    ]


def measure(target: Target, user: tuple[str, str], times: int) -> list[Page]:
    """Every page `times` times on one connection, after one that is not counted."""
    headers = basic(*user)
    found = []
    with Connection(target.address) as connection:
        for what, path in pages():
            answer = connection.ask("GET", path, headers)
            if answer.status == 403:
                continue
            answer.expect(200)
            taken = []
            for _ in range(times):
                began = time.perf_counter()
                connection.ask("GET", path, headers).expect(200)
                taken.append((time.perf_counter() - began) * 1e3)
            taken.sort()
            total = answer.headers.get("x-total-count", "")
            found.append(Page(what, path, median(taken), taken[min(len(taken) - 1, len(taken) * 99 // 100)], total))
    return found
