"""What each command asks a registry for: method, path and body, as Harbor's API has them."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

from corereg.cli import CommandContext

from .conftest import Corereg
from .standin import Answer, Standin

PROJECT = {"project_id": 7, "name": "demo", "owner_name": "admin", "repo_count": 2, "metadata": {"public": "true"}}
MEMBERS = [
    {"id": 11, "entity_name": "alice", "entity_type": "u", "role_id": 2},
    {"id": 12, "entity_name": "alice", "entity_type": "g", "role_id": 3},
]
ROBOT = {
    "id": 5,
    "name": "robot$demo+ci",
    "level": "project",
    "disable": False,
    "duration": 30,
    "expires_at": 1_800_000_000,
    "permissions": [{"kind": "project", "namespace": "demo", "access": [{"resource": "repository", "action": "pull"}]}],
}
CREATED = {"id": 5, "name": "robot$demo+ci", "secret": "S3cret-of-ci", "expires_at": 1_800_000_000}
LABEL = {"id": 3, "name": "stable", "scope": "p", "project_id": 7, "color": "#fff"}
ARTIFACT = {
    "digest": "sha256:" + "a" * 64,
    "type": "IMAGE",
    "size": 2048,
    "repository_name": "demo/team/app",
    "tags": [{"name": "v1", "immutable": False}, {"name": "latest"}],
    "extra_attrs": {"os": "linux", "architecture": "amd64"},
}
APP = "/projects/demo/repositories/team%252Fapp"


@pytest.fixture
def demo(there: Standin) -> Standin:
    there.on("GET /projects/demo", PROJECT)
    there.on("GET /projects/demo/members", MEMBERS)
    there.on("GET /robots", [ROBOT])
    there.on("GET /robots/5", ROBOT)
    there.on("GET /labels", [LABEL])
    there.on("GET /quotas", [{"id": 9, "ref": {"name": "demo"}, "hard": {"storage": -1}, "used": {"storage": 5}}])
    there.on(f"GET {APP}", {"name": "demo/team/app", "artifact_count": 4})
    there.on(f"GET {APP}/artifacts", [ARTIFACT])
    there.on(f"GET {APP}/artifacts/v1", ARTIFACT)
    there.on("GET /users", [{"user_id": 4, "username": "alice"}])
    return there


CHANGES: list[tuple[str, str, Any]] = [
    # words, request, body
    (
        "project create new --public --storage 10GiB --metadata auto_scan=true",
        "POST /projects",
        {"project_name": "new", "metadata": {"public": "true", "auto_scan": "true"}, "storage_limit": 10 * 2**30},
    ),
    ("project create new", "POST /projects", {"project_name": "new", "metadata": {"public": "false"}}),
    ("project update demo --private", "PUT /projects/demo", {"metadata": {"public": "false"}}),
    ("project delete demo --yes", "DELETE /projects/demo", None),
    (
        "project member add bob -p demo --role developer",
        "POST /projects/demo/members",
        {"role_id": 2, "member_user": {"username": "bob"}},
    ),
    (
        "project member add ops -p demo --role limitedGuest --group",
        "POST /projects/demo/members",
        {"role_id": 5, "member_group": {"group_name": "ops"}},
    ),
    ("project member set-role alice maintainer -p demo", "PUT /projects/demo/members/11", {"role_id": 4}),
    ("project member set-role alice 17 -p demo --group", "PUT /projects/demo/members/12", {"role_id": 17}),
    ("project member remove alice -p demo --yes", "DELETE /projects/demo/members/11", None),
    (
        "robot create ci -p demo --allow push,tag:delete --expires 90d",
        "POST /robots",
        {
            "name": "ci",
            "description": "",
            "duration": 90,
            "level": "project",
            "disable": False,
            "permissions": [
                {
                    "kind": "project",
                    "namespace": "demo",
                    "access": [
                        {"resource": "repository", "action": "push"},
                        {"resource": "repository", "action": "pull"},
                        {"resource": "tag", "action": "delete"},
                    ],
                }
            ],
        },
    ),
    (
        "robot create deploy --in * --allow pull --system-allow project:list --expires never",
        "POST /robots",
        {
            "name": "deploy",
            "description": "",
            "duration": -1,
            "level": "system",
            "disable": False,
            "permissions": [
                {"kind": "project", "namespace": "*", "access": [{"resource": "repository", "action": "pull"}]},
                {"kind": "system", "namespace": "/", "access": [{"resource": "project", "action": "list"}]},
            ],
        },
    ),
    ("robot refresh ci -p demo", "PATCH /robots/5", {"secret": ""}),
    (
        "robot disable robot$demo+ci -p demo",
        "PUT /robots/5",
        {key: ROBOT[key] for key in ("id", "name", "level", "duration", "expires_at", "permissions")}
        | {"disable": True},
    ),
    ("robot delete ci -p demo -y", "DELETE /robots/5", None),
    (
        "label create x -p demo --color #000",
        "POST /labels",
        {"name": "x", "color": "#000", "scope": "p", "project_id": 7},
    ),
    (
        "label update stable -p demo --description S",
        "PUT /labels/3",
        {"name": "stable", "color": "#fff", "scope": "p", "project_id": 7, "description": "S"},
    ),
    ("label delete stable -y", "DELETE /labels/3", None),
    ("quota set demo 5GiB", "PUT /quotas/9", {"hard": {"storage": 5 * 2**30}}),
    ("quota set demo unlimited", "PUT /quotas/9", {"hard": {"storage": -1}}),
    ("quota default 1TiB", "PUT /configurations", {"storage_per_project": 2**40}),
    ("repo describe demo/team/app text", f"PUT {APP}", {"description": "text"}),
    ("repo delete demo/team/app -y", f"DELETE {APP}", None),
    ("tag add demo/team/app:v1 stable", f"POST {APP}/artifacts/v1/tags", {"name": "stable"}),
    ("tag remove demo/team/app:v1 -y", f"DELETE {APP}/artifacts/v1/tags/v1", None),
    ("artifact label demo/team/app:v1 stable", f"POST {APP}/artifacts/v1/labels", {"id": 3}),
    ("artifact label demo/team/app:v1 stable --remove", f"DELETE {APP}/artifacts/v1/labels/3", None),
    ("artifact delete demo/team/app:v1 -y", f"DELETE {APP}/artifacts/sha256%3A{'a' * 64}", None),
    ("user admin alice --grant", "PUT /users/4/sysadmin", {"sysadmin_flag": True}),
    ("user delete alice -y", "DELETE /users/4", None),
    (
        "group create ops --kind ldap --dn cn=ops",
        "POST /usergroups",
        {"group_name": "ops", "group_type": 1, "ldap_group_dn": "cn=ops"},
    ),
]


@pytest.mark.parametrize(("words", "request_line", "body"), CHANGES, ids=[words for words, _, _ in CHANGES])
def test_what_is_asked_for(corereg: Corereg, demo: Standin, words: str, request_line: str, body: Any) -> None:
    method, path = request_line.split()
    answer = CREATED if path == "/robots" else {"secret": "New-secret-1"} if method == "PATCH" else None
    demo.on(request_line, answer, status=201 if method == "POST" else 200, location=f"/api/v2.0{path}/21")
    done = corereg(*words.split())
    assert done.exit_code == 0, done.output
    asked = demo.last(method)
    assert asked.path == path
    assert (json.loads(asked.body) if asked.body else None) == body
    assert done.stdout


def test_every_change_of_things_that_go_asks(corereg: Corereg, demo: Standin) -> None:
    for words, request_line, _ in CHANGES:
        if request_line.startswith("DELETE") and "--remove" not in words:
            done = corereg(*(word for word in words.split() if word not in {"-y", "--yes"}))
            assert done.exit_code == 2, words
            assert "--yes" in done.stderr
    assert not [asked for asked in demo.asked if asked.method == "DELETE"]


# ---- projects ----


def test_a_project_that_is_not_empty(corereg: Corereg, demo: Standin) -> None:
    message = "the project contains repositories, can not be deleted"
    demo.on("DELETE /projects/demo", {"errors": [{"code": "PRECONDITION", "message": message}]}, status=412)
    done = corereg("project", "delete", "demo", "--yes")
    assert done.exit_code == 5
    assert message in done.stderr
    assert "corereg repo list -p demo" in done.stderr


def test_a_project_with_its_repositories(corereg: Corereg, demo: Standin) -> None:
    demo.on("GET /projects/demo/repositories", [{"name": "demo/a"}, {"name": "demo/team/app"}])
    demo.on("DELETE /projects/demo/repositories/a")
    demo.on(f"DELETE {APP}")
    demo.on("DELETE /projects/demo")
    assert corereg("project", "delete", "demo", "--recursive", "--yes").exit_code == 0
    assert [asked.path for asked in demo.asked if asked.method == "DELETE"] == [
        "/projects/demo/repositories/a",
        APP,
        "/projects/demo",
    ]


def test_a_project_that_goes_half_way(corereg: Corereg, demo: Standin) -> None:
    demo.on("GET /projects/demo/repositories", [{"name": "demo/a"}, {"name": "demo/team/app"}])
    demo.on("DELETE /projects/demo/repositories/a")
    demo.on(f"DELETE {APP}", {"errors": [{"code": "PRECONDITION", "message": "immutable"}]}, status=412)
    done = corereg("project", "delete", "demo", "--recursive", "--yes")
    assert done.exit_code == 7
    assert "1 of 2 repositories are deleted" in done.stderr


def test_a_member_who_is_none(corereg: Corereg, demo: Standin) -> None:
    done = corereg("project", "member", "remove", "alise", "-p", "demo", "--yes")
    assert done.exit_code == 3
    assert "Did you mean alice?" in done.stderr


@pytest.mark.parametrize("role", ["developper", "", "-1"])
def test_a_role_that_is_none(corereg: Corereg, demo: Standin, role: str) -> None:
    done = corereg("project", "member", "add", "bob", "-p", "demo", "--role", role)
    assert done.exit_code == 2
    assert demo.asked == []


def test_usage_of_a_project(corereg: Corereg, demo: Standin) -> None:
    quota = {"hard": {"storage": -1}, "used": {"storage": 2048}}
    demo.on("GET /projects/demo/summary", {"repo_count": 2, "developer_count": 1, "quota": quota})
    lines = corereg("project", "usage", "demo").stdout.splitlines()
    assert "used            2.0 KiB" in lines
    assert "limit           unlimited" in lines


# ---- robots ----


def test_a_secret_is_all_that_a_pipe_gets(corereg: Corereg, demo: Standin) -> None:
    demo.on("POST /robots", CREATED, status=201)
    words = ("robot", "create", "ci", "-p", "demo", "--allow", "push")
    done = corereg(*words)
    assert done.stdout == "robot$demo+ci\nS3cret-of-ci\n"
    assert "S3cret" not in done.stderr
    assert json.loads(corereg(*words, "--json").stdout) == CREATED


def test_exports(corereg: Corereg, demo: Standin) -> None:
    demo.on("POST /robots", CREATED, status=201)
    words = ("robot", "create", "ci", "-p", "demo", "--allow", "push", "--registry", "reg.example.com", "--export")
    docker = json.loads(corereg(*words, "docker").stdout)
    pair = b64decode(docker["auths"]["reg.example.com"]["auth"]).decode()
    assert pair == "robot$demo+ci:S3cret-of-ci"
    secret = yaml.safe_load(corereg(*words, "k8s").stdout)
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["metadata"]["name"] == "robot-demo-ci"
    assert json.loads(b64decode(secret["data"][".dockerconfigjson"])) == docker
    assert corereg(*words, "env").stdout == (
        "REGISTRY=reg.example.com\nREGISTRY_USER='robot$demo+ci'\nREGISTRY_PASSWORD=S3cret-of-ci\n"
    )
    done = corereg(*words, "json")
    assert json.loads(done.stdout) == {"registry": "reg.example.com", "name": "robot$demo+ci", "secret": "S3cret-of-ci"}
    assert "not shown again" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "robot create ci --allow pull",
        "robot create ci -p demo --in web --allow pull",
        "robot create ci -p demo --allow pul",
        "robot create ci -p demo --allow pull --expires soon",
        "robot create ci -p demo",
        "quota set demo much",
        "project update demo",
        "label update stable",
        "tag move demo/app v1",
        "tag remove demo/app",
        "artifact show demo/app",
        "repo show demo",
        "repo show /app",
        "artifact list demo/team/app --tag v --untagged",
        "artifact copy demo/a:1 demo/b@sha256:00",
        "settings set a",
        "user disable alice",
    ],
)
def test_usage(corereg: Corereg, demo: Standin, words: str) -> None:
    done = corereg(*words.split())
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert not [asked for asked in demo.asked if asked.method != "GET"]


# ---- repositories, tags, artifacts ----


def test_artifacts(corereg: Corereg, demo: Standin) -> None:
    done = corereg("artifact", "list", "demo/team/app", "--tag", "v", "--type", "image", "--label", "stable")
    assert demo.last("GET").query["q"] == "tags=~v,type=IMAGE,labels=(3)"
    row = re.split(" {2,}", done.stdout.splitlines()[1])
    assert row == ["sha256:aaaaaaaaaaaa", "v1, latest", "IMAGE", "linux/amd64", "2.0 KiB", "-", "-", "-"]


def test_tags(corereg: Corereg, demo: Standin) -> None:
    assert corereg("tag", "list", "demo/team/app", "-o", "name").stdout == "v1\nlatest\n"
    assert corereg("tag", "list", "demo/team/app:v1", "-o", "name").stdout == "v1\nlatest\n"


def test_a_tag_is_moved_in_one_step(corereg: Corereg, demo: Standin) -> None:
    body, kind = b'{ "schemaVersion": 2 }', "application/vnd.oci.image.manifest.v1+json"
    demo.answers["GET /v2/demo/team/app/manifests/v2"] = Answer(200, body, {"content-type": kind})
    demo.on("PUT /v2/demo/team/app/manifests/stable", status=201)
    assert corereg("tag", "move", "demo/team/app:stable", "v2").exit_code == 0
    put = demo.last("PUT")
    assert (put.body, put.headers["content-type"]) == (body, kind)
    assert not [asked for asked in demo.asked if asked.method == "DELETE"]


def test_a_manifest_byte_by_byte(corereg: Corereg, demo: Standin) -> None:
    demo.answers["GET /v2/demo/team/app/manifests/v1"] = Answer(200, b'{ "a":\n 1}')
    assert corereg("artifact", "manifest", "demo/team/app:v1").stdout_bytes == b'{ "a":\n 1}'


def test_referrers(corereg: Corereg, demo: Standin) -> None:
    path = f"GET /v2/demo/team/app/referrers/sha256:{'a' * 64}"
    demo.on(path, {"manifests": [{"digest": "sha256:b", "artifactType": "sbom", "size": 3, "mediaType": "m"}]})
    assert corereg("artifact", "referrers", "demo/team/app:v1", "-o", "name").stdout == "sha256:b\n"


@pytest.mark.parametrize(
    ("target", "start", "tag"),
    [("prod/app", "demo/team/app:v1", None), ("prod/app:stable", f"demo/team/app@sha256:{'a' * 64}", "stable")],
)
def test_copies(corereg: Corereg, demo: Standin, target: str, start: str, tag: str | None) -> None:
    into = "/projects/prod/repositories/app/artifacts"
    demo.on(f"POST {into}", status=201)
    demo.on(f"POST {into}/sha256%3A{'a' * 64}/tags", status=201)
    assert corereg("artifact", "copy", "demo/team/app:v1", target).exit_code == 0
    posts = [asked for asked in demo.asked if asked.method == "POST"]
    assert posts[0].query == {"from": start}
    assert [asked.json["name"] for asked in posts[1:]] == ([tag] if tag else [])


def test_search(corereg: Corereg, demo: Standin) -> None:
    repository = {"repository_name": "demo/team/app", "project_public": True, "artifact_count": 4, "pull_count": 9}
    demo.on("GET /search", {"project": [PROJECT], "repository": [repository]})
    assert corereg("search", "de").stdout.splitlines() == [
        "KIND        NAME           ACCESS  ARTIFACTS  PULLS",
        "project     demo           public  -          -",
        "repository  demo/team/app  public  4          9",
    ]


# ---- settings ----

SETTINGS = {
    "self_registration": {"value": False, "editable": True},
    "token_expiration": {"value": 30, "editable": True},
    "auth_mode": {"value": "db_auth", "editable": False},
    "disabled_audit_log_event_types": {"value": [], "editable": True},
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("self_registration", "on", True),
        ("token_expiration", "60", 60),
        ("auth_mode", "60", "60"),
        ("disabled_audit_log_event_types", '["x"]', ["x"]),
    ],
)
def test_a_setting_keeps_its_type(corereg: Corereg, demo: Standin, name: str, text: str, value: Any) -> None:
    demo.on("GET /configurations", SETTINGS)
    demo.on("PUT /configurations")
    assert corereg("settings", "set", name, text).exit_code == 0
    assert demo.last("PUT").json == {name: value}


@pytest.mark.parametrize(
    ("name", "text", "status", "hint"),
    [
        ("self_registratoin", "on", 3, "Did you mean self_registration?"),
        ("self_registration", "maybe", 2, "which is no now"),
        ("token_expiration", "long", 2, "which is 30 now"),
    ],
)
def test_a_setting_that_will_not_do(
    corereg: Corereg, demo: Standin, name: str, text: str, status: int, hint: str
) -> None:
    demo.on("GET /configurations", SETTINGS)
    done = corereg("settings", "set", name, text)
    assert done.exit_code == status
    assert hint in done.stderr


def test_a_secret_setting_comes_from_standard_input(corereg: Corereg, demo: Standin) -> None:
    demo.on("PUT /configurations")
    assert corereg("settings", "set", "ldap_search_password", "--stdin", input="hidden\n").exit_code == 0
    assert demo.last("PUT").json == {"ldap_search_password": "hidden"}


# ---- users ----


def test_a_user_is_made(corereg: Corereg, demo: Standin) -> None:
    demo.on("POST /users", status=201, location="/api/v2.0/users/8")
    demo.on("PUT /users/8/sysadmin")
    words = ("user", "create", "bob", "--email", "bob@example.com", "--admin", "--password-stdin")
    done = corereg(*words, input="Correct-horse-7\n")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "created bob\n", f"on {demo.url}\n")
    assert demo.last("POST").json == {
        "username": "bob",
        "realname": "bob",
        "password": "Correct-horse-7",
        "email": "bob@example.com",
    }


def test_a_user_who_is_made_and_no_administrator(corereg: Corereg, demo: Standin) -> None:
    demo.on("POST /users", status=201, location="/api/v2.0/users/8")
    done = corereg("user", "create", "bob", "--admin", "--password-stdin", input="Correct-horse-7\n")
    assert done.exit_code == 7


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What ran on the local data, where this registry has no users."""
    works: list[object] = []
    monkeypatch.setattr(CommandContext, "run", lambda _, work: works.append(work))
    return works


@pytest.mark.parametrize("words", ["--local", "--local -o json", "--data elsewhere"])
def test_users_are_local_when_that_is_said(corereg: Corereg, demo: Standin, ran: list[object], words: str) -> None:
    assert corereg("user", "list", *words.split()).exit_code == 0
    assert (len(ran), demo.asked) == (1, [])


def test_users_are_remote_where_a_registry_is_selected(corereg: Corereg, demo: Standin, ran: list[object]) -> None:
    assert corereg("user", "list", "-o", "name").stdout == "alice\n"
    assert corereg("user", "disable", "alice").exit_code == 2, (
        "there is no such thing over the API, so say which you mean"
    )
    assert ran == []
    assert corereg("user", "disable", "alice", "--local").exit_code == 0
    assert len(ran) == 1


def test_users_are_local_without_a_registry(
    corereg: Corereg, demo: Standin, ran: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COREREG_URL")
    monkeypatch.setenv("COREREG_OUTPUT", "yaml")
    assert corereg("user", "list").exit_code == 0
    words = ("user", "create", "bob", "--admin", "--password-stdin")
    done = corereg(*words, input="Correct-horse-7\n")
    assert done.exit_code == 0, done.output
    assert len(ran) == 2
    for more in (("--timeout", "3"), ("--realname", "Bob")):
        done = corereg(*words, *more, input="Correct-horse-7\n")
        assert done.exit_code == 2
        assert f"{more[0]} works only over the API" in done.stderr
    assert corereg("user", "list", "-o", "yaml").exit_code == 2
    assert corereg("user", "create", "b$b", "--password-stdin", input="Correct-horse-7\n").exit_code == 2


def test_a_context_that_nobody_made(corereg: Corereg, demo: Standin, ran: list[object]) -> None:
    done = corereg("user", "list", "--context", "nowhere")
    assert (done.exit_code, ran) == (3, [])
    assert "there is no context 'nowhere'" in done.stderr


# ---- apply ----


def test_read_only_comes_last(corereg: Corereg, demo: Standin, house: Path) -> None:
    """After it nothing could be changed."""
    (house / "registry.yaml").write_text("settings: {read_only: true, token_expiration: 60}\nlabels: [{name: new}]")
    demo.on("GET /configurations", {**SETTINGS, "read_only": {"value": False, "editable": True}})
    demo.on("PUT /configurations")
    demo.on("POST /labels", status=201, location="/api/v2.0/labels/9")
    assert corereg("apply", "-f", "registry.yaml").exit_code == 0
    changes = [asked for asked in demo.asked if asked.method != "GET"]
    assert [asked.json for asked in changes] == [
        {"token_expiration": 60},
        {"name": "new", "scope": "g"},
        {"read_only": True},
    ]


def test_a_plan_changes_nothing(corereg: Corereg, demo: Standin, house: Path) -> None:
    (house / "registry.yaml").write_text("labels: [{name: new}]\nprojects: [{name: demo, public: false}]")
    demo.on("GET /projects", [PROJECT])
    done = corereg("apply", "-f", "registry.yaml", "--plan")
    assert done.stdout.splitlines() == [
        "+ label new",
        "~ project demo  public: true -> false",
        "1 to create, 1 to update, 0 to delete, 0 unchanged",
    ]
    assert done.stderr == "1 things are there and not declared; --prune deletes them\n"
    assert not [asked for asked in demo.asked if asked.method != "GET"]


def test_a_file_for_secrets_that_others_can_read(corereg: Corereg, demo: Standin, house: Path) -> None:
    (house / "registry.yaml").write_text("robots: [{name: new, project: demo, allow: [pull]}]")
    demo.then("GET /robots", *[Answer(200, [])] * 5)
    (house / "secrets.json").write_text("{}")
    (house / "secrets.json").chmod(0o644)
    done = corereg("apply", "-f", "registry.yaml", "--secrets-file", "secrets.json")
    assert done.exit_code == 2
    assert "can be read by others" in done.stderr
    assert not [asked for asked in demo.asked if asked.method != "GET"]


def test_secrets_are_added_to_those_that_are_there(corereg: Corereg, demo: Standin, house: Path) -> None:
    (house / "registry.yaml").write_text("robots: [{name: ci, project: demo, allow: [pull]}]")
    demo.then("GET /robots", *[Answer(200, [])] * 5)
    demo.on("POST /robots", CREATED, status=201)
    (house / "secrets.json").write_text('{"robot$old": "kept"}')
    (house / "secrets.json").chmod(0o600)
    done = corereg("apply", "-f", "registry.yaml", "--secrets-file", "secrets.json")
    assert done.exit_code == 0, done.output
    assert CREATED["secret"] not in done.output
    assert json.loads((house / "secrets.json").read_text()) == {"robot$old": "kept", CREATED["name"]: CREATED["secret"]}
