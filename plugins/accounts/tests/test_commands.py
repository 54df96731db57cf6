"""``corereg user``, through the command as it is installed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import click
import pytest

PASSWORD = "Correct-horse-7"


class Done(NamedTuple):
    status: int
    out: str
    err: str


Corereg = Callable[..., Done]


class Typed(io.TextIOWrapper):
    """Standard input: a pipe, or a terminal."""

    def __init__(self, data: bytes, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(data), "utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def corereg(
    tmp_path: Path, admin_password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Corereg:
    """Run the command on a data folder of its own."""
    monkeypatch.chdir(tmp_path)
    (entry,) = entry_points(group="console_scripts", name="corereg")
    main = entry.load()

    monkeypatch.setenv("COREREG__PLUGINS", "storage_fs,accounts")  # others may let everybody do something

    def run(*arguments: str, stdin: bytes = b"", terminal: bool = False) -> Done:
        monkeypatch.setattr(sys, "argv", ["corereg", *arguments])
        monkeypatch.setattr(sys, "stdin", Typed(stdin, terminal=terminal))
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def create(corereg: Corereg, name: str, *options: str) -> Done:
    return corereg("user", "create", name, "--password-stdin", *options, stdin=f"{PASSWORD}\n".encode())


def listed(corereg: Corereg) -> dict[str, dict[str, object]]:
    done = corereg("user", "list", "-o", "json")
    assert done.status == 0, done.err
    document = json.loads(done.out)
    assert document["next"] is None
    return {user["name"]: user for user in document["items"]}


def test_a_user_is_made(corereg: Corereg) -> None:
    done = create(corereg, "alice", "--email", "alice@example.com")
    assert (done.status, done.out) == (0, "created alice\n")
    assert 'alice may do nothing yet; [accounts] signed_in = "push"' in done.err
    assert PASSWORD not in done.err
    alice = listed(corereg)["alice"]
    assert (alice["email"], alice["administrator"], alice["disabled"]) == ("alice@example.com", False, False)
    assert "password" not in str(alice)


def test_an_administrator_is_made(corereg: Corereg) -> None:
    done = create(corereg, "root", "--admin")
    assert done.status == 0
    assert "may do nothing" not in done.err
    assert listed(corereg)["root"]["administrator"] is True


def test_nothing_to_note_where_everybody_may_push(corereg: Corereg, tmp_path: Path) -> None:
    (tmp_path / "corereg.toml").write_text('[accounts]\nsigned_in = "push"\n')
    assert "may do nothing" not in create(corereg, "alice").err


@pytest.mark.parametrize("data", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\n"])
def test_a_password_from_a_file(corereg: Corereg, tmp_path: Path, data: str) -> None:
    (tmp_path / "secret").write_bytes(data.encode())
    assert corereg("user", "create", "alice", "--password-file", "secret").status == 0
    again = corereg("user", "create", "Alice", "--password-file", "secret")
    assert again.status == 5
    assert "the name 'Alice' is taken" in again.err


def test_a_password_from_the_terminal(corereg: Corereg, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["weak", PASSWORD, "another", PASSWORD, PASSWORD])
    asked: list[str] = []

    def hidden(prompt: str, **_: object) -> str:
        asked.append(prompt)
        return next(typed)

    monkeypatch.setattr(click.termui, "hidden_prompt_func", hidden)
    done = corereg("user", "create", "alice", terminal=True)
    assert done.status == 0, done.err
    assert "8 to 128 characters" in done.err
    assert len(asked) == 5
    assert list(typed) == []


@pytest.mark.parametrize("command", [("create", "alice"), ("password", "admin")])
def test_no_terminal_to_ask_on(corereg: Corereg, command: tuple[str, ...]) -> None:
    done = corereg("user", *command)
    assert done.status == 2
    assert "use --password-stdin or --password-file" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "a$b", "--password-stdin"),
        ("create", "", "--password-stdin"),
        ("create", "alice", "--password-stdin", "--email", "alice"),
        ("create", "alice", "--password-stdin", "--password-file", "secret"),
        ("create", "alice", "--password-file", "missing"),
        ("create", "alice", "--password", PASSWORD),
        ("create",),
        ("admin", "admin"),
        ("list", "-o", "xml"),
        ("delete", "admin"),
        ("rename", "alice"),
    ],
)
def test_usage(corereg: Corereg, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "secret").write_text(PASSWORD)
    done = corereg("user", *arguments, stdin=PASSWORD.encode())
    assert done.status == 2, done
    assert done.err
    assert not done.out
    assert not (tmp_path / "corereg-data").exists(), "nothing was touched"


@pytest.mark.parametrize("data", [b"weak", b"", b"\xff\xfe", b"Aa1" * 5000])
def test_a_password_that_will_not_do(corereg: Corereg, data: bytes) -> None:
    done = corereg("user", "create", "alice", "--password-stdin", stdin=data)
    assert done.status == 2
    assert "password" in done.err
    assert "alice" not in listed(corereg)


@pytest.mark.parametrize(
    "arguments",
    [("password", "--password-stdin"), ("disable",), ("enable",), ("delete", "--yes"), ("admin", "--grant")],
)
def test_nobody_of_that_name(corereg: Corereg, arguments: tuple[str, ...]) -> None:
    done = corereg("user", *arguments, "bob", stdin=PASSWORD.encode())
    assert done.status == 3
    assert "there is no user 'bob'" in done.err


def test_a_new_password(corereg: Corereg) -> None:
    done = corereg("user", "password", "ADMIN", "--password-stdin", stdin=b"Battery-staple-8")
    assert (done.status, done.out) == (0, "admin has a new password; every client has to sign in again\n")


def test_disable_and_enable(corereg: Corereg) -> None:
    create(corereg, "alice")
    assert corereg("user", "disable", "alice") == (0, "disabled alice\n", "")
    assert corereg("user", "disable", "alice").out == "alice is disabled already\n"
    assert listed(corereg)["alice"]["disabled"] is True
    assert corereg("user", "enable", "alice") == (0, "enabled alice\n", "")
    assert listed(corereg)["alice"]["disabled"] is False


def test_grant_and_revoke(corereg: Corereg) -> None:
    create(corereg, "alice")
    assert corereg("user", "admin", "alice", "--grant").out == "alice is an administrator now\n"
    assert corereg("user", "admin", "alice", "--grant").out == "alice is an administrator already\n"
    assert corereg("user", "admin", "alice", "--revoke").out == "alice is an ordinary user now\n"
    assert listed(corereg)["alice"]["administrator"] is False


def test_the_last_administrator_is_noticed(corereg: Corereg) -> None:
    done = corereg("user", "disable", "admin")
    assert done.status == 0
    assert "no local administrator is left who can sign in" in done.err


def test_delete(corereg: Corereg) -> None:
    create(corereg, "alice")
    assert corereg("user", "delete", "alice", stdin=b"n\n", terminal=True).status == 1
    assert "alice" in listed(corereg)
    assert corereg("user", "delete", "alice", stdin=b"y\n", terminal=True).out == "deleted alice\n"
    assert list(listed(corereg)) == ["admin"]


def test_lists(corereg: Corereg) -> None:
    create(corereg, "李雷", "--email", "li@example.com")
    assert corereg("user", "list", "-o", "name") == (0, "admin\n李雷\n", "")
    assert corereg("user", "list").out.splitlines() == [
        "NAME   ID  ADMINISTRATOR  DISABLED  EMAIL",
        "admin  1   yes            -         -",
        "李雷   2   -              -         li@example.com",
    ]


def test_help(corereg: Corereg) -> None:
    done = corereg("user", "--help")
    assert done.status == 0
    assert "corereg user create alice" in done.out


# ---- groups ----


def test_local_groups(corereg: Corereg) -> None:
    create(corereg, "alice")
    assert corereg("group", "create", "ops")[:2] == (0, "created ops\n")
    assert corereg("group", "create", "OPS").status == 5
    assert corereg("group", "create", "a,b").status == 1
    assert corereg("group", "add", "ops", "Alice")[:2] == (0, "alice belongs to ops\n")
    assert corereg("group", "add", "ops", "nobody").status == 3
    assert corereg("group", "add", "nothing", "alice").status == 3
    assert json.loads(corereg("group", "list", "-o", "json").out)["items"] == [
        {"id": 1, "name": "ops", "type": 4, "dn": "", "members": 1}
    ]
    assert corereg("group", "list", "-o", "name").out == "ops\n"
    assert corereg("group", "list").out == "NAME  ID  TYPE   MEMBERS\nops   1   LOCAL  1\n"
    assert corereg("group", "remove", "ops", "alice").status == 0
    assert corereg("group", "remove", "ops", "alice").status == 3
    assert corereg("group", "delete", "ops").status == 2, "there is nobody to ask"
    assert corereg("group", "delete", "ops", "--yes")[:2] == (0, "deleted ops\n")
    assert corereg("group", "list", "-o", "name").out == ""
