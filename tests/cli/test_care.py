"""``corereg adopt``, ``fsck``, ``backup`` and ``restore``: what they print, and their exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.care.distribution import Distribution

from .conftest import Corereg

pytestmark = pytest.mark.corereg_files


@pytest.fixture
def there(house: Path) -> Distribution:
    """Another registry's folder, where this one's configuration looks for its storage."""
    (house / "corereg.toml").write_text('plugins = ["storage_fs", "./policy.py"]\ndata = "data"\n')
    made = Distribution(house / "data" / "storage")
    made.image("team/app", "1", layers=(b"layer",))
    return made


def test_adopt_says_what_it_took_over(corereg: Corereg, there: Distribution) -> None:
    result = corereg("adopt", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Would take over 1 manifests, 1 tags and 2 blobs of 1 repositories" in result.stdout
    result = corereg("adopt", "--json")
    assert json.loads(result.stdout)["manifests"] == 1
    assert "1 manifests were here before" in corereg("adopt").stdout


def test_adopt_with_problems_is_9(corereg: Corereg, there: Distribution) -> None:
    there.manifest("team/app", {"schemaVersion": 1, "fsLayers": []}, "old")
    result = corereg("adopt")
    assert result.exit_code == 9
    assert "Problems: 1 x schema1" in result.stdout
    assert "schema 1 manifests are no longer taken" in result.stderr


def test_fsck_is_0_or_9(corereg: Corereg, there: Distribution) -> None:
    assert corereg("adopt").exit_code == 0
    result = corereg("fsck", "--rehash", "--rate", "50MB/s")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "All is well."), result.output
    (path,) = [path for path in there.root.rglob("data") if path.read_bytes() == b"layer"]
    path.unlink()
    result = corereg("fsck", "--json")
    assert result.exit_code == 9
    assert json.loads(result.stdout)["problems"] == {"bytes-missing": 1}
    result = corereg("fsck", "--repair")
    assert "broken without it, until it is pushed again: team/app:1@sha256:" in result.stderr


def test_ctrl_c_says_how_to_go_on(corereg: Corereg, there: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("corereg.care.adopt.repository_links", interrupt)
        result = corereg("adopt")
    assert result.exit_code == 130
    assert "the same command goes on from there" in result.stderr
    assert "Took over 1 manifests" in corereg("adopt").stdout


@pytest.mark.parametrize("rate", ["fast", "0", "-1MB/s"])
def test_a_rate_is_a_size(corereg: Corereg, rate: str) -> None:
    assert corereg("fsck", f"--rate={rate}").exit_code == 2


def test_backup_verify_restore(corereg: Corereg, there: Distribution, house: Path) -> None:
    assert corereg("adopt").exit_code == 0
    result = corereg("backup", "create", "copy")
    assert result.exit_code == 0, result.output
    assert "2 blobs" in result.stdout
    assert "is whole: 2 blobs" in corereg("backup", "verify", "copy").stdout
    result = corereg("restore", "copy")
    assert result.exit_code == 1
    assert "is not empty: restore into a new one" in result.stderr
    result = corereg("restore", "copy", "--data", "new")
    assert result.exit_code == 0, result.output
    assert corereg("fsck", "--rehash", "--data", "new").stdout.splitlines()[-1] == "All is well."

    (path,) = [path for path in (house / "copy/blobs").rglob("*") if path.is_file() and path.read_bytes() == b"layer"]
    path.write_bytes(b"lbyer")
    result = corereg("backup", "verify", "copy")
    assert result.exit_code == 9
    assert f"{path.relative_to(house)} is damaged" in result.stdout
