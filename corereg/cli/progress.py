"""How long work shows on a terminal: one line that changes, and what it logs above that."""

from __future__ import annotations

import sys
import time
from typing import IO, Self

import click

from corereg.cli.context import INTERRUPTED
from corereg.client.output import size as human

EVERY = 0.2
"""Seconds between two changes of the line."""


class Progress:
    """A `corereg.store.work.Work` on standard error. In a pipe it tells each phase once, and every line of the log.

    Used as ``with Progress() as work``: Ctrl+C then ends the line and says how to go on. `quiet` leaves out the log.
    """

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._shown = ""
        self._phase = ""
        self._at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._clear()
        stopped = isinstance(error, SystemExit) and error.code == INTERRUPTED  # as `told` has made of Ctrl+C
        if stopped or isinstance(error, KeyboardInterrupt):
            click.echo("Stopped. What is done stays done; the same command goes on from there.", file=self._stream)

    async def progress(self, phase: str, done: int, total: int | None = None, size: int = 0) -> None:
        """Show it, a few times a second."""
        of = f" of {total}" if total is not None else ""
        line = f"{phase}: {done}{of}{f', {human(size)}' if size else ''}"
        if not self._terminal:
            if phase != self._phase:
                click.echo(f"{phase} ...", file=self._stream)
            self._phase = phase
            return
        if phase == self._phase and time.monotonic() < self._at + EVERY and done != total:
            return
        self._phase, self._at = phase, time.monotonic()
        self._clear()
        self._shown = line
        self._stream.write(line)
        self._stream.flush()

    def log(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._clear()
            click.echo(line, file=self._stream)

    async def check(self) -> None:
        """Ctrl+C arrives by itself."""

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._shown = ""
