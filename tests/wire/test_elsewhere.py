"""The contract as others run it: from a folder of their own, by the command in the documentation."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def _pytest(folder: Path, *arguments: str) -> str:
    """What pytest prints in a folder that has no configuration."""
    command = [sys.executable, "-m", "pytest", *arguments, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return done.stdout


def test_the_documented_command_collects_the_contract(tmp_path: Path) -> None:
    (line,) = re.findall(r"^pytest (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shown = _pytest(tmp_path, *shlex.split(line), "--collect-only")
    assert "::TestWire::test_the_base_answers_200[GET]" in shown
    assert "::TestWire::test_a_slow_client_is_waited_for" in shown


@pytest.mark.parametrize("lacks", ["socket", "strict_framing", "auth"])
def test_what_is_lacking_skips_its_own_tests_alone(tmp_path: Path, lacks: str) -> None:
    shown = _pytest(
        tmp_path,
        *("-p", "corereg.testing.plugin", "--pyargs", "corereg.testing.wire"),
        *("--corereg-lacks", lacks, "-k", "test_the_base_answers_200 or test_a_stranger_at_the_base"),
    )
    assert ("2 passed, 1 skipped" if lacks == "auth" else "3 passed") in shown
