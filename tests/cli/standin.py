"""Something on a socket that answers like a registry, as a test has written it down, and remembers what was asked.

For what a real registry would not show: a page too many, a redirect, an answer that is not JSON, the exact bytes of a
request. What registries do by themselves is tested against a registry.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    """One request: `target` as it stood on the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path.removeprefix("/api/v2.0")

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Answer(NamedTuple):
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}


class Standin:
    """`answers` are taken by ``METHOD /path``: one for good, or a list that is used up."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[Asked] = []

    def on(self, what: str, body: Any = None, *, status: int = 200, **headers: str) -> None:
        """Answer so from now on."""
        self.answers[what] = Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def then(self, what: str, *answers: Answer) -> None:
        """Answer so, one after the other."""
        self.answers[what] = list(answers)

    def last(self, method: str) -> Asked:
        return [each for each in self.asked if each.method == method][-1]

    def _answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path}")
        if isinstance(found, list):
            found = found.pop(0) if found else None
        if found is None:
            message = f"the test has no answer to {asked.method} {asked.path}"
            return Answer(404, {"errors": [{"code": "NOT_FOUND", "message": message}]})
        return found


@contextmanager
def standin(context: ssl.SSLContext | None = None) -> Iterator[Standin]:
    """A stand-in on a free port, over TLS where there is a `context`."""
    scheme = "http" if context is None else "https"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = there._answer(Asked(self.command, self.path, headers, body))
            data = answer.body if isinstance(answer.body, bytes) else b""
            if answer.body is not None and not data:
                data = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _do  # noqa: N815 - http.server's words

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    there = Standin(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
