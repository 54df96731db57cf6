"""What never reaches the application is refused in the same words."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from corereg.server.sockets import HEADERS

from .running import running

START = b"POST /v2/demo/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("kind", ["hypercorn", "uvicorn"])
def test_no_http_is_refused_with_the_envelope(tmp_path: Path, kind: str) -> None:
    pytest.importorskip(kind, reason=f"{kind} is not installed: pip install 'corereg[{kind}]'")
    with running(tmp_path, "--server", kind) as server:
        for text, status, code in [
            (b"\x16\x03\x01\r\n\r\n", {400}, "NAME_INVALID"),
            (START + b"Content-Length: -1\r\n\r\n", {400}, "NAME_INVALID"),
            (START + b"Transfer-Encoding: gzip\r\n\r\n", {400, 501}, ""),
            (START + b"X: " + b"a" * HEADERS, {431}, "UNSUPPORTED"),
        ]:
            with server.connect() as connection:
                connection.sendall(text)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                assert answer.status in status
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["connection"] == "close"
                (error,) = json.loads(answer.read())["errors"]
                assert error["message"]
                assert not code or error["code"] == code
        assert server.request("GET", "/healthz")[0] == 200
        assert "Traceback" not in server.said
