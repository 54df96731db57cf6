"""The whole wire contract, and its upload machine, against `corereg serve` as people run it: servers and workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

WIRE = Path(__file__).with_name("test_wire.py")


@pytest.mark.parametrize(("kind", "workers"), [("hypercorn", 1), ("hypercorn", 2), ("uvicorn", 1), ("uvicorn", 2)])
def test_the_wire_contract_holds(tmp_path: Path, kind: str, workers: int) -> None:
    server = Served(tmp_path / "data", tmp_path / "log", kind=kind, workers=workers)
    lacks = [] if kind == "hypercorn" else ["--corereg-lacks", "strict_framing"]  # its parser is laxer than ours would be
    server.start()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", str(WIRE), "-q", "-x", "-p", "no:cacheprovider"),
                *("--corereg-url", server.url, "--corereg-user", ADMINISTRATOR, "--corereg-password-env", "SECRET"),
                *lacks,
            ],
            env={**os.environ, "SECRET": PASSWORD},
            cwd=WIRE.parents[2],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    finally:
        server.stop()
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "Traceback" not in server.log.read_text()
    assert server.process is not None
    assert server.process.returncode == 0
