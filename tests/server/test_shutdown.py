"""SIGTERM: transfers are finished, idle connections are not waited for, a deadline and a second signal cut."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from .running import KIB, MIB, children, head, read_all, read_head, running

CONTENT = os.urandom(MIB) * 32


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_running_download_is_finished(tmp_path: Path, kind: str, workers: str) -> None:
    with running(tmp_path, "--server", kind, "--workers", workers) as server:
        place = server.push(CONTENT)
        with server.connect(buffer=64 * KIB) as connection:
            connection.sendall(head("GET", place))
            status, headers, first = read_head(connection)
            assert status == 200
            server.terminate()
            server.wait_refuses()
            rest = bytearray(first)
            while len(rest) < int(headers["content-length"]):
                if len(rest) % 7 == 0:
                    time.sleep(0.001)
                piece = connection.recv(64 * KIB)
                assert piece, f"cut after {len(rest)} of {headers['content-length']} bytes\n{server.said}"
                rest += piece
        assert hashlib.sha256(rest).digest() == hashlib.sha256(CONTENT).digest()
        assert server.ended() == 0
        assert "Traceback" not in server.said


def test_a_running_upload_is_finished(tmp_path: Path, kind: str) -> None:
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    with running(tmp_path, "--server", kind) as server:
        _, headers, _ = server.request("POST", "/v2/demo/app/blobs/uploads/")
        with server.connect() as connection:
            place = f"{headers['location']}{'&' if '?' in headers['location'] else '?'}digest={digest}"
            connection.sendall(head("PUT", place, f"Content-Length: {len(CONTENT)}"))
            connection.sendall(CONTENT[: 4 * MIB])
            time.sleep(0.3)
            server.terminate()
            server.wait_refuses()
            connection.sendall(CONTENT[4 * MIB :])
            status, _, said = read_head(connection)
            assert status == 201, said
        assert server.ended() == 0
        assert "Traceback" not in server.said
    with running(tmp_path, "--server", kind) as server:
        status, headers, _ = server.request("HEAD", f"/v2/demo/app/blobs/{digest}")
        assert (status, headers["content-length"]) == (200, str(len(CONTENT)))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_idle_connections_are_not_waited_for(tmp_path: Path, kind: str, tls: bool) -> None:
    with running(tmp_path, "--server", kind, *(("--tls", "self-signed") if tls else ())) as server:
        idle = [server.connect(secure=tls) for _ in range(5)]
        for connection in idle[1:]:  # the first has never asked anything
            connection.sendall(head("GET", "/healthz"))
            assert read_head(connection)[0] == 200
        idle[-1].sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")  # and the last is in the middle of its headers
        server.terminate()
        assert server.ended() == 0  # long before the 60 s that transfers have
        for connection in idle:
            connection.close()
        assert "Traceback" not in server.said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_deadline_cuts(tmp_path: Path, kind: str, workers: str) -> None:
    with running(
        tmp_path, "--server", kind, "--workers", workers, config="[server]\nshutdown_timeout = '2s'\n"
    ) as server:
        place = server.push(CONTENT)
        with server.connect(buffer=8 * KIB) as stuck, server.connect() as resting:
            stuck.sendall(head("GET", place))
            assert read_head(stuck)[0] == 200
            resting.sendall(head("GET", "/rest"))
            time.sleep(0.3)
            began = time.monotonic()
            server.terminate()
            assert server.ended() == 0
            assert time.monotonic() - began > 1.9
        assert "took longer than 2 s and" in server.said
        assert "Traceback" not in server.said


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("path", ["/rest", "/hang"])
def test_a_second_signal_ends_at_once(tmp_path: Path, kind: str, workers: str, path: str) -> None:
    with running(tmp_path, "--server", kind, "--workers", workers) as server, server.connect() as connection:
        connection.sendall(head("GET", path))
        time.sleep(0.5)
        server.terminate()
        time.sleep(0.5)
        assert server.process.poll() is None
        workers_alive = children(server.pid)
        server.process.send_signal(signal.SIGINT)
        assert server.ended() == 128 + signal.SIGINT  # long before the 60 s that transfers have
        for each in workers_alive:
            assert not Path(f"/proc/{each}").exists()


def test_a_manager_that_signals_all_of_them_ends_nothing_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        place = server.push(CONTENT)
        with server.connect(buffer=64 * KIB) as connection:
            connection.sendall(head("GET", place, "Connection: close"))
            _, headers, first = read_head(connection)
            os.killpg(server.pid, signal.SIGTERM)  # systemd does this; so does Ctrl+C in a terminal
            server.wait_refuses()
            assert len(first) + len(read_all(connection)) == int(headers["content-length"])
        assert server.ended() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_stops_and_a_hangup_does_not(tmp_path: Path, workers: str) -> None:
    with running(tmp_path, "--workers", workers) as server:
        os.killpg(server.pid, signal.SIGHUP)
        server.wait_for("SIGHUP is ignored")
        assert server.request("GET", "/healthz")[0] == 200
        os.killpg(server.pid, signal.SIGINT)
        assert server.ended() == 0


def test_what_was_received_before_a_cut_is_kept(tmp_path: Path) -> None:
    with running(tmp_path, config="[server]\nshutdown_timeout = '1s'\n") as server:
        _, headers, _ = server.request("POST", "/v2/demo/app/blobs/uploads/")
        with server.connect() as connection:
            connection.sendall(head("PATCH", headers["location"], f"Content-Length: {len(CONTENT)}"))
            connection.sendall(CONTENT[: 8 * MIB])
            time.sleep(0.5)
            server.terminate()
            assert server.ended() == 0
    with running(tmp_path) as server:
        status, found, _ = server.request("GET", headers["location"])
        assert status == 204
        assert int(found["range"].partition("-")[2]) + 1 >= 4 * MIB


def test_workers_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        alive = children(server.pid)
        assert len(alive) == 2
        port = server.port
        os.kill(server.pid, signal.SIGKILL)
        server.ended()
        end = time.monotonic() + 10
        while any(Path(f"/proc/{each}").exists() for each in alive):
            assert time.monotonic() < end, "workers outlive their parent"
            time.sleep(0.05)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
