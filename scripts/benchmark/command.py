"""The command line of `scripts/bench`: who is measured, and in what order."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from benchmark import collect, lists, logins, memory, objects, scaling, table
from benchmark.content import MIB, Content
from benchmark.counter import Counting
from benchmark.load import LoadError, Sample
from benchmark.process import ServerError
from benchmark.rows import Row, Terms, every_row
from benchmark.starting import ON_OBJECTS, ROOT, SERVERS, Field
from benchmark.table import Cell, Cells
from benchmark.target import Target
from benchmark.wire import WireError

MEMORY_LIMIT = 250e6
"""Bytes a worker may hold with a hundred uploads and a hundred downloads under way."""
DESCRIPTION = """\
Measure corereg beside other registries: alternating runs, medians, ratios. Needs wrk.

  scripts/bench --quick                                      corereg alone, and the empty app on its server
  scripts/bench --peer distribution=http://127.0.0.1:5001    beside a registry that runs already
  scripts/bench --peer-command 'debian=env REGISTRY_HTTP_ADDR=127.0.0.1:{port}
      REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY={dir} docker-registry serve config.yml'
  scripts/bench --memory                                     100 uploads and 100 downloads at once
  scripts/bench --lists                                      pages over 10,000 projects, 100,000 repositories and tags
  scripts/bench --logins                                     pulls while sign-ins queue
  scripts/bench --collect                                    garbage collection over 1,000,000 blobs: seconds, memory
  scripts/bench --collect --pulls                            pulls beside the collection of 100,000 blobs
  scripts/bench --objects                                    what a pushed blob costs at an S3 server: requests, bytes
  scripts/bench --scaling                                    reads from an S3 server with 1, 2, 4 workers

A peer NAME that asks for a password gets BENCH_NAME_USER and BENCH_NAME_PASSWORD from the environment.
"""


def say(text: str) -> None:
    """What a person reads while it runs."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def tell(*parts: str) -> None:
    """The result, and it alone, goes to stdout: its parts with an empty line between them."""
    sys.stdout.write("\n\n".join(parts) + "\n")


def parser(keys: Sequence[str]) -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        prog="scripts/bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add(
        "--server",
        action="append",
        choices=SERVERS,
        help="what corereg runs on; may be given again (hypercorn)",
    )
    add("--workers", type=int, default=os.cpu_count(), help="worker processes of corereg (one for each processor)")
    add("--plugins", metavar="NAME,...", help="the plugins that are enabled (every first-party one that is installed)")
    add("--corereg", metavar="COMMAND", help="the corereg command to measure (.venv/bin/corereg, else the one in PATH)")
    add("--no-corereg", action="store_true", help="only the peers")
    add("--no-empty", action="store_true", help="without the empty ASGI app")
    add("--peer", action="append", default=[], metavar="NAME=URL", help="a registry that runs already")
    add(
        "--peer-command",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="start it; {port}, {dir} are filled in",
    )
    add("--rows", metavar="KEY,...", help=f"only these: {', '.join(keys)}")
    add("--repeat", type=int, default=5, help="runs of each row against each server (5)")
    add("--seconds", type=float, default=4.0, help="length of a run (4)")
    add("--connections", type=int, default=32, help="connections of the small requests (32)")
    add("--tags", type=int, default=100_000, help="tags in the long list (100000)")
    add("--limit", type=int, default=1200, metavar="MIB", help="what one run of pushes may write (1200)")
    add("--quick", action="store_true", help="a look: one run of a second each, 2000 tags")
    add("--memory", action="store_true", help="measure memory instead of speed")
    add("--clients", type=int, default=100, help="with --memory: uploads, and as many downloads, at once (100)")
    add("--sizes", default="10,100", metavar="MIB,...", help="with --memory: sizes of the blobs (10,100)")
    add("--lists", action="store_true", help="measure pages of long lists instead")
    add("--projects", type=int, default=10_000, help="with --lists: projects (10000)")
    add("--repositories", type=int, default=100_000, help="with --lists: repositories (100000)")
    add("--logins", action="store_true", help="measure pulls beside a queue of sign-ins instead")
    add("--people", type=int, default=600, help="with --logins: users that sign in, over all runs (600)")
    add("--collect", action="store_true", help="measure garbage collection instead")
    add("--pulls", action="store_true", help="with --collect: what pulls notice of it")
    add("--blobs", type=int, metavar="N", help="with --collect: blobs that stay (1000000, with --pulls 100000)")
    add("--dead", type=int, default=100_000, help="with --collect: blobs that go (100000)")
    add("--objects", action="store_true", help="measure pushes to an S3 server instead; a peer's {s3} is its URL")
    add("--scaling", action="store_true", help="measure reads by workers, redirected to an S3 server and not; {s3} too")
    add("--dir", type=Path, help="where the servers keep their data: a local disk (a temporary folder)")
    add("--json", type=Path, metavar="FILE", help="write every figure there too")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when everything was measured (and, with --memory, stayed below the limit)."""
    keys = [row.key for row in every_row(Content(0))]
    options = parser(keys).parse_args(arguments)
    if options.quick:
        options.repeat, options.seconds, options.tags, options.limit = 1, 1.0, 2000, 300
    unknown = set((options.rows or "").split(",")) - {*keys, ""}
    if unknown:
        say(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
        return 2
    try:
        return _chosen(options)(options)
    except (ServerError, LoadError, WireError, ValueError, OSError) as error:
        say(str(error))
        return 1


def _chosen(options: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    if options.memory:
        return _memory
    if options.lists:
        return _lists
    if options.objects:
        return _objects
    if options.scaling:
        return _scaling
    if options.collect:
        return _pulls if options.pulls else _collect
    return _logins if options.logins else _speed


# --------------------------------------------------------------------------------------------------------------- speed


def _speed(options: argparse.Namespace) -> int:
    content = Content(options.tags)
    rows = [row for row in every_row(content) if not options.rows or row.key in options.rows.split(",")]
    terms = Terms(options.seconds, options.connections, options.limit * MIB)
    with Field(options) as field:
        targets = field.everybody()
        cells = {row.key: _measure(row, targets, terms, options.repeat) for row in rows}
        subjects = [each for each in targets if each.role == "corereg"] or targets[:1]
        parts = [table.speed(rows, targets, subject, cells) for subject in subjects]
        parts.append(table.cost(rows, targets, cells))
        tell(*parts, _conditions(options))
    if options.json:
        _write(options, cells)
    return 0


def _measure(row: Row, targets: Sequence[Target], terms: Terms, repeat: int) -> Mapping[str, Cell]:
    """Every target once, then every target again: what disturbs the machine disturbs all of them."""
    samples: dict[str, list[Sample]] = {each.name: [] for each in targets}
    notes: dict[str, str] = {}
    for target in targets:
        if target.role != "empty":
            began = time.monotonic()
            try:
                row.seed(target)
            except (WireError, OSError) as error:
                notes[target.name] = "cannot"
                say(f"{row.key:>14}  {target.name}: {error}")
            if time.monotonic() - began > 5:
                say(f"{row.key:>14}  {target.name}: prepared in {time.monotonic() - began:.0f} s")
    for number in range(repeat):
        first = number % len(targets)  # nobody always follows the same other one
        for target in (*targets[first:], *targets[:first]):
            if target.name in notes:
                continue
            os.sync()  # what the run before left unwritten is not this one's
            try:
                sample = row.run(target, terms)
            except (WireError, OSError) as error:
                notes[target.name] = "failed"
                say(f"{row.key:>14}  {target.name}: {error}")
            else:
                samples[target.name].append(sample)
                say(f"{row.key:>14}  {target.name}: {row.value(sample):,.1f} {row.unit} {sample.errors or ''}")
    return {name: Cell(row, found, notes.get(name, "")) for name, found in samples.items()}


def _conditions(options: argparse.Namespace, workers: str = "", plugins: str = "all") -> str:
    """What the figures hold for; `workers` and `plugins` where the options do not say it."""
    return (
        f"Medians of {options.repeat} alternating runs of {options.seconds:g} s, lowest..highest; "
        f"{os.cpu_count()} processors shared by client and server, {workers or options.workers} workers, "
        f"plugins {options.plugins or plugins}; "
        f"Python {platform.python_version()}, {platform.platform()}."
    )


def _write(options: argparse.Namespace, cells: Cells) -> None:
    found = {key: {name: cell.as_json() for name, cell in row.items()} for key, row in cells.items()}
    conditions = {name: value for name, value in vars(options).items() if name not in ("dir", "json")}
    options.json.write_text(json.dumps({"conditions": conditions, "rows": found}, indent=1) + "\n")


# -------------------------------------------------------------------------------------------------------------- memory


def _memory(options: argparse.Namespace) -> int:
    """A fresh server for each size, so that a peak belongs to it."""
    lines = []
    over = False
    for size in (int(each) for each in options.sizes.split(",")):
        content = Content(0)
        with Field(options) as field:
            for target in field.registries():
                if target.server is None:
                    say(f"{target.name} was not started here, so its memory is not ours to see")
                    continue
                began = time.monotonic()
                peaks = memory.measure(target, content, size * MIB, options.clients)
                say(f"{target.name}: {2 * options.clients} x {size} MiB in {time.monotonic() - began:.0f} s")
                for each in peaks:
                    over |= target.role == "corereg" and each.highest > MEMORY_LIMIT
                    line = [target.name, f"{size} MiB", str(each.pid), "listens" if each.listens else "does not listen"]
                    lines.append([*line, f"{each.idle / 1e6:.0f} MB", f"{each.highest / 1e6:.0f} MB"])
    said = f"{options.clients} uploads and {options.clients} downloads at once."
    tell(table.markdown(["", "blobs of", "process", "", "at rest", "at most"], lines), said)
    return int(over)


# ------------------------------------------------------------------------------------------- corereg in one respect


def _lists(options: argparse.Namespace) -> int:
    """Fill a registry, start it again, ask for pages as an administrator and as somebody who owns nothing."""
    slow = False
    with Field(options) as field:
        target, server = field.alone()
        began = time.monotonic()
        lists.fill(target, Content(0), options.projects)
        (somebody,) = logins.people(target, 1)
        server.stop()
        lists.write(server, options.projects, options.repositories, options.tags)
        server.start()
        server.wait()
        say(f"{target.name}: filled and started again in {time.monotonic() - began:.0f} s")
        for who, user in (
            ("administrator", (target.user, target.password)),
            ("somebody", (somebody, logins.PASSWORD)),
        ):
            found = lists.measure(target, user, max(5, options.repeat * 10))
            slow |= any(each.p50 > lists.LONGEST for each in found)
            lines = [[each.what, each.total, f"{each.p50:.1f} ms", f"{each.p99:.1f} ms"] for each in found]
            tell(table.markdown([who, "of", "median", "99 %"], lines) + "\n")
    return int(slow)


def _logins(options: argparse.Namespace) -> int:
    """Pulls alone and beside a queue of sign-ins, in turn."""
    with Field(options) as field:
        target, _ = field.alone()
        names = logins.people(target, options.people)
        rounds = logins.measure(
            target,
            names,
            seconds=options.seconds,
            connections=options.connections,
            clients=options.clients,
            repeat=options.repeat,
        )
    kept = median(beside.rate / alone.rate for alone, beside, _ in rounds)
    longest = max(taken for _, _, queue in rounds for taken in queue.taken)
    lines = [
        [
            f"{alone.rate:,.0f}/s",
            f"{beside.rate:,.0f}/s",
            f"{beside.rate / alone.rate:.0%}",
            f"{beside.p99:.0f} ms",
            f"{len(queue.taken)}",
            f"{max(queue.taken):.1f} s",
        ]
        for alone, beside, queue in rounds
    ]
    columns = ["pulls alone", "beside sign-ins", "kept", "99 % of them", "sign-ins", "longest of them"]
    said = f"Median kept: {kept:.0%}; {options.clients} clients signed in at once; {_conditions(options)}"
    tell(table.markdown(columns, lines), said)
    return int(kept < logins.LEAST or longest > logins.LONGEST)


def _collect(options: argparse.Namespace) -> int:
    """A dry run and a collection over a tenth of the rows, then over all: memory must not grow with them."""
    live = options.blobs or 1_000_000
    lines = []
    for part in (10, 1):
        with Field(options) as field:
            _, server = field.alone()
            server.stop()
            began = time.monotonic()
            collect.write(server.folder, live // part, options.dead // part)
            say(f"{(live + options.dead) // part:,} blobs written in {time.monotonic() - began:.0f} s")
            for dry_run in (True, False):
                run = collect.process(field.python, ROOT, "collect", server.folder, dry_run=dry_run)
                found = collect.result(run)
                say(json.dumps(found))
                lines.append(
                    [
                        "dry run" if dry_run else "collection",
                        f"{(live + options.dead) // part:,}",
                        f"{found['blobs']:,}",
                        f"{found['seconds']:.1f} s",
                        f"{found['rest'] / 1e6:.0f} MB",
                        f"{found['peak'] / 1e6:.0f} MB",
                    ]
                )
    columns = ["", "blobs", "of them dead", "time", "memory before", "at most"]
    tell(table.markdown(columns, lines))
    return 0


def _pulls(options: argparse.Namespace) -> int:
    """Pulls alone and beside a collection, in turn, each on a fresh server."""
    terms = collect.Terms(options.blobs or 100_000, options.dead, options.connections)
    rounds = []
    for _ in range(options.repeat):
        with Field(options) as field:
            start = partial(collect.process, field.python, ROOT, "start")
            rounds.append(collect.beside(*field.alone(), start, terms))
    lines = [
        [
            f"{collect.rate(each.alone):,.0f}/s",
            f"{collect.rate(each.during):,.0f}/s",
            f"{collect.slow(each.alone):.1f} ms",
            f"{collect.slow(each.during):.1f} ms ({max(one.p99 for one in each.during):.1f})",
            f"{each.ratio:.1f}",
            f"{each.seconds:.0f} s",
        ]
        for each in rounds
    ]
    columns = ["pulls alone", "beside a collection", "99 % alone", "beside (at worst)", "ratio"]
    columns.append(f"{terms.dead:,} blobs took")
    tell(table.markdown(columns, lines), _conditions(options))
    return int(median(each.ratio for each in rounds) > collect.LARGEST_RATIO)


def _objects(options: argparse.Namespace) -> int:
    """Each registry on a bucket of its own at the same S3 server, behind a proxy that counts."""
    costs: dict[str, list[objects.Cost]] = {}
    with Field(options) as field:
        store = field.store()
        for start in [*map(field.on_store, field.kinds), *field.peers_on_store()]:
            with ExitStack() as one:
                counting = one.enter_context(Counting(store))
                target = start(one, f"http://{counting.address.host}:{counting.address.port}")
                costs[target.name] = objects.measure(target, counting)
    lines = [
        [
            name if number == 0 else "",
            objects.name(cost),
            f"{cost.requests:.1f}",
            cost.methods,
            f"{cost.overhead / 1024:.1f} KiB",
            f"{cost.seconds * 1e3:.0f} ms",
        ]
        for name, found in costs.items()
        for number, cost in enumerate(found)
    ]
    tell(table.markdown(["", "pushed", "requests", "of them", "bytes beyond the blob's", "median"], lines))
    return 0


def _scaling(options: argparse.Namespace) -> int:
    """Everybody on one S3 server: corereg with more and more workers, redirecting and not, and the peers."""
    single: dict[str, str] = {}
    with Field(options) as field:
        store = field.store().url
        targets = [start(field, store) for start in field.peers_on_store()]
        for kind, redirect in product(field.kinds, (True, False)):
            own = [field.on_store(kind, each, redirect=redirect)(field, store) for each in scaling.WORKERS]
            targets += own
            single |= {each.name: own[0].name for each in own}
        found = scaling.measure(
            targets, seconds=options.seconds, connections=options.connections, repeat=options.repeat
        )
    columns = ["", "GET blob", "manifests", "of one worker", "each", "blobs of 1 MiB", "of one worker", "each"]
    tell(table.markdown(columns, scaling.lines(found, single)), _conditions(options, "these", ON_OBJECTS))
    return 0
