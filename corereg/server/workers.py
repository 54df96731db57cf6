"""Several workers: one parent that listens, starts them, replaces those that die, and stops them all.

The parent forks while it has no thread, no event loop and no plugin loaded, and keeps to that: every worker begins as
cleanly as the first, also one that is started after weeks. The parent bound a socket for each and keeps it open, so
that a connection waiting in the kernel survives the death of its worker and is taken by the successor.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from corereg.server.failure import ServerError

log = logging.getLogger(__name__)

AT_ONCE = 5.0
"""A worker that ends before so many seconds died at once."""
MOST_AT_ONCE = 6
"""So often in a row, and the parent gives up."""
LONGEST_PAUSE = 10.0
MARGIN = 15.0
"""Seconds beyond the shutdown timeout after which a worker that still lives is killed."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Job = Callable[[socket.socket, bool, int, int], None]
"""What a worker does: its listener, whether it is the very first, a descriptor that ends with the parent, and one to
write a byte to when it is ready."""


class Worker:
    """One running worker."""

    def __init__(self, number: int, process: int, told: int) -> None:
        self.number = number
        self.process = process
        self.told = told
        self.started = time.monotonic()
        self.ready = False


class Workers:
    """The parent of one worker for each of `listeners`."""

    def __init__(self, listeners: Sequence[socket.socket], job: Job, *, timeout: float) -> None:
        self._count = len(listeners)
        self._job = job
        self._listeners = listeners
        self._timeout = timeout
        self._running: dict[int, Worker] = {}
        self._due: dict[int, float] = {}
        self._deaths = 0
        self._life = os.pipe()
        self._signals: tuple[int, int] = (-1, -1)

    def run(self, announce: Callable[[], None]) -> int:
        """Until a signal ends it; the exit status. `announce` is called when all workers are ready."""
        self._listen_to_signals()
        status = self._begin()
        if status is not None:
            return status
        for number in range(2, self._count + 1):
            self._start(number)
        announced = False
        while True:
            asked = self._wait()
            if asked:
                return self._stop(asked)
            status = self._reap()
            if status is not None:
                self._stop(signal.SIGTERM)
                return status
            self._start_due()
            if not announced and len(self._running) == self._count and all(w.ready for w in self._running.values()):
                announced = True
                announce()

    # ---- signals ----

    def _listen_to_signals(self) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._signals = (read, write)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: None)

    def _wait(self, seconds: float = 1.0) -> int:
        """Until something happens, or a moment; the signal that asks to stop, or 0."""
        watched = [self._signals[0], *(worker.told for worker in self._running.values() if not worker.ready)]
        readable, _, _ = select.select(watched, [], [], seconds)
        for worker in self._running.values():
            if worker.told in readable and os.read(worker.told, 1):
                worker.ready = True
        if self._signals[0] not in readable:
            return 0
        numbers = os.read(self._signals[0], 4096)
        if signal.SIGHUP in numbers:
            log.warning("SIGHUP is ignored: the configuration is read at start only; restart to change it")
        return next((number for number in numbers if number in {signal.SIGTERM, signal.SIGINT}), 0)

    # ---- start ----

    def _begin(self) -> int | None:
        """Start one worker alone: it brings the tables up to date and says what is wrong. None when it is ready."""
        self._start(1, first=True)
        while True:
            asked = self._wait()
            if asked:
                return self._stop(asked)
            (worker,) = self._running.values()
            if worker.ready:
                return None
            process, status = os.waitpid(worker.process, os.WNOHANG)
            if process:
                self._forget(worker)
                return os.waitstatus_to_exitcode(status) or 1

    def _start(self, number: int, *, first: bool = False) -> None:
        told, tell = os.pipe()
        # Until the child has let go of the parent's pipe, a signal sent to it would look like one sent to the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        process = os.fork()
        if process:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(tell)
            self._running[process] = Worker(number, process, told)
            return
        status = 1
        try:
            listener = self._become_worker(number, told)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._job(listener, first, self._life[0], tell)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            log.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(status)

    def _become_worker(self, place: int, told: int) -> socket.socket:
        """Let go of what is the parent's; the listener that is this worker's."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends these to all of us; the parent decides
            signal.signal(number, signal.SIG_IGN)
        for descriptor in (self._life[1], told, *self._signals, *(each.told for each in self._running.values())):
            os.close(descriptor)
        self._running.clear()
        mine = self._listeners[place - 1]
        for listener in self._listeners:
            if listener is not mine:
                listener.close()
        return mine

    # ---- deaths ----

    def _reap(self) -> int | None:
        """Take note of workers that ended and plan their successors; an exit status when it is no use."""
        for worker in list(self._running.values()):
            process, status = os.waitpid(worker.process, os.WNOHANG)
            if not process:
                continue
            self._forget(worker)
            lived = time.monotonic() - worker.started
            self._deaths = self._deaths + 1 if lived < AT_ONCE else 0
            if self._deaths >= MOST_AT_ONCE:
                log.error("workers end as soon as they start, %d in a row; giving up", self._deaths)
                return 1
            pause = min(LONGEST_PAUSE, 0.1 * 2**self._deaths) if self._deaths else 0.0
            log.error("worker %d (process %d) %s; starting another", worker.number, process, _how(status))
            self._due[worker.number] = time.monotonic() + pause
        return None

    def _start_due(self) -> None:
        for number, when in list(self._due.items()):
            if when <= time.monotonic():
                del self._due[number]
                self._start(number)

    def _forget(self, worker: Worker) -> None:
        del self._running[worker.process]
        os.close(worker.told)

    # ---- stop ----

    def _stop(self, asked: int) -> int:
        """End all workers; 0, or 128 and the signal's number when a second one came."""
        for listener in self._listeners:
            listener.close()
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self._timeout + MARGIN
        while self._running:
            again = self._wait(0.5)
            if again:
                self._signal(signal.SIGKILL)
                for worker in self._running.values():
                    os.waitpid(worker.process, 0)
                return 128 + again
            if time.monotonic() > deadline:
                log.error("%d workers do not end and are killed", len(self._running))
                self._signal(signal.SIGKILL)
                deadline = float("inf")
            for worker in list(self._running.values()):
                if os.waitpid(worker.process, os.WNOHANG)[0]:
                    self._forget(worker)
        log.debug("all workers have ended after signal %d", asked)
        return 0

    def _signal(self, number: int) -> None:
        for worker in self._running.values():
            with suppress(ProcessLookupError):
                os.kill(worker.process, number)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"


def check_platform(count: int) -> None:
    """Refuse several workers where processes cannot be forked."""
    if count > 1 and not hasattr(os, "fork"):
        raise ServerError("this system cannot run several workers: set server.workers to 1")
