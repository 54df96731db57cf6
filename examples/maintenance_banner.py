"""While a file with a sentence is there, nobody pushes, and everybody is told why; pulls go on.

Start a registry with it, then announce the work and end it:

    COREREG__PLUGINS=storage_fs,accounts,examples/maintenance_banner.py BANNER_FILE=banner.txt corereg serve
    echo 'The registry moves to a new disk until 18:00' > banner.txt
    rm banner.txt

``docker push`` prints the sentence. ``GET /banner`` shows it to anybody, signed in or not: to a status page, say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from corereg import OPEN, Operation, Refusal, Route, Session, hookimpl

FILE = Path(os.environ.get("BANNER_FILE", "banner.txt"))
CHANGES = (".push", ".mount", ".delete")


def banner() -> str | None:
    """The sentence, or None."""
    try:
        return FILE.read_text(encoding="utf-8").strip()[:200] or None
    except FileNotFoundError:
        return None


@hookimpl
def provide_routes() -> Sequence[Route]:
    """One route; `OPEN` says that nobody has to sign in for it."""
    return [Route("GET", "/banner", get_banner, needs=OPEN, summary="The maintenance banner.")]


async def get_banner(_: Session) -> dict[str, str | None]:
    """What is returned goes out as JSON."""
    return {"message": banner()}


@hookimpl
async def admit(operation: Operation) -> Refusal | None:
    """Refuse what would write, with the same sentence. Any other trouble with the file refuses, too, and is logged."""
    if not operation.kind.endswith(CHANGES):
        return None
    message = banner()
    return Refusal(message) if message else None
