"""What happened, one JSON object a line, in a file: for a log shipper, or for ``grep``.

Start a registry with it, and watch:

    COREREG__PLUGINS=storage_fs,accounts,examples/audit_lines.py AUDIT_FILE=audit.jsonl corereg serve
    tail -f audit.jsonl

Events come from the journal, after the commit, so a line is written at least once, also after a crash; ``serial`` tells
a repeated one. While the disk refuses a line, the event waits in the journal, and pushes go on.
"""

from __future__ import annotations

import os

import msgspec
from anyio import to_thread

from corereg import Event, hookimpl

FILE = os.environ.get("AUDIT_FILE", "audit.jsonl")


@hookimpl
async def observe(event: Event) -> None:
    """The hook is told of one event at a time, by one process at a time."""
    await to_thread.run_sync(append, msgspec.json.encode(event) + b"\n")


def append(line: bytes) -> None:
    """One write, so that no line is torn; the file is the registry's own, for it holds names and addresses."""
    descriptor = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
