"""``corereg job``, ``gc`` and ``node``, over the API."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from corereg import remote

ENDED = ("Success", "Error", "Stopped")
POLL = 1.0
"""Seconds between two looks at a job that is followed."""
FAILED = 1
"""The exit status when the job that was followed did."""

JOBS = (
    remote.Column("id", "id"),
    remote.Column("kind", "vendor_type"),
    remote.Column("status", "status"),
    remote.Column("started-by", lambda item: f"{item.get('operator')} ({str(item.get('trigger')).lower()})"),
    remote.Column("started", "start_time", remote.moment),
    remote.Column("ended", "end_time", remote.moment),
    remote.Column("message", "status_message"),
)
JOB = (
    *JOBS[:2],
    remote.Column("title", "title"),
    *JOBS[2:],
    remote.Column("parameters", "parameters"),
    remote.Column("tasks", "metrics"),
)


def _progress(task: remote.Item) -> str | None:
    if not task.get("phase"):
        return None
    total = task.get("total")
    return f"{task['phase']} {task.get('done')}" + (f" of {total}" if total is not None else "")


TASKS = (
    remote.Column("task", "id"),
    remote.Column("status", "status"),
    remote.Column("tries", "run_count"),
    remote.Column("progress", _progress),
    remote.Column("size", "size", remote.size),
    remote.Column("node", "node"),
    remote.Column("result", "result"),
    remote.Column("message", "status_message"),
)
QUEUES = (
    remote.Column("kind", "job_type"),
    remote.Column("waiting", "count"),
    remote.Column("oldest-seconds", "latency"),
    remote.Column("paused", "paused"),
)
SCHEDULES = (
    remote.Column("kind", "vendor_type"),
    remote.Column("for", "vendor_id"),
    remote.Column("schedule", "schedule.type"),
    remote.Column("cron", "schedule.cron"),
    remote.Column("next-runs", lambda item: [remote.moment(each) for each in item.get("next_runs") or ()][:3]),
)
NODES = (
    remote.Column("id", "id"),
    remote.Column("status", "status"),
    remote.Column("host", "host"),
    remote.Column("process", "pid"),
    remote.Column("version", "version"),
    remote.Column("slots", "concurrency"),
    remote.Column("started", "start_at", remote.moment),
    remote.Column("heartbeat", "heartbeat_at", remote.moment),
)


def _taken(key: str) -> Any:
    def value(item: remote.Item) -> Any:
        return _parameters(item).get(key)

    return value


def _parameters(item: remote.Item) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(item.get("job_parameters") or "{}")
    return found


COLLECTIONS = (
    remote.Column("id", "id"),
    remote.Column("status", "job_status"),
    remote.Column("started-by", "job_kind", lambda kind: str(kind).lower()),
    remote.Column("dry-run", _taken("dry_run")),
    remote.Column("untagged", _taken("delete_untagged")),
    remote.Column("manifests", _taken("purged_manifests")),
    remote.Column("blobs", _taken("purged_blobs")),
    remote.Column("freed", _taken("freed_space"), remote.size),
    remote.Column("started", "creation_time", remote.moment),
    remote.Column("updated", "update_time", remote.moment),
)


# ---- jobs ----


@remote.group("job")
def job_group() -> None:
    """Look after work that takes long: collections, recounts, housekeeping.

    \b
    corereg job list --kind GARBAGE_COLLECTION
    corereg job watch 481
    corereg job pause SCHEDULER
    """  # noqa: D301 - click looks for the character, not for its name


@remote.command(job_group, "list", columns=JOBS)
@click.option("--kind", metavar="KIND", help="Only jobs of this kind.")
@click.option("--status", metavar="STATUS", help="Only Pending, Running, Success, Error, Stopped.")
@click.option("--query", "q", metavar="Q", help="A filter in the API's own grammar, as operator=admin.")
@click.option("--sort", metavar="KEYS", help="By what, as -start_time.")
def list_jobs(at: remote.Remote, kind: str | None, status: str | None, q: str | None, sort: str | None) -> None:
    """List what was started, the newest first."""
    terms = [q, f"vendor_type={kind.upper()}" if kind else None, f"status={status.title()}" if status else None]
    at.items(at.api.listed("/jobs", q=",".join(filter(None, terms)) or None, sort=sort), name="id")


@remote.command(job_group, "show", columns=JOB)
@click.argument("job", type=int)
def show_job(at: remote.Remote, job: int) -> None:
    """Show a job. `corereg job tasks` shows what it is made of."""
    at.one(at.api.get(remote.path_of("jobs", job)), name="id")


@remote.command(job_group, "tasks", columns=TASKS)
@click.argument("job", type=int)
def list_tasks(at: remote.Remote, job: int) -> None:
    """List the tasks of a job, with how far they are."""
    at.items(at.api.listed(remote.path_of("jobs", job, "tasks")), name="id")


@remote.command(job_group, "start")
@click.argument("kind")
@click.option("--parameter", "-P", "parameters", multiple=True, metavar="NAME=VALUE", help="What the job takes.")
@click.option("--wait", is_flag=True, help="Follow it to its end.")
def start_job(at: remote.Remote, kind: str, parameters: tuple[str, ...], *, wait: bool) -> None:
    """Start a job now, whatever its schedule says."""
    body = {"kind": kind.upper(), "parameters": remote.pairs(parameters)}
    _started(at, int(at.api.created("/jobs", body)), wait=wait)


@remote.command(job_group, "watch")
@click.argument("job", type=int)
def watch_job(at: remote.Remote, job: int) -> None:
    """Follow a job to its end. Ctrl-C ends the following, not the job. Exits with 1 when the job fails."""
    _follow(at, job)


@remote.command(job_group, "log")
@click.argument("job", type=int)
@click.option("--task", type=int, help="Only this task's.  [default: every one's]")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
def job_log(at: remote.Remote, job: int, task: int | None, *, follow: bool) -> None:
    """Print the log of a job."""
    seen: dict[int, int] = {}
    try:
        while True:
            status = at.api.get(remote.path_of("jobs", job))["status"]  # before the lines: none of them is missed
            for line in _new_lines(at, job, seen, task):
                click.echo(remote.printable(f"{line['time']} {line['line']}"))
            if not follow or status in ENDED:
                return
            time.sleep(POLL)
    except KeyboardInterrupt:
        _left(at, job)


@remote.command(job_group, "stop")
@click.argument("job", type=int)
def stop_job(at: remote.Remote, job: int) -> None:
    """Stop a job: what waits never begins, what runs ends within seconds."""
    found = at.api.get(remote.path_of("jobs", job))
    at.api.post(remote.path_of("jobs", job, "stop"))
    ended = found["status"] in ENDED
    at.done(
        f"job {job} had ended already: {found['status']}" if ended else f"job {job} is stopping",
        {"id": job, "status": found["status"] if ended else "Stopping"},
        name="id",
    )


@remote.command(job_group, "retry")
@click.argument("job", type=int)
@click.option("--wait", is_flag=True, help="Follow it to its end.")
def retry_job(at: remote.Remote, job: int, *, wait: bool) -> None:
    """Start again what a job that has ended was for, as a new job."""
    _started(at, int(at.api.created(remote.path_of("jobs", job, "retry"), None)), wait=wait)


@remote.command(job_group, "queues", columns=QUEUES)
def list_queues(at: remote.Remote) -> None:
    """List the kinds of jobs, and what waits of each. `SCHEDULER` stands for the schedules."""
    at.items(at.api.get("/jobservice/queues"), name="job_type")


@remote.command(job_group, "pause")
@click.argument("kind")
def pause(at: remote.Remote, kind: str) -> None:
    """Begin no job of a KIND any more: one of `corereg job queues`, or all. What runs goes on."""
    _act(at, kind, "pause", "nothing begins any more")


@remote.command(job_group, "resume")
@click.argument("kind")
def resume(at: remote.Remote, kind: str) -> None:
    """Begin jobs of a KIND again: one of `corereg job queues`, or all."""
    _act(at, kind, "resume", "jobs begin again")


def _act(at: remote.Remote, kind: str, action: str, sentence: str) -> None:
    kind = "all" if kind.lower() == "all" else kind.upper()
    at.api.put(remote.path_of("jobservice", "queues", kind), {"action": action})
    at.done(f"{kind}: {sentence}", {"kind": kind, "paused": action == "pause"}, name="kind")


@remote.command(job_group, "schedules", columns=SCHEDULES)
def list_schedules(at: remote.Remote) -> None:
    """List what starts by itself, and when the next time is (UTC)."""
    at.items(at.api.listed("/jobs/schedules"), name="vendor_type")


@remote.command(job_group, "schedule")
@click.argument("kind")
@click.argument("when")
def schedule_job(at: remote.Remote, kind: str, when: str) -> None:
    """Choose when a KIND of job starts by itself: hourly, daily, weekly, never, or a cron of six fields in UTC.

    \b
      corereg job schedule HOUSEKEEPING '0 15 * * * *'
    """  # noqa: D301 - click looks for the character, not for its name
    form = _form(when)
    at.api.put(remote.path_of("jobs", "schedules", kind.upper()), {"schedule": form})
    at.done(f"{kind.upper()} starts {when} now", {"kind": kind.upper(), "schedule": form}, name="kind")


def _form(when: str) -> dict[str, str]:
    word = when.strip().lower()
    if word in {"hourly", "daily", "weekly"}:
        return {"type": word.title()}
    return {"type": "None"} if word in {"never", "none"} else {"type": "Custom", "cron": when}


# ---- follow ----


def _started(at: remote.Remote, job: int, *, wait: bool) -> None:
    if wait:
        at.note(f"job {job} is started")
        _follow(at, job)
        return
    at.done(f"job {job} is started; `corereg job watch {job}` follows it", {"id": job, "status": "Pending"}, name="id")


def _follow(at: remote.Remote, job: int) -> None:
    """Lines on standard error, on a terminal over one another; what it came to on standard output."""
    shown = _Shown(quiet=at.quiet)
    try:
        while (found := at.api.get(remote.path_of("jobs", job)))["status"] not in ENDED:
            shown.line(_sentence(at, job, found))
            time.sleep(POLL)
    except KeyboardInterrupt:
        shown.end()
        _left(at, job)
    shown.end()
    tasks = list(at.api.listed(remote.path_of("jobs", job, "tasks")))
    results = [task["result"] for task in tasks if task.get("result")]
    told = ", ".join(
        f"{name} {remote.plain(value)}" for name, value in (results[0] if len(results) == 1 else {}).items()
    )
    message = found.get("status_message")
    sentence = f"job {job}: {found['status']}{f': {message}' if message else ''}{f' ({told})' if told else ''}"
    at.done(sentence, {**found, "results": results}, name="id")
    if found["status"] != "Success":
        sys.exit(FAILED)


def _sentence(at: remote.Remote, job: int, found: remote.Item) -> str:
    running = list(at.api.listed(remote.path_of("jobs", job, "tasks"), q="status=Running"))
    counts = found.get("metrics", {})
    parts = [f"{each} ({remote.size(task['size'])})" if task.get("size") else each
             for task in running[:3] if (each := _progress(task))]  # fmt: skip
    ended = sum(counts.get(f"{status.lower()}_task_count", 0) for status in ENDED)
    if counts.get("task_count", 0) > 1:
        parts.insert(0, f"{ended} of {counts['task_count']} tasks")
    word = "stopping" if found.get("stopping") else str(found["status"]).lower()
    return f"job {job} {found['vendor_type']}: {', '.join([word, *parts])}"


def _left(at: remote.Remote, job: int) -> None:
    at.note(f"job {job} goes on; `corereg job watch {job}` follows it again, `corereg job stop {job}` stops it")
    sys.exit(130)


class _Shown:
    """What is told while somebody waits: on a terminal one line that changes, elsewhere a line for each change."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._last = ""

    def line(self, text: str) -> None:
        """Show it, unless it is what stands there."""
        text = remote.printable(text)
        if self._quiet or text == self._last:
            return
        if self._live:
            click.echo(f"\r\x1b[2K{text}", nl=False, err=True)
        else:
            click.echo(text, err=True)
        self._last = text

    def end(self) -> None:
        """Leave the line."""
        if self._live and self._last:
            click.echo("\r\x1b[2K", nl=False, err=True)
        self._last = ""


def _new_lines(at: remote.Remote, job: int, seen: dict[int, int], only: int | None) -> Iterator[remote.Item]:
    """Lines that `seen`, the last number by task, does not know yet."""
    tasks = [only] if only is not None else [task["id"] for task in at.api.listed(remote.path_of("jobs", job, "tasks"))]
    for task in tasks:
        while lines := at.api.get(remote.path_of("jobs", job, "tasks", task, "log"), after=seen.get(task, 0)):
            yield from lines
            seen[task] = lines[-1]["number"]


# ---- garbage collection ----


@remote.group("gc")
def gc_group() -> None:
    """Take back the space of what nothing needs any more; pushes and pulls go on meanwhile.

    \b
    corereg gc run --dry-run --wait
    corereg gc schedule daily --delete-untagged
    """  # noqa: D301 - click looks for the character, not for its name


def _options(function: Any) -> Any:
    for option in (
        click.option(
            "--time-limit", type=click.IntRange(min=1), metavar="SECONDS", help="End by itself after so long."
        ),
        click.option("--workers", type=click.IntRange(1, 10), help="Blobs that are deleted at once."),
        click.option("--delete-untagged", "--untagged", is_flag=True, help="Take manifests without a tag, too."),
        click.option("--dry-run", is_flag=True, help="Only say what would be taken."),
    ):
        function = option(function)
    return function


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@remote.command(gc_group, "run")
@_options
@click.option("--wait", is_flag=True, help="Follow it to its end.")
def run_collection(at: remote.Remote, *, wait: bool, **options: Any) -> None:
    """Collect garbage now. While a collection is under way it is that one."""
    body = {"schedule": {"type": "Manual"}, "parameters": _set(options)}
    _started(at, int(at.api.created("/system/gc/schedule", body)), wait=wait)


@remote.command(gc_group, "list", columns=COLLECTIONS)
def list_collections(at: remote.Remote) -> None:
    """List collections, the newest first."""
    at.items(at.api.listed("/system/gc"), name="id")


@remote.command(gc_group, "show", columns=COLLECTIONS)
@click.argument("collection", type=int)
def show_collection(at: remote.Remote, collection: int) -> None:
    """Show one collection."""
    at.one(at.api.get(remote.path_of("system", "gc", collection)), name="id")


@remote.command(gc_group, "log")
@click.argument("collection", type=int)
def collection_log(at: remote.Remote, collection: int) -> None:
    """Print the log of a collection."""
    answer = at.api.request("GET", remote.path_of("system", "gc", collection, "log"))
    for line in answer.text.splitlines():
        click.echo(remote.printable(line))


@remote.command(gc_group, "stop")
@click.argument("collection", type=int)
def stop_collection(at: remote.Remote, collection: int) -> None:
    """Stop a collection. What it has taken is gone; the next one finds the rest."""
    at.api.put(remote.path_of("system", "gc", collection), None)
    at.done(f"collection {collection} is stopping, if it had not ended", {"id": collection}, name="id")


@remote.command(gc_group, "schedule")
@click.argument("when", required=False)
@_options
def schedule_collection(at: remote.Remote, when: str | None, **options: Any) -> None:
    """Show or choose when garbage is collected: hourly, daily, weekly, never, or a cron of six fields in UTC."""
    if when is None:
        found = at.api.get("/system/gc/schedule")
        form = found.get("schedule") or {"type": "None"}
        following = form.get("next_scheduled_time")
        when = f"{form['type']} ({form.get('cron', '')}), the next time at {remote.moment(following)} UTC"
        sentence = f"garbage is collected {when}, with {found.get('job_parameters')}"
        at.done(sentence if following else "garbage is collected only by hand", found, name="id")
        return
    form = _form(when)
    given = _set(options)
    at.api.put("/system/gc/schedule", {"schedule": form, "parameters": given})
    never = form["type"] == "None"
    sentence = "garbage is collected only by hand now" if never else f"garbage is collected {when} now"
    at.done(sentence, {"schedule": form, "parameters": given}, name="schedule")


# ---- nodes ----


@remote.group("node")
def node_group() -> None:
    """Look at the processes that serve a registry."""


@remote.command(node_group, "list", columns=NODES)
def list_nodes(at: remote.Remote) -> None:
    """List the processes, those that were lost within the last hour too."""
    at.items(at.api.get("/nodes"), name="id")
