"""What comes back: judged, and shown whole when it is not what was expected."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import urlencode

import httpx2


def error_codes(answer: httpx2.Response) -> list[str]:
    """The codes in an answer's error envelope; empty when the body is no such envelope."""
    try:
        errors = json.loads(answer.content)["errors"]
        return [str(error["code"]) for error in errors]
    except (ValueError, KeyError, TypeError):
        return []


def exchange(answer: httpx2.Response) -> str:
    """Request and answer as text, for a person who reads a failing test."""
    request = answer.request
    target = bytes(request.extensions.get("target", request.url.raw_path)).decode("latin-1")
    lines = [f"{request.method} {target}"]
    lines += [f"  {name}: {_shown(name, value)}" for name, value in request.headers.multi_items()]
    lines += [f"answer: {answer.status_code}"]
    lines += [f"  {name}: {value}" for name, value in answer.headers.multi_items()]
    with suppress(httpx2.ResponseNotRead):
        lines.append(f"  {answer.content[:500]!r}")
    return "\n".join(lines)


def _shown(name: str, value: str) -> str:
    return value.split(" ", maxsplit=1)[0] + " ..." if name.lower() == "authorization" else value


def expect(answer: httpx2.Response, *statuses: int, code: str | None = None) -> httpx2.Response:
    """Hand `answer` back when its status is one of `statuses` (and its first error code is `code`), else fail.

    Answers to HEAD carry no body, so `code` is not looked for there.
    """
    if answer.status_code not in statuses:
        wanted = " or ".join(str(status) for status in statuses)
        raise AssertionError(f"expected {wanted}, got {answer.status_code}\n{exchange(answer)}")
    if code is not None and answer.request.method != "HEAD" and code not in error_codes(answer):
        raise AssertionError(f"expected the error code {code}, got {error_codes(answer)}\n{exchange(answer)}")
    return answer


def with_query(location: str, **parameters: str) -> str:
    """`location` with more query parameters; those it has are kept (a session's state may ride on them)."""
    return location + ("&" if "?" in location else "?") + urlencode(parameters)
