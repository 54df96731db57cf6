"""One format for every line on standard error: ours, the plugins', the server's."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time
import traceback
from typing import Any

import msgspec

from corereg.config import LogConfig
from corereg.messages import CURRENT

_SECRETS = re.compile(
    r"(?i)(://[^\s/:@]*:)[^\s/@]+(?=@)"  # passwords in URLs
    r"|(\b(?:basic|bearer)\s+)[a-z0-9._~+/=-]{8,}"  # Authorization headers
    r"|()\beyJ[a-z0-9_-]{8,}\.[a-z0-9_-]+\.[a-z0-9_-]+"  # tokens
)
_QUIET = ("hypercorn", "uvicorn", "_granian", "asyncio", "sqlalchemy", "alembic", "fsspec")
"""Loggers that tell at `info` what start-up has told already."""


def without_secrets(text: str) -> str:
    """Text without passwords in URLs, Authorization headers and tokens."""
    return _SECRETS.sub(lambda found: f"{found[1] or found[2] or ''}***", text)


def _printable(text: str) -> str:
    """Text on one line: what a client sent must not look like a line of ours."""
    return text if text.isprintable() else "".join(s if s.isprintable() else f"\\x{ord(s):02x}" for s in text)


class TextFormatter(logging.Formatter):
    """``2026-11-23 19:12:03.120 warning corereg.http.app [request] message``; between requests without one."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{stamp}.{int(record.msecs):03d} {record.levelname.lower():7} {record.name}"
        request = _request()
        line = f"{head} {f'[{request}]' if request else ''} {_printable(record.getMessage())}"
        trace = _trace(record)
        return without_secrets(f"{line}\n{trace}" if trace else line)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, process; perhaps request and exception.

    The line of a request has its fields apart, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            "process": record.process,
        }
        request = _request()
        if request:
            fields["request"] = request
        for name, value in getattr(record, "fields", {}).items():
            fields[name] = without_secrets(value) if isinstance(value, str) else value
        trace = _trace(record)
        if trace:
            fields["exception"] = without_secrets(trace)
        return msgspec.json.encode(fields).decode()


def _request() -> str:
    """The id of the request that is being answered where this is logged."""
    request = CURRENT.get()
    return "" if request is None else request.id


def _trace(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return ""


def start_logging(config: LogConfig) -> None:
    """Send everything that is logged in this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(config.level.upper())
    level = max(logging.WARNING, root.level) if root.level > logging.DEBUG else logging.INFO
    for name in _QUIET:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)


def on_loop_error(_loop: object, context: dict[str, Any]) -> None:
    """What nobody awaited: a client's broken handshake is no news, anything else is."""
    error = context.get("exception")
    # ssl.SSLError, resets and broken handshakes; connections that were cut (Python 3.11's streams report those)
    if isinstance(error, OSError | asyncio.CancelledError):
        logging.getLogger("asyncio").debug("%s: %r", context.get("message"), error)
        return
    logging.getLogger("asyncio").error("%s", context.get("message"), exc_info=error)


def hush() -> None:
    """From here on the HTTP server may keep to itself that requests and connections break off: we cut them."""
    for name in ("hypercorn.error", "uvicorn.error", "_granian", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
