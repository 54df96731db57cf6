"""What every command gets as ``context.obj``: the configuration, and a registry to work on."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # for the types alone: `corereg --help` must not wait for a database driver
    from corereg.config import Config
    from corereg.plugins import Plugins
    from corereg.registry import Registry

Result = TypeVar("Result")

FAILED, USAGE, NOT_FOUND, NOT_ALLOWED, CONFLICT, PROBLEMS, INTERRUPTED = 1, 2, 3, 4, 5, 9, 130
"""Exit statuses."""

FILE = Path("corereg.toml")
"""The configuration that is read when nobody names one and this file is in the working directory."""


class Failure(click.ClickException):
    """Ends a command with one sentence on standard error and an exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = status  # type: ignore[misc]  # click declares a class variable and says that it may be set


class CommandContext:
    """What the options before and after a command's name say.

    `config` is read when it is first asked for. A command that works on the registry passes an async function to `run`.
    """

    def __init__(self) -> None:
        self.file: Path | None = None
        self.overrides: dict[str, Any] = {}

    @cached_property
    def config(self) -> Config:
        """The configuration: file, environment, options. Raises ConfigError."""
        from corereg.config import Config

        return Config.load(self.config_file, os.environ, self.overrides)

    @property
    def config_file(self) -> Path | None:
        """``--config``, else COREREG_CONFIG, else ./corereg.toml where there is one, else none."""
        named = self.file or os.environ.get("COREREG_CONFIG")
        if named:
            return Path(named)
        return FILE if FILE.is_file() else None

    def plugins(self) -> Plugins:
        """The plugins that the configuration enables. Raises ConfigError or PluginError."""
        from corereg.plugins import default_names, load

        config = self.config
        return load(config.plugins if config.plugins is not None else default_names(), config.tables)

    def run(self, work: Callable[[Registry], Awaitable[Result]]) -> Result:
        """Open the registry of `config`, await ``work(registry)``, close; what it returned.

        The registry does no background work meanwhile. Errors that are nobody's bug end the command with a sentence and
        the exit status that fits.
        """
        from corereg.registry import Registry

        async def opened() -> Result:
            registry = Registry(self.config)
            await registry.open(background=False)
            try:
                return await work(registry)
            finally:
                await registry.close()

        return self.loop(opened)

    def loop(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Await ``work()`` in an event loop of its own, with the log on standard error. Errors end as with `run`."""
        import asyncio

        import msgspec

        from corereg.server.logs import start_logging

        config = self.config.log
        start_logging(config if config.level == "debug" else msgspec.structs.replace(config, level="warning"))
        with told():
            return asyncio.run(work())


class told:  # noqa: N801 - reads as a word: with told()
    """Turns errors that are nobody's bug into a `Failure`."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise the Failure."""
        if error is None or isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort | SystemExit):
            return
        if isinstance(error, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        if isinstance(error, BrokenPipeError):
            return  # whoever reads has read enough: click ends without a word
        if isinstance(error, OSError) and _printed(error):
            raise unprintable(error) from error
        from corereg.server.failure import sentence

        message = sentence(error)
        if message is not None:
            raise Failure(message, _status(error)) from error


def _printed(error: OSError) -> bool:
    """Whether it was printing that failed: such an error names no file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == click.utils.__name__


def unprintable(error: OSError) -> Failure:
    """What to tell when the output cannot be written."""
    return Failure(f"the output cannot be written: {error.strerror or error}")


def _status(error: BaseException) -> int:
    from corereg.oci.errors import OCIError
    from corereg.store.database import Conflict

    if isinstance(error, Conflict):
        return CONFLICT
    if isinstance(error, OCIError):
        return {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 412: CONFLICT}.get(
            error.status, FAILED
        )
    return FAILED
