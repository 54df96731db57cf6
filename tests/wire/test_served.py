"""The whole wire contract, and its upload machine, against `corereg serve` as people run it: servers and workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

WIRE = Path(__file__).with_name("test_wire.py")
SHAPES = [("hypercorn", 1), ("uvicorn", 1), ("hypercorn", 2), ("uvicorn", 2), ("granian", 2)]
LAXER = {kind: ["--corereg-lacks", "strict_framing"] for kind in ("uvicorn", "granian")}
"""Their parsers decide about odd framing before we are asked."""


class Run:
    """One run of the contract: what pytest said, and how the server ended."""

    def __init__(self, folder: Path, kind: str, workers: int) -> None:
        server = Served(folder / "data", folder / "log", kind=kind, workers=workers)
        server.start()
        try:
            self.done = subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", str(WIRE), "-q", "-x", "-p", "no:cacheprovider"),
                    *("--corereg-url", server.url, "--corereg-user", ADMINISTRATOR),
                    *("--corereg-password-env", "SECRET", *LAXER.get(kind, ())),
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
        self.log = server.log.read_text()
        self.ended = server.process.returncode if server.process else None


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[tuple[str, int], Future[Run]]]:
    """All shapes, two at a time: each waits a good deal."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            (kind, workers): pool.submit(Run, tmp_path_factory.mktemp(f"{kind}{workers}"), kind, workers)
            for kind, workers in SHAPES
        }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_wire_contract_holds(runs: Mapping[tuple[str, int], Future[Run]], shape: tuple[str, int]) -> None:
    run = runs[shape].result()
    assert run.done.returncode == 0, run.done.stdout[-8000:] + run.done.stderr[-2000:]
    assert " passed" in run.done.stdout
    assert "Traceback" not in run.log
    assert run.ended == 0, run.log[-2000:]
