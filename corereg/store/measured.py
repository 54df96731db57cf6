"""A storage whose calls are counted, timed and traced.

The storage itself is changed, not wrapped: it stays what the plugin made, with all that a later contract adds.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any

from corereg.metrics import Metrics
from corereg.store.storage import KeyMissing, Storage, StorageError
from corereg.tracing import Tracer

CALLS = ("begin", "writer", "commit", "put", "abort", "stat", "delete", "redirect", "free")
"""What is timed as a whole; a storage need not have all of them."""


def measure(storage: Storage, metrics: Metrics, tracer: Tracer) -> None:
    """From here on `storage` tells `metrics` and `tracer` of what it does."""
    for name in CALLS:
        call = getattr(storage, name, None)
        if inspect.iscoroutinefunction(call):
            setattr(storage, name, _measured(name, call, metrics, tracer, _size(storage, name)))
    vars(storage)["read"] = _counted(storage.read, metrics)


def _size(storage: Storage, name: str) -> Callable[..., int] | None:
    """How many bytes a call makes durable; None for one that makes none, or that leaves it to `commit`."""
    if name == "commit":
        return _argument(Storage.commit, "size", int)
    if name == "put" and type(storage).put is not Storage.put:
        return _argument(Storage.put, "data", len)
    return None


def _argument(call: Callable[..., Any], name: str, size: Callable[[Any], int]) -> Callable[..., int]:
    """`size` of the argument `name` of a call of the contract's, however it is given and whatever takes it."""
    position = list(inspect.signature(call).parameters).index(name) - 1  # without self

    def taken(*arguments: Any, **named: Any) -> int:
        return size(arguments[position] if position < len(arguments) else named[name])

    return taken


def _measured(
    name: str,
    call: Callable[..., Awaitable[Any]],
    metrics: Metrics,
    tracer: Tracer,
    size: Callable[..., int] | None,
) -> Callable[..., Awaitable[Any]]:
    span = f"storage.{name}"

    @wraps(call)
    async def measured(*arguments: Any, **named: Any) -> Any:
        with metrics.storage.timed(name), tracer.span(span):
            try:
                answer = await call(*arguments, **named)
            except StorageError as error:
                _failed(metrics, name, error)
                raise
        if size is not None:
            metrics.storage_bytes.add("written", by=size(*arguments, **named))
        return answer

    return measured


def _counted(read: Callable[..., AsyncGenerator[bytes]], metrics: Metrics) -> Callable[..., AsyncGenerator[bytes]]:
    """Reading lasts as long as the client takes, so it has no duration; its pieces are counted."""

    @wraps(read)
    async def counted(*arguments: Any, **named: Any) -> AsyncGenerator[bytes]:
        size = 0
        try:
            async with aclosing(read(*arguments, **named)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    yield piece
        except StorageError as error:
            _failed(metrics, "read", error)
            raise
        finally:
            metrics.storage_bytes.add("read", by=size)

    return counted


def _failed(metrics: Metrics, name: str, error: StorageError) -> None:
    """A key that is not there is an answer, and counted by its own name."""
    metrics.storage_errors.add(name, "missing" if isinstance(error, KeyMissing) else type(error).__name__)
