"""Programs of other people, run as they are: find one, run it, read what it printed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

PATIENCE = 120  # seconds; docker asks a refusing server again for about 50


class Outcome(NamedTuple):
    """What a program left: its exit status, and both of its outputs as one text."""

    command: str
    status: int
    text: str


def missing(sentence: str) -> NoReturn:
    """Skip with one line; where nothing may be missing (CI=true), fail with it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {sentence}", pytrace=False)
    pytest.skip(sentence)


def require(tool: str) -> str:
    """The path of a program, or `missing`."""
    return shutil.which(tool) or missing(f"{tool} is not installed (on Debian, as root: scripts/servers)")


def require_root() -> None:
    if os.geteuid() != 0:
        missing("this test needs root")


def run(
    *command: str | Path,
    status: int | None = 0,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
) -> Outcome:
    """Run a program to its end and demand its exit status; None takes any but zero.

    `env` is added to the environment of the tests, from which proxies and other people's logins are taken out.
    """
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        env={**clean_environment(), **(env or {})},
        input=stdin,
        cwd=cwd,
        timeout=PATIENCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    outcome = Outcome(" ".join(map(str, command)), done.returncode, done.stdout)
    expected = done.returncode != 0 if status is None else done.returncode == status
    assert expected, f"{outcome.command}\nexit status {outcome.status}\n{outcome.text}"
    return outcome


def clean_environment() -> dict[str, str]:
    """The environment without what would lead a client elsewhere than to the server of the test."""
    prefixes = ("DOCKER_", "BUILDAH_", "CONTAINERS_", "REGISTRY_AUTH_FILE", "COREREG_")
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(prefixes) and name.lower() not in proxies
    }
