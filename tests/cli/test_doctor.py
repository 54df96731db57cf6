"""`corereg doctor`: a healthy installation, and what it says of each illness. It changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from corereg.cli import CommandContext, cli
from corereg.doctor.address import names
from corereg.doctor.machine import kind_of

pytestmark = pytest.mark.corereg_files

PLUGINS = """
from corereg import EVERYTHING, Check, Finding, Identity, hookimpl


@hookimpl
def provide_checks(registry):
    async def moon():
        return [Finding("warn", "the moon is full", "wait for two weeks")]

    async def broken():
        raise ZeroDivisionError("oh")

    return [Check("moon", moon), Check("broken", broken), Check("late", broken, tables=True)]
"""
Doctor = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Exit status, and findings by check."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COREREG_ADMIN_PASSWORD", "Doctor-secret-12345")

    def run(config: str = "", *arguments: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        text = config if "plugins =" in config else f'plugins = ["storage_fs", "accounts"]\n{config}'
        (tmp_path / "corereg.toml").write_text(text)
        done = CliRunner().invoke(cli, ["doctor", "--json", *arguments], obj=CommandContext())
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        found: dict[str, list[dict[str, str]]] = {}
        for each in json.loads(done.stdout):
            found.setdefault(each.pop("check"), []).append(each)
        return done.exit_code, found

    return run


@pytest.fixture
def started(tmp_path: Path, doctor: Doctor) -> Path:
    """A data folder as a start leaves it."""
    doctor()
    done = CliRunner().invoke(cli, ["user", "list", "--local"], obj=CommandContext())
    assert done.exit_code == 0, done.output
    return tmp_path / "corereg-data"


def state(folder: Path) -> Mapping[str, str]:
    """Every file but SQLite's scratch, with what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def statuses(found: Mapping[str, list[dict[str, str]]]) -> dict[str, str]:
    order = ("ok", "warn", "fail")
    return {name: max((each["status"] for each in told), key=order.index) for name, told in found.items()}


EXPIRED = (
    "INSERT INTO uploads (id, repository, subject, algorithm, received, state, leased_until, created_at, updated_at)"
    " VALUES ('u', 'a/b', 's', 'sha256', 7, '{}', 0, 0, 0)"
)
AHEAD = 4_102_444_800_000_000
"""The year 2100."""
PORT = "[server]\nport = 1\n"
"""Where nobody listens."""


def test_before_the_first_start_nothing_is_made(doctor: Doctor, tmp_path: Path) -> None:
    status, found = doctor(PORT)
    assert status == 1
    assert statuses(found)["database"] == statuses(found)["storage"] == statuses(found)["data folder"] == "warn"
    assert not (tmp_path / "corereg-data").exists()


def test_a_healthy_one_is_told_so_and_left_as_it_was(doctor: Doctor, started: Path) -> None:
    before = state(started)
    status, found = doctor(PORT)
    assert status in {0, 1}, found  # a machine's disk may be fuller than we like
    wrong = {name for name, each in statuses(found).items() if each != "ok"} - {"data folder"}
    assert not wrong, found
    assert found["accounts: administrators"][0]["found"] == "admin"
    assert state(started) == before
    assert not list((started / "storage").glob("corereg/uploads/*")), "the probe is gone"


def test_a_folder_that_others_may_read(doctor: Doctor, started: Path) -> None:
    started.chmod(0o755)
    status, found = doctor(PORT)
    assert status == 1
    assert "chmod 700" in found["data folder"][0]["do"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_storage_that_cannot_be_written(doctor: Doctor, started: Path) -> None:
    (started / "storage" / "corereg" / "uploads").mkdir(parents=True, exist_ok=True)
    (started / "storage" / "corereg" / "uploads").chmod(0o500)
    try:
        status, found = doctor(PORT)
    finally:
        (started / "storage" / "corereg" / "uploads").chmod(0o700)
    assert (status, statuses(found)["storage"]) == (2, "fail")


def test_a_storage_whose_folder_is_a_file(doctor: Doctor, started: Path) -> None:
    (started / "storage" / "corereg").mkdir(parents=True, exist_ok=True)
    (started / "storage" / "corereg" / "uploads").write_text("in the way")
    status, found = doctor(PORT)
    assert (status, statuses(found)["storage"]) == (2, "fail")


@pytest.mark.parametrize(
    ("sql", "check", "status", "said"),
    [
        ("UPDATE accounts_users SET disabled = 1", "accounts: administrators", "fail", "nobody"),
        ("UPDATE accounts_users SET password_hash = ''", "accounts: administrators", "warn", "no administrator has"),
        ("UPDATE signing_keys SET created_at = 0", "signing keys", "warn", "days old"),
        ("UPDATE alembic_version_accounts SET version_num = 'accounts0001'", "tables", "warn", "the newest is"),
        ("INSERT INTO journal_cursors (reader, serial, leased_until) VALUES ('gone', 0, 0)", "journal", "warn", "gone"),
        (f"INSERT INTO condemned (storage_key, leased_until) VALUES ('key', {AHEAD})", "leases", "warn", "1 deletions"),
        (f"INSERT INTO collector_holds (name, until) VALUES ('backup', {AHEAD})", "leases", "warn", "1 holds"),
        (EXPIRED, "uploads", "warn", "1 expired ones with 7 bytes"),
    ],
)  # fmt: skip
def test_what_the_database_tells(doctor, started, sql, check, status, said) -> None:
    connection = sqlite3.connect(started / "corereg.db")
    if "alembic" in sql:
        (table,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%version%' AND name LIKE '%accounts%'"
        ).fetchone()
        sql = sql.replace("alembic_version_accounts", table)
    with connection:
        connection.execute(sql)
    connection.close()
    code, found = doctor(PORT)
    assert statuses(found)[check] == status
    assert any(said in each["found"] for each in found[check])
    assert all(each["do"] for each in found[check] if each["status"] != "ok")
    assert code == {"warn": 1, "fail": 2}[status]


def test_a_file_that_is_no_database(doctor: Doctor, started: Path) -> None:
    for path in started.glob("corereg.db*"):
        path.unlink()
    (started / "corereg.db").write_bytes(b"no database at all, but long enough to be looked at\n" * 100)
    status, found = doctor(PORT)
    assert (status, statuses(found)["database"]) == (2, "fail")


def test_a_configuration_that_does_not_hold(doctor: Doctor) -> None:
    status, found = doctor('plugins = ["storage_fs"]\n[accounts]\nanonymous = "pull"\n')
    assert (status, list(found)) == (2, ["configuration"])


def test_addresses_that_cannot_be_meant(doctor: Doctor, started: Path) -> None:
    config = '[server]\nport = 1\nexternal_url = "http://127.0.0.1:1"\ntrusted_proxies = ["0.0.0.0/0"]\n'
    _, found = doctor(config)
    assert statuses(found)["trusted proxies"] == "warn"
    assert "does not answer" in found["external_url"][0]["found"]


def test_plugins_add_checks_and_one_that_fails_is_told(doctor: Doctor, started: Path, tmp_path: Path) -> None:
    (tmp_path / "moon.py").write_text(PLUGINS)
    status, found = doctor(f'plugins = ["storage_fs", "accounts", "./moon.py"]\n{PORT}')
    assert status == 1
    assert found["moon: moon"] == [{"status": "warn", "found": "the moon is full", "do": "wait for two weeks"}]
    assert "ZeroDivisionError" in found["moon: broken"][0]["found"]


def test_for_people_each_finding_is_a_line_and_its_remedy_another(doctor: Doctor, started: Path) -> None:
    started.chmod(0o755)
    doctor(PORT)
    done = CliRunner().invoke(cli, ["doctor"], obj=CommandContext())
    lines = done.stdout.splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("warn  data folder: others may look"))
    assert lines[place + 1].startswith("      do: chmod 700")


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = [("/", "ext4"), ("/srv", "nfs4"), ("/srv/local", "xfs"), ("/srvx", "cifs")]
    assert kind_of(Path("/srv/data/corereg.db"), mounts) == "nfs4"
    assert kind_of(Path("/srv/local/corereg.db"), mounts) == "xfs"
    assert kind_of(Path("/home/corereg.db"), mounts) == "ext4"
    assert kind_of(Path("/home/corereg.db"), []) is None


def test_a_name_on_a_certificate(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    cert = tmp_path / "cert.pem"
    trustme.CA().issue_cert("registry.example.com", "*.example.org", "192.0.2.1").cert_chain_pems[0].write_to_path(cert)
    for host, good in (
        ("registry.example.com", True), ("Registry.Example.com", True), ("a.example.org", True),
        ("a.b.example.org", False), ("example.org", False), ("192.0.2.1", True), ("192.0.2.2", False),
    ):  # fmt: skip
        assert names(host, cert) is good, host
