"""`corereg login`, `logout`, `whoami`, `context`: who is sent where, and what is kept."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from pathlib import Path

import pytest

from corereg.client.asking import can_ask

from .conftest import Corereg
from .standin import Standin, standin

PASSWORD = "Correct-horse-7"
ALICE = {"username": "alice", "user_id": 3, "sysadmin_flag": False, "email": "alice@example.com"}


@pytest.fixture
def place(there: Standin, monkeypatch: pytest.MonkeyPatch) -> Standin:
    """Nobody is signed in yet."""
    monkeypatch.delenv("COREREG_URL")
    monkeypatch.delenv("COREREG_TOKEN")
    there.on("GET /users/current", ALICE)
    return there


def login(corereg: Corereg, url: str, *more: str, password: str = PASSWORD) -> None:
    done = corereg("login", url, "-u", "alice", "--password-stdin", *more, input=f"{password}\n")
    assert done.exit_code == 0, done.output


def basic(name: str, password: str) -> str:
    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


def test_a_login_is_tried_and_kept(corereg: Corereg, place: Standin, home: Path) -> None:
    done = corereg("login", place.url, "-u", "alice", "--password-stdin", input=f"{PASSWORD}\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"signed in to {place.url} as alice (context {place.url.removeprefix('http://')})\n"
    assert place.last("GET").headers["authorization"] == basic("alice", PASSWORD)
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert PASSWORD not in (home / "contexts.json").read_text()
    who = dict(line.split() for line in corereg("whoami").stdout.splitlines())
    assert who == {
        "user": "alice",
        "administrator": "no",
        "email": "alice@example.com",
        "url": place.url,
        "context": place.url.removeprefix("http://"),
    }


def test_a_wrong_password_is_not_kept(corereg: Corereg, place: Standin, home: Path) -> None:
    place.on("GET /users/current", {"errors": [{"code": "UNAUTHORIZED", "message": "unauthorized"}]}, status=401)
    done = corereg("login", place.url, "-u", "alice", "--password-stdin", input="wrong")
    assert done.exit_code == 4
    assert done.stderr.startswith("Error: unauthorized\n")
    assert not home.exists()


def test_a_robot_can_sign_in(corereg: Corereg, place: Standin) -> None:
    place.on("GET /users/current", {"errors": [{"code": "PRECONDITION", "message": "no user"}]}, status=412)
    done = corereg("login", place.url, "-u", "robot$ci", "--password-stdin", input="its-secret")
    assert "as robot$ci" in done.stdout
    assert corereg("whoami", "-o", "name").stdout == "robot$ci\n"


def test_a_token_is_sent_as_one(corereg: Corereg, place: Standin) -> None:
    assert corereg("login", place.url, "--token-stdin", input="the-token\n").exit_code == 0
    assert place.last("GET").headers["authorization"] == "Bearer the-token"
    assert corereg("context", "show", "-o", "json").stdout.count("the-token") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://reg.example.com",),
        ("https://alice:secret@reg.example.com",),
        ("https://reg.example.com/?a=b",),
        ("https://reg.example.com:port",),
        ("",),
        ("http://127.0.0.1:1", "-u", "alice"),
        ("http://127.0.0.1:1", "--password-stdin"),
        ("http://127.0.0.1:1", "--password", PASSWORD),
        ("http://127.0.0.1:1", "--token-stdin", "--password-stdin"),
        ("http://127.0.0.1:1", "-u", "alice", "--password-file", "missing"),
    ],
)
def test_usage(corereg: Corereg, home: Path, arguments: tuple[str, ...]) -> None:
    done = corereg("login", *arguments)
    assert done.exit_code == 2, done.output
    assert "secret" not in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("host", ["reg..example.com", ".example.com", f"{'r' * 64}.example.com", "reg example.com"])
def test_what_can_be_no_host_is_told(corereg: Corereg, home: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    done = corereg("login", f"http://{host}", "-u", "alice", "--password-stdin", input=PASSWORD)
    assert done.exit_code == 2
    assert "is no address of a registry" in done.stderr
    assert not home.exists()
    monkeypatch.setenv("COREREG_URL", f"http://{host}")
    done = corereg("whoami")
    assert done.exit_code == 2
    assert "is no address of a registry" in done.stderr


def test_a_context_whose_address_can_be_no_host_is_told(corereg: Corereg, place: Standin, home: Path) -> None:
    assert corereg("login", place.url, "--token-stdin", input="the-token\n").exit_code == 0
    (file,) = home.rglob("contexts.json")
    file.write_text(file.read_text().replace("127.0.0.1", "reg..example.com"))
    done = corereg("whoami")
    assert done.exit_code == 2
    assert "is no address of a registry" in done.stderr


def test_a_password_over_plain_http_is_noted(corereg: Corereg, home: Path) -> None:
    done = corereg("login", "http://registry.invalid", "-u", "a", "--password-stdin", "--timeout", "1", input=PASSWORD)
    assert done.exit_code == 6
    assert "has no TLS" in done.stderr


def test_contexts(corereg: Corereg, place: Standin) -> None:
    login(corereg, place.url, "--context", "one")
    login(corereg, place.url, "--context", "two")
    assert corereg("context", "list", "-o", "name").stdout == "one\ntwo\n"
    assert corereg("context", "use", "one").exit_code == 0
    rows = json.loads(corereg("context", "list", "--json").stdout)["items"]
    assert [(row["name"], row["current"], row["signs_in_with"]) for row in rows] == [
        ("one", True, "password"),
        ("two", False, "password"),
    ]
    assert corereg("logout").stdout == "signed out of one\n"
    assert corereg("logout").stdout == "one was not signed in\n"
    corereg("whoami")
    assert "authorization" not in place.last("GET").headers
    assert corereg("context", "remove", "one").exit_code == 2, "nobody to ask"
    assert corereg("context", "remove", "one", "--yes").exit_code == 0
    assert corereg("whoami").exit_code == 4, "none is in use"
    assert corereg("whoami", "--context", "two").exit_code == 0
    missing = corereg("context", "use", "twoo")
    assert missing.exit_code == 3
    assert "Did you mean two?" in missing.stderr


def test_nobody_is_signed_in(corereg: Corereg, place: Standin) -> None:
    done = corereg("whoami", "-o", "json")
    assert done.exit_code == 4
    error = json.loads(done.stderr)["error"]
    assert error["message"] == "no registry is selected"
    assert "corereg login URL" in error["hint"]


# ---- option, environment, context ----


def test_a_contexts_password_goes_nowhere_else(
    corereg: Corereg, place: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(corereg, place.url)
    with standin() as other:
        monkeypatch.setenv("COREREG_URL", other.url)
        corereg("whoami")
        assert "authorization" not in other.last("GET").headers
        monkeypatch.setenv("COREREG_CONTEXT", place.url.removeprefix("http://"))
        corereg("whoami")
        assert "authorization" not in other.last("GET").headers
    monkeypatch.setenv("COREREG_URL", place.url)
    assert corereg("whoami").exit_code == 0
    assert place.last("GET").headers["authorization"] == basic("alice", PASSWORD)


def test_the_environment_goes_before_the_context(
    corereg: Corereg, place: Standin, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(corereg, place.url, "--context", "kept")
    (house / "secret").write_text("robots-secret\n")
    monkeypatch.setenv("COREREG_USER", "robot$ci")
    monkeypatch.setenv("COREREG_PASSWORD_FILE", str(house / "secret"))
    corereg("whoami")
    assert place.last("GET").headers["authorization"] == basic("robot$ci", "robots-secret")
    monkeypatch.setenv("COREREG_TOKEN", "a-token")
    corereg("whoami")
    assert place.last("GET").headers["authorization"] == basic("robot$ci", "a-token")
    monkeypatch.delenv("COREREG_USER")
    corereg("whoami")
    assert place.last("GET").headers["authorization"] == "Bearer a-token"
    monkeypatch.setenv("COREREG_USER", "robot$ci")
    monkeypatch.delenv("COREREG_TOKEN")
    (house / "secret").unlink()
    assert corereg("whoami").exit_code == 2
    corereg("whoami", "--context", "kept")
    assert place.last("GET").headers["authorization"] == basic("alice", PASSWORD)


def test_credentials_that_others_can_read_are_refused(corereg: Corereg, place: Standin, home: Path) -> None:
    login(corereg, place.url)
    (home / "credentials.json").chmod(0o644)
    done = corereg("whoami")
    assert done.exit_code == 2
    assert "chmod 600" in done.stderr


def test_a_broken_file_is_told(corereg: Corereg, place: Standin, home: Path) -> None:
    login(corereg, place.url)
    (home / "contexts.json").write_text("{")
    done = corereg("whoami")
    assert done.exit_code == 2
    assert "contexts.json cannot be read" in done.stderr


def test_a_folder_that_cannot_be_written(corereg: Corereg, place: Standin, home: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file is in the way")
    done = corereg("login", place.url, "-u", "alice", "--password-stdin", input=PASSWORD)
    assert done.exit_code in {1, 2}
    assert str(home) in done.stderr
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1)])
def test_a_person_is_asked(
    corereg: Corereg, place: Standin, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    login(corereg, place.url, "--context", "one")
    monkeypatch.setattr("corereg.client.asking.can_ask", lambda: True)
    assert corereg("context", "remove", "one", input=answer).exit_code == status
    assert corereg("context", "list", "-o", "name").stdout == ("" if status == 0 else "one\n")


def test_nobody_is_asked_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    assert can_ask()
    monkeypatch.setenv("COREREG_NO_INPUT", "1")
    assert not can_ask()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(corereg: Corereg, shell: str) -> None:
    done = corereg("completion", shell)
    assert done.exit_code == 0
    assert "_COREREG_COMPLETE" in done.stdout


def test_words_are_completed(corereg: Corereg) -> None:
    done = corereg(env={"_COREREG_COMPLETE": "bash_complete", "COMP_WORDS": "corereg context us", "COMP_CWORD": "2"})
    assert done.stdout == "plain,use\n"
