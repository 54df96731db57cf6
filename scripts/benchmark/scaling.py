"""Reads a second with more and more workers, bytes in an object store: redirected there, or sent by the registry."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlsplit

from benchmark.content import IMAGE, MIB, Content
from benchmark.load import Request, Sample, wrk
from benchmark.target import Target
from benchmark.wire import Address, Connection

WORKERS = (1, 2, 4)
REPOSITORY = "library/bench-pull"
MANIFEST = f"/v2/{REPOSITORY}/manifests/latest"
STORE = "the store itself"


@dataclass
class Reads:
    """What one target was asked for: its name, how it answers a GET of the blob, and all runs by path."""

    name: str
    status: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def rate(self, path: str) -> float:
        """Requests a second, the median."""
        return median(each.rate for each in self.samples[path])

    def cpu(self, path: str) -> float:
        """The server's processor time for one request, in milliseconds; 0 where it is not ours to see."""
        return median(each.cpu / each.requests * 1e3 for each in self.samples[path])


def measure(targets: Sequence[Target], *, seconds: float, connections: int, repeat: int) -> list[Reads]:
    """Every target once, then every target again. The last of the answer is the store, asked for the same blob."""
    content = Content(0)
    blob = content.blob(MIB)
    path = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
    found: dict[str, Reads] = {}
    signed = ""
    for target in targets:
        content.seed_manifest(target, REPOSITORY)
        content.seed_blobs(target, [blob])
        with Connection(target.address) as connection:
            answer = connection.ask("GET", path, {"Authorization": target.authorization()}).expect(200, 307)
        signed = answer.headers.get("location", signed)
        found[target.name] = Reads(target.name, answer.status)
    asked: list[tuple[Target, Request, int]] = []
    for target in targets:
        asked.append((target, Request("GET", MANIFEST, accept=IMAGE), connections))
        asked.append((target, Request("GET", path), connections if found[target.name].status == 307 else 8))
    if signed:
        parts = urlsplit(signed)
        store = Target(STORE, Address.of(f"{parts.scheme}://{parts.netloc}"), "peer")
        found[STORE] = Reads(STORE, 200)
        asked.append((store, Request("GET", f"{parts.path}?{parts.query}"), 8))
    for number in range(repeat):
        first = number % len(asked)  # nobody always follows the same other one
        for target, request, clients in (*asked[first:], *asked[:first]):
            sample = wrk(target, request, seconds=seconds, connections=clients)
            what = "manifest" if request.path == MANIFEST else "blob"
            found[target.name].samples.setdefault(what, []).append(sample)
            sys.stderr.write(f"{target.name}: {what} {sample.rate:,.0f}/s {sample.errors or ''}\n")
            if sample.errors:
                raise ValueError(f"{target.name}: {sample.errors} of {sample.requests} answers were errors")
    return list(found.values())


def lines(found: Sequence[Reads], single: Mapping[str, str]) -> list[list[str]]:
    """A table. `single` names, for a target, the one to whose rates its own are compared: that with one worker."""
    by_name = {each.name: each for each in found}
    table = []
    for each in found:
        base = by_name[single.get(each.name, each.name)]
        line = [each.name, str(each.status)]
        for what in ("manifest", "blob"):
            if what in each.samples:
                line += [f"{each.rate(what):,.0f}/s", f"{each.rate(what) / base.rate(what):.2f}", _cost(each, what)]
            else:
                line += ["", "", ""]
        table.append(line)
    return table


def _cost(reads: Reads, what: str) -> str:
    return f"{cost:.2f} ms" if (cost := reads.cpu(what)) else ""
