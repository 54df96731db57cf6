"""What start-up says, and what keeps a registry from starting: one sentence, never a traceback."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from corereg.cli import cli
from corereg.config import Config, LogConfig, ServerConfig
from corereg.server import banner, worker
from corereg.server.failure import ServerError
from corereg.server.logs import JSONFormatter, TextFormatter, without_secrets

from .running import POLICY, Running, head, make_house, read_head, running


def told(folder: Path, *arguments: str, **how) -> str:
    """What a start that fails says after its headline."""
    server = Running(folder, *arguments, **how)
    try:
        assert server.ended() == 1, server.said
    finally:
        server.kill()
    assert "Traceback" not in server.said
    errors = [line for line in server.said.splitlines() if not line.startswith("corereg ")]
    assert len(errors) == 1, errors
    assert errors[0].startswith("Error: ")
    return errors[0]


# ---- what is said ----


def test_the_banner(tmp_path: Path) -> None:
    with running(tmp_path, config="[server]\nexternal_url = 'https://reg.example.com'\n") as server:
        lines = server.said.splitlines()
    assert re.fullmatch(r"corereg \S+ · Python 3\.\d+ · 2 plugins · config \S+/corereg\.toml", lines[0])
    where = r"  registry   http://127\.0\.0\.1:\d+/v2/          \(clients use https://reg\.example\.com\)"
    assert re.fullmatch(where, lines[1])
    kept = r"  storage    fs:\S+/storage  \d\S* [kMGT]B free · database sqlite:\S+/corereg\.db \(schema \w+, current\)"
    assert re.fullmatch(kept, lines[2])
    assert lines[3] == (
        "! external_url is https but this listener is http: put a TLS proxy in front, or set server.tls.cert"
    )
    assert re.fullmatch(r"Ready in \d+\.\d s\. Ctrl\+C stops\.", lines[4])
    assert len(lines) == 5


def test_passwords_in_the_clear_are_warned_of() -> None:
    def warnings(**server: object) -> list[str]:
        return list(banner.warnings(Config(server=ServerConfig(**server)), None))

    assert not warnings()
    assert not warnings(host="192.0.2.7")
    for host in ("0.0.0.0", "::"):
        assert "in the clear" in warnings(host=host)[0]
    assert "listener is http" in warnings(host="0.0.0.0", external_url="https://x")[0]


def test_no_secret_is_in_the_banner(tmp_path: Path) -> None:
    policy = (
        POLICY
        + """
from fsspec.implementations.memory import MemoryFileSystem
from corereg import FsspecStorage

@hookimpl
def provide_storage(url):
    return FsspecStorage(MemoryFileSystem(), "/x") if url.startswith("memory:") else None
"""
    )
    config = "[storage]\nurl = 'memory://user:hunter2@host/x?secret=hunter2'\n"
    with running(tmp_path, policy=policy, config=config) as server:
        assert "hunter2" not in server.said
        assert "***" in server.said


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (82_431_000_000, "82 GB"), (4_100_000_000_000, "4.1 TB")]
)
def test_sizes(size: int, text: str) -> None:
    assert banner.readable(size) == text


# ---- what keeps it from starting ----


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = told(tmp_path, "--workers", workers, port=port)
    assert said == (
        f"Error: port {port} on 127.0.0.1 is in use: stop who listens there, or take another one with --port"
    )


def test_two_registries_do_not_share_a_port(tmp_path: Path) -> None:
    with running(tmp_path / "one", "--workers", "2") as first:
        assert "is in use" in told(tmp_path / "two", "--workers", "2", port=first.port)
        assert first.request("GET", "/healthz")[0] == 200


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    assert "192.0.2.1 is no address of this machine" in told(tmp_path, "--host", "192.0.2.1")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_data_folder_that_cannot_be(tmp_path: Path, workers: str) -> None:
    (tmp_path / "file").touch()
    said = told(tmp_path, "--workers", workers, "--data", str(tmp_path / "file" / "data"))
    assert str(tmp_path / "file") in said
    assert "Not a directory" in said


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg", reason="asyncpg is not installed: pip install 'corereg[postgres]'")
    environment = {"COREREG__DATABASE__URL": "postgresql://u:hunter2@127.0.0.1:9/x"}
    said = told(tmp_path, environment=environment)
    assert "does not answer" in said
    assert "hunter2" not in said


def test_a_configuration_with_a_mistake(tmp_path: Path) -> None:
    said = told(tmp_path, config="[server]\nprot = 1\n")
    assert said.endswith("corereg.toml:3  unknown key server.prot - did you mean port?")


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    environment = {"COREREG__PLUGINS": "storage_f, ./policy.py"}
    assert "'storage_f' is not installed - did you mean storage_fs?" in told(tmp_path, environment=environment)


def test_a_server_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"granian is not installed: run `.*-m pip install 'corereg\[granian\]'`"):
        worker.server("granian")


# ---- --check-only ----


def test_check_only_looks_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_house(tmp_path)
    monkeypatch.chdir(tmp_path)  # not the folder of whoever has just tried `scripts/serve` here
    result = CliRunner().invoke(cli, ["serve", "--config", str(file), "--port", "0", "--check-only"])
    assert result.exit_code == 0, result.output
    assert "It would start." in result.stdout
    assert "schema none, to be upgraded to" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corereg.toml", "policy.py"]


def test_check_only_finds_what_a_start_would(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "is in use" in told(tmp_path, "--check-only", port=other.getsockname()[1])
    assert "unknown key" in told(tmp_path, "--check-only", config="[server]\nprot = 1\n")


# ---- the log ----


def record(message: str, *arguments: object):
    return logging.LogRecord("corereg.x", logging.WARNING, "f", 1, message, arguments, None)


def test_one_line_is_one_event() -> None:
    forged = record("%s is refused", "demo\n2026-01-01 00:00:00.000 error corereg  forged\x1b[2J")
    text = TextFormatter().format(forged)
    assert "\n" not in text
    assert "\x1b" not in text
    assert text.endswith("warning corereg.x  demo\\x0a2026-01-01 00:00:00.000 error corereg  forged\\x1b[2J is refused")
    found = json.loads(JSONFormatter().format(forged))
    assert found["level"] == "warning"
    assert found["message"].startswith("demo\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:hunter2@db/x fails", "postgresql://u:***@db/x fails"),
        ("Authorization: Basic YWRtaW46c2VjcmV0", "Authorization: Basic ***"),
        ("sent bearer abc.DEF-123_45 twice", "sent bearer *** twice"),
        ("token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln here", "token *** here"),
        ("http://127.0.0.1:8080/v2/ and a@b", "http://127.0.0.1:8080/v2/ and a@b"),
        ("basic facts", "basic facts"),
    ],
)
def test_secrets_do_not_reach_it(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


FAILING = (
    POLICY
    + """
async def fail(session):
    raise RuntimeError("postgresql://u:hunter2@db fails")

@hookimpl
def provide_schema():
    import logging
    logging.getLogger("a.plugin").warning("hello from a plugin")
"""
).replace('Route("GET", "/rest"', 'Route("GET", "/fail", fail, needs=OPEN), Route("GET", "/rest"')


@pytest.mark.parametrize("workers", ["1", "2"])
def test_json_is_all_there_is(tmp_path: Path, kind: str, workers: str) -> None:
    with running(
        tmp_path, "--server", kind, "--workers", workers, policy=FAILING, config="[log]\nformat = 'json'\n"
    ) as server:
        assert server.request("GET", "/fail")[0] == 500
        with server.connect() as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            connection.recv(100)
        said = server.said.splitlines()
    lines = [json.loads(line) for line in said if line.startswith("{")]
    assert {line["logger"] for line in lines} >= {"a.plugin", "corereg.http.app"}
    failed = next(line for line in lines if line["logger"] == "corereg.http.app")
    assert "RuntimeError" in failed["exception"]
    assert "hunter2" not in "".join(said)
    told_people = [line for line in said if not line.startswith("{")]
    assert all(line.startswith(("corereg ", "  registry ", "  storage ", "Ready in")) for line in told_people)


def test_a_level_is_kept_to(tmp_path: Path) -> None:
    with running(tmp_path, policy=FAILING, config="[log]\nlevel = 'error'\n") as server:
        assert "hello from a plugin" not in server.said
    assert LogConfig().level == "info"


# ---- all servers are alike ----


def test_headers_that_servers_add(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind) as server:
        _, headers, _ = server.request("GET", "/v2/")
        assert headers.get("server") == ("granian" if kind == "granian" else None)  # granian's cannot be taken away
        assert "date" in headers or kind == "granian"


def test_a_connection_is_kept(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        ports: list[Sequence[object]] = []
        for _ in range(50):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ready"}'
            assert connection.sock is not None
            ports.append(connection.sock.getsockname())
        connection.close()
        assert len(set(ports)) == 1


def test_forwarded_headers_are_not_the_servers_affair(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, "--server", kind) as server, server.connect() as connection:
        request = head("GET", "/v2/", "X-Forwarded-Proto: https", "X-Forwarded-For: 10.0.0.1", "Connection: close")
        connection.sendall(request.replace(b"Basic YWRtaW46c2VjcmV0", b"Other x"))
        status, headers, _ = read_head(connection)
        assert status == 401
        assert headers["www-authenticate"].startswith('Bearer realm="http://x/')


def test_a_body_has_no_limit_in_the_server(tmp_path: Path, kind: str) -> None:
    content = os.urandom(1024 * 1024) * 40
    with running(tmp_path, "--server", kind) as server:
        assert server.request("GET", server.push(content))[2] == content
