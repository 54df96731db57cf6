"""What the client makes of a registry's answers: pages, errors, exit statuses, certificates."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from .conftest import Corereg
from .standin import Answer, Standin, standin


def refusal(status: int, code: str, message: str) -> Answer:
    return Answer(status, {"errors": [{"code": code, "message": message}]}, {"x-request-id": "r-1"})


# ---- pages ----


def test_pages_are_followed_by_their_number(corereg: Corereg, there: Standin) -> None:
    """As Harbor writes links: relative, not encoded, both directions in one header."""
    link = '</api/v2.0/labels?q=name=~a,b&page=1&page_size=100>; rel="prev" , </elsewhere?page=3&q=x>; rel="next"'
    there.then(
        "GET /labels",
        Answer(200, [{"name": "a"}], {"link": '</api/v2.0/labels?page=2&page_size=100&scope=g>; rel="next"'}),
        Answer(200, [{"name": "b"}], {"link": link}),
        Answer(200, [{"name": "c"}], {"link": '</api/v2.0/labels?page=2>; rel="prev"'}),
    )
    assert corereg("label", "list", "-o", "name").stdout == "a\nb\nc\n"
    assert [asked.query for asked in there.asked] == [
        {"page_size": "100", "page": str(page), "scope": "g"} for page in (1, 2, 3)
    ]


def test_a_page_that_leads_back_ends_the_list(corereg: Corereg, there: Standin) -> None:
    there.on("GET /labels", [{"name": "a"}], link='</api/v2.0/labels?page=1>; rel="next"')
    assert corereg("label", "list", "-o", "name").stdout == "a\n"


def test_lists_without_a_link_are_whole(corereg: Corereg, there: Standin) -> None:
    there.on("GET /labels", [])
    assert json.loads(corereg("label", "list", "-o", "json").stdout) == {"items": [], "next": None}


# ---- what is sent ----


def test_what_every_request_carries(corereg: Corereg, there: Standin) -> None:
    there.on("GET /projects/42", {"name": "42"}, set_cookie="sid=x; Path=/")
    corereg("project", "show", "42")
    corereg("project", "show", "42")
    headers = there.last("GET").headers
    assert headers["x-is-resource-name"] == "true", "a project may be called 42"
    assert len(headers["x-request-id"]) == 36
    assert "cookie" not in headers


@pytest.mark.parametrize(
    ("repository", "path"),
    [
        ("demo/app", "/projects/demo/repositories/app"),
        ("demo/team/app", "/projects/demo/repositories/team%252Fapp"),
        ("demo/a%2Fb", "/projects/demo/repositories/a%25252Fb"),
    ],
)
def test_names_are_encoded_twice(corereg: Corereg, there: Standin, repository: str, path: str) -> None:
    corereg("repo", "show", repository)
    assert there.asked[0].path == path


def test_a_project_beside_its_repository(corereg: Corereg, there: Standin) -> None:
    corereg("repo", "show", "team/app", "-p", "demo")
    corereg("repo", "show", "demo/team/app", "-p", "demo")
    assert {asked.path for asked in there.asked} == {"/projects/demo/repositories/team%252Fapp"}


# ---- errors and exit statuses ----


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (refusal(400, "BAD_REQUEST", "no"), 2, "BAD_REQUEST"),
        (refusal(401, "UNAUTHORIZED", "no"), 4, "UNAUTHORIZED"),
        (refusal(403, "FORBIDDEN", "no"), 4, "FORBIDDEN"),
        (refusal(403, "DENIED", "the quota of demo is full"), 5, "DENIED"),
        (refusal(404, "NOT_FOUND", "no"), 3, "NOT_FOUND"),
        (refusal(409, "CONFLICT", "no"), 5, "CONFLICT"),
        (refusal(412, "PRECONDITION", "no"), 5, "PRECONDITION"),
        (refusal(422, "UNPROCESSABLE_ENTITY", "no"), 2, "UNPROCESSABLE_ENTITY"),
        (refusal(429, "TOO_MANY_REQUEST", "no"), 1, "TOO_MANY_REQUEST"),
        (refusal(500, "UNKNOWN", "internal server error"), 1, "UNKNOWN"),
        (Answer(502, b"<html>nginx</html>"), 1, "FAILED"),
        (Answer(504, b"upstream"), 8, "TIMEOUT"),
        (Answer(302, None, {"location": "https://elsewhere.example.com"}), 2, "REDIRECT"),
        (Answer(200, b"<html>"), 1, "FAILED"),
        (Answer(200, b'{"not": "a list"}'), 1, "FAILED"),
    ],
)
def test_exit_statuses(corereg: Corereg, there: Standin, answer: Answer, status: int, code: str) -> None:
    there.then("GET /labels", answer, answer)
    done = corereg("label", "list", "-o", "json")
    assert (done.exit_code, done.stdout) == (status, "")
    error = json.loads(done.stderr)["error"]
    assert error["code"] == code
    assert error["status"] == answer.status
    said = corereg("label", "list")
    assert said.exit_code == status
    assert said.stderr.startswith("Error: ")
    assert "<html>" not in said.stderr


def test_the_request_is_told_where_the_server_failed(corereg: Corereg, there: Standin) -> None:
    there.then("GET /labels", refusal(500, "UNKNOWN", "internal server error"))
    assert corereg("label", "list").stderr == "Error: internal server error\nrequest r-1\n"


def test_a_terminal_is_not_commanded_by_a_server(corereg: Corereg, there: Standin) -> None:
    there.then("GET /labels", Answer(200, [{"name": "\x1b[31mred\u202e", "description": "two\nlines"}]))
    done = corereg("label", "list")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert len(done.stdout.splitlines()) == 2
    there.then("GET /labels", refusal(403, "FORBIDDEN", "\x1b[2Jno"))
    assert "\x1b" not in corereg("label", "list").stderr


def test_nobody_answers(corereg: Corereg, there: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("COREREG_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        done = corereg("label", "list", "-o", "json")
    assert done.exit_code == 6
    assert json.loads(done.stderr)["error"]["code"] == "UNREACHABLE"


def test_an_answer_that_does_not_come(corereg: Corereg, there: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("COREREG_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        done = corereg("label", "list", "--timeout", "0.2")
    assert done.exit_code == 8
    assert "--timeout" in done.stderr


# ---- certificates ----


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("name", ["COREREG_CA_FILE", "SSL_CERT_FILE"])
def test_the_authority_is_believed_that_is_given(
    corereg: Corereg,
    there: Standin,
    authority: trustme.CA,
    tls: ssl.SSLContext,
    house: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    authority.cert_pem.write_to_path(str(house / "ca.pem"))
    with standin(tls) as secured:
        secured.on("GET /labels", [])
        monkeypatch.setenv("COREREG_URL", secured.url)
        unknown = corereg("label", "list", "-o", "json")
        assert unknown.exit_code == 6
        error = json.loads(unknown.stderr)["error"]
        assert error["code"] == "TLS"
        assert "COREREG_CA_FILE" in error["hint"]
        assert secured.asked == [], "no credentials before the certificate"
        monkeypatch.setenv(name, str(house / "ca.pem"))
        assert corereg("label", "list").exit_code == 0


def test_a_context_keeps_its_authority(
    corereg: Corereg, there: Standin, authority: trustme.CA, tls: ssl.SSLContext, house: Path
) -> None:
    authority.cert_pem.write_to_path(str(house / "ca.pem"))
    with standin(tls) as secured:
        secured.on("GET /users/current", {"username": "alice"})
        words = ("login", secured.url, "-u", "alice", "--password-stdin", "--ca-file", "ca.pem", "--context", "tls")
        assert corereg(*words, input="Correct-horse-7").exit_code == 0
        assert corereg("whoami", "--context", "tls").exit_code == 0


def test_a_file_that_holds_no_certificates(
    corereg: Corereg, there: Standin, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house / "ca.pem").write_text("nothing")
    monkeypatch.setenv("COREREG_CA_FILE", str(house / "ca.pem"))
    assert corereg("label", "list").exit_code == 2


def test_plain_http_where_tls_is_expected(corereg: Corereg, there: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREREG_URL", there.url.replace("http:", "https:"))
    done = corereg("label", "list")
    assert done.exit_code == 6
    assert "write http://" in done.stderr
