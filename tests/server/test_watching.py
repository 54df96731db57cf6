"""What an operator sees of a server that runs: numbers of all workers, and lines that belong to their requests."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from corereg.testing.serving import free_port

from .running import SIGNED_IN, Running, children, running

HEALTH = 'corereg_http_requests_total{method="GET",operation="process",code="200"}'
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def scraped(server: Running) -> dict[str, float]:
    status, _, said = server.request("GET", "/metrics")
    assert status == 200, said
    return samples(said)


def samples(text: bytes) -> dict[str, float]:
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def settled(server: Running, name: str, wanted: float) -> dict[str, float]:
    """Workers put down what they have counted once a second."""
    end = time.monotonic() + 20
    while (found := scraped(server)).get(name) != wanted:
        assert time.monotonic() < end, f"{name} is {found.get(name)}, not {wanted}"
        time.sleep(0.1)
    return found


def test_one_scrape_tells_of_all_workers_and_of_those_that_died(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "2") as server:
        answered: dict[int, int] = {}
        for _ in range(60):
            process = json.loads(server.request("GET", "/process")[2])["process"]
            answered[process] = answered.get(process, 0) + 1
        assert len(answered) == 2, "both workers answered"
        found = settled(server, HEALTH, 60)
        assert {f'process_start_time_seconds{{worker="{place}"}}' for place in (1, 2)} <= set(found)
        victim = min(children(server.pid))
        os.kill(victim, signal.SIGKILL)
        server.wait_for("was ended by signal 9; starting another")
        end = time.monotonic() + 15
        while len(set(children(server.pid)) - {victim}) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert settled(server, HEALTH, 60)
        for _ in range(20):
            server.request("GET", "/process")
        settled(server, HEALTH, 80)
        for _ in range(10):
            assert scraped(server)[HEALTH] == 80, "whichever worker is asked"


def test_a_port_of_its_own_answers_metrics_alone(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, "--workers", "2", config=f"[metrics]\nport = {port}\n") as server:
        server.request("GET", "/process")
        end = time.monotonic() + 20
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                if samples(answer.read()).get(HEALTH) == 1:
                    break
            assert time.monotonic() < end
            time.sleep(0.1)
        for path, status in (("/v2/", 404), ("/healthz", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10)
            assert refused.value.code == status
            refused.value.close()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as rude:
            rude.sendall(b"GET /metrics" + b"x" * 100_000)
            rude.shutdown(socket.SHUT_WR)
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).status == 200
        server.terminate()
        assert server.ended() == 0
        assert "Traceback" not in server.said


def test_every_answer_has_a_number_and_every_line_of_it_too(tmp_path: Path, kind: str) -> None:
    config = '[log]\nformat = "json"\naccess = true\n'
    with running(tmp_path, "--server", kind, config=config) as server:
        for path in ("/v2/", "/healthz", "/nowhere", "/service/token?service=corereg"):
            _, headers, _ = server.request("GET", path, headers={"X-Request-Id": "mine-1"})
            assert headers["x-request-id"] == "mine-1", path
        numbers = {server.request("GET", "/v2/")[1]["x-request-id"] for _ in range(5)}
        assert len(numbers) == 5
        assert all(UUID.match(number) for number in numbers)
        for hostile in ("a" * 129, "a b", "a\tb", 'a"b', "é"):
            number = server.request("GET", "/v2/", headers={"X-Request-Id": hostile})[1]["x-request-id"]
            assert UUID.match(number), hostile
        server.terminate()
        assert server.ended() == 0
        lines = [json.loads(line) for line in server.said.splitlines() if line.startswith("{")]
        told = [line for line in lines if line["logger"] == "corereg.access"]
        first = next(line for line in told if line["operation"] == "check" and line["request"] == "mine-1")
        assert first["identity"] == "admin"
        assert (first["status"], first["method"], first["address"], first["sent"]) == (200, "GET", "127.0.0.1", 2)
        assert numbers <= {line["request"] for line in told}


def test_no_line_holds_a_secret(tmp_path: Path, kind: str) -> None:
    config = '[log]\nlevel = "debug"\naccess = true\n[metrics]\ntoken = "metrics-secret-0123456789"\n'
    with running(tmp_path, "--server", kind, config=config) as server:
        bearer = json.loads(server.request("GET", "/service/token?service=corereg")[2])["token"]
        wrong = "Basic " + base64.b64encode(b"admin:wrong-password-1").decode()
        server.request(
            "GET", f"/v2/?token={bearer}&password=query-secret", headers={"Authorization": f"Bearer {bearer}"}
        )
        server.request("GET", "/v2/", headers={"Authorization": wrong})
        server.request(
            "GET", "/service/token?account=admin&password=query-secret", headers={"Authorization": SIGNED_IN}
        )
        server.request("GET", "/metrics", headers={"Authorization": "Bearer metrics-secret-0123456789"})
        server.request("POST", "/service/token", b"grant_type=password&username=admin&password=form-secret")
        server.terminate()
        assert server.ended() == 0
        said = server.said
        assert "operation=get_metrics status=200" in said
        words = ("query-secret", "metrics-secret", "form-secret", "wrong-password-1")
        for secret in (*words, bearer, bearer.split(".")[2], wrong.split()[1], SIGNED_IN.split()[1]):
            assert secret not in said


def test_a_path_cannot_begin_a_line_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path, config="[log]\naccess = true\n") as server:
        server.request("GET", "/x%0a2026-01-01%20forged%0d%1b[31m")
        server.terminate()
        server.ended()
        (line,) = [line for line in server.said.splitlines() if "forged" in line]
        assert "\\x0a2026" in line
        assert "\x1b" not in line
