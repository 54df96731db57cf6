"""An answer does not wait for what its client announced and never sends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from corereg import asgi
from corereg.http import delivery
from corereg.testing.registry import scratch

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("length", [5, 5_000_000])
async def test_a_body_that_never_comes_does_not_hold_up_its_refusal(tmp_path: Path, length: int) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append((time.monotonic(), message))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v2/",
        "query_string": b"",
        "headers": [(b"host", b"registry.test"), (b"content-length", str(length).encode())],
        "client": ("192.0.2.1", 1234),
        "server": ("registry.test", 80),
    }
    async with scratch(tmp_path) as registry:
        with anyio.fail_after(delivery.PATIENCE + delivery.LINGER + 20):
            await asgi(registry)(scope, receive, send)
    assert sent[0][1]["status"] == 401
    assert (b"connection", b"close") in sent[0][1]["headers"]
    assert b"UNAUTHORIZED" in sent[1][1]["body"], "the whole answer is out before anybody waits"
    assert sent[-1][0] - sent[1][0] > delivery.LINGER * 0.9
    assert sent[-1][1] == {"type": "http.response.body", "body": b""}
