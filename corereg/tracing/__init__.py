"""Traces: what a request spent its time on, for whoever collects them over OTLP.

The core knows spans alone. Without ``[tracing] endpoint`` they are nothing, and OpenTelemetry is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from corereg.config import ConfigError, TracingConfig
from corereg.config.problems import Origins, problem


class Span(Protocol):
    """A piece of work that is being traced."""

    def set_attribute(self, key: str, value: Any, /) -> object:
        """Say more about it."""

    def update_name(self, name: str, /) -> object:
        """Call it something else."""


class Tracer(Protocol):
    """Makes spans. `on` tells whether they are kept."""

    on: bool

    def open(self) -> None:
        """From here on spans are sent."""

    def close(self) -> None:
        """Send what is left, and end."""

    def span(self, name: str, /, **attributes: str | int) -> AbstractContextManager[Span | None]:
        """Around a piece of work inside another one that is traced; else nothing."""

    def root(
        self, name: str, headers: Mapping[str, str], /, **attributes: str | int
    ) -> AbstractContextManager[Span | None]:
        """Around a whole: a request, the child of what its ``traceparent`` names, if anything; or, without headers,
        work that nobody asked for just now.
        """


_NOTHING: AbstractContextManager[None] = nullcontext()


class Off:
    """Traces nothing, for nothing."""

    on = False

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nor to close."""

    def span(self, _name: str, /, **_attributes: str | int) -> AbstractContextManager[None]:
        """No span."""
        return _NOTHING

    def root(
        self, _name: str, _headers: Mapping[str, str], /, **_attributes: str | int
    ) -> AbstractContextManager[None]:
        """No span."""
        return _NOTHING


OFF = Off()


def tracer(config: TracingConfig, version: str, origins: Origins) -> Tracer:
    """What the configuration asks for. Raises ConfigError when OpenTelemetry is wanted and not installed."""
    if config.endpoint is None:
        return OFF
    try:
        found: Tracer = import_module("corereg.tracing.otel").OpenTelemetry(config, version)
    except ModuleNotFoundError as error:
        key = ("tracing", "endpoint")
        message = f"tracing.endpoint: {error.name} is not installed: run `pip install 'corereg[otel]'`, or leave it out"
        raise ConfigError([problem(key, message, origins)]) from error
    return found
