"""The command line against a registry with every plugin: all that a person types, from the first login on."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from corereg.cli import CommandContext, cli
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

pytestmark = pytest.mark.anyio

SECRET = "Password-of-alice-1"
Corereg = Callable[..., Result]
WORDS = (
    "apply",
    "artifact",
    "export-config",
    "gc",
    "group",
    "job",
    "label",
    "node",
    "project",
    "quota",
    "repo",
    "robot",
    "search",
    "tag",
    "trash",
)


@pytest.fixture
def corereg(tmp_path: Path, harbor: Served, monkeypatch: pytest.MonkeyPatch) -> Corereg:
    """Run `corereg ARGUMENTS...`; the administrator is signed in. A status that is not expected fails the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def run(*arguments: str, status: int = 0, **how: Any) -> Result:
        monkeypatch.setattr(cli, "_plugins", None)
        done = CliRunner().invoke(cli, list(arguments), prog_name="corereg", obj=CommandContext(), **how)
        assert done.exit_code == status, f"{' '.join(arguments)}\n{done.output}"
        return done

    run("login", harbor.url, "-u", ADMINISTRATOR, "--password-stdin", "--context", "admin", input=PASSWORD)
    return run


def read(done: Result) -> Any:
    return json.loads(done.stdout)


def names(done: Result) -> list[str]:
    return done.stdout.split()


def test_every_word_is_there(corereg: Corereg) -> None:
    for word in (*WORDS, "settings", "user"):
        assert "corereg" in corereg(word, "--help").stdout


def test_who_is_signed_in(corereg: Corereg, harbor: Served) -> None:
    assert read(corereg("whoami", "--json"))["username"] == ADMINISTRATOR
    corereg("login", harbor.url, "-u", ADMINISTRATOR, "--password-stdin", input="Wrong-password-1", status=4)
    corereg("logout")
    corereg("project", "create", "nobody", status=4)


async def test_projects_and_their_people(corereg: Corereg, harbor: Served) -> None:
    corereg("project", "create", "people", "--storage", "1GiB", "--metadata", "auto_scan=true")
    corereg("project", "create", "people", status=5)
    corereg("project", "create", "NOT A NAME", status=2)
    corereg("project", "show", "peopel", status=3)
    assert read(corereg("project", "show", "people", "--json"))["metadata"]["auto_scan"] == "true"
    assert "people" in names(corereg("project", "list", "--name", "peop", "-o", "name"))
    for name in ("alice", "bob"):
        corereg("user", "create", name, "--email", f"{name}@example.com", "--password-stdin", input=SECRET)
    corereg("group", "create", "builders")
    corereg("group", "add", "builders", "bob")
    assert names(corereg("group", "members", "builders", "-o", "name")) == ["bob"]
    corereg("project", "member", "add", "alice", "-p", "people", "--role", "guest")
    corereg("project", "member", "add", "alice", "-p", "people", "--role", "guest", status=5)
    corereg("project", "member", "add", "builders", "-p", "people", "--role", "developer", "--group")
    corereg("project", "member", "set-role", "alice", "maintainer", "-p", "people")
    members = read(corereg("project", "member", "list", "-p", "people", "--json"))["items"]
    assert {(each["entity_name"], each["role_name"]) for each in members} >= {
        ("alice", "maintainer"),
        ("builders", "developer"),
    }
    corereg("login", harbor.url, "-u", "alice", "--password-stdin", "--context", "alice", input=SECRET)
    assert names(corereg("project", "list", "--private", "-o", "name")) == ["people"]
    corereg("project", "delete", "people", "--yes", status=4)
    corereg("user", "list", status=4)
    corereg("user", "password", "alice", "--password-stdin", input="Another-password-2")
    assert names(corereg("whoami", "-o", "name")) == ["alice"], "the context has the new password"
    corereg("context", "use", "admin")
    corereg("project", "member", "remove", "alice", "-p", "people", "--yes")
    corereg("project", "member", "remove", "alice", "-p", "people", "--yes", status=3)
    corereg("user", "admin", "bob", "--grant")
    bob = next(each for each in read(corereg("user", "list", "--json"))["items"] if each["username"] == "bob")
    assert bob["sysadmin_flag"] is True
    corereg("user", "delete", "bob", "--yes")
    corereg("group", "delete", "builders", "--yes")
    assert read(corereg("project", "usage", "people", "--json"))["quota"]["hard"]["storage"] == 2**30
    corereg("project", "delete", "people", "--yes")


async def test_robots(corereg: Corereg, harbor: Served) -> None:
    corereg("project", "create", "machines")
    words = ("robot", "create", "ci", "-p", "machines", "--allow", "push", "--expires", "90d", "--export", "json")
    made = read(corereg(*words))
    assert made["registry"] == harbor.url.removeprefix("http://")
    async with RegistryClient(harbor.url, credentials=Credentials(made["name"], made["secret"])) as client:
        await client.push_image("machines/app", "v1")
    assert names(corereg("robot", "list", "-p", "machines", "-o", "name")) == [made["name"]]
    for name in ("ci", made["name"]):
        assert read(corereg("robot", "show", name, "-p", "machines", "--json"))["duration"] == 90
    corereg("robot", "show", "ci", status=3)
    corereg("robot", "disable", "ci", "-p", "machines")
    assert read(corereg("robot", "show", "ci", "-p", "machines", "--json"))["disable"] is True
    corereg("robot", "enable", "ci", "-p", "machines")
    secret = corereg("robot", "refresh", "ci", "-p", "machines").stdout.splitlines()[1]
    assert secret != made["secret"]
    corereg("login", harbor.url, "-u", made["name"], "--password-stdin", "--context", "robot", input=secret)
    assert names(corereg("whoami", "-o", "name")) == [made["name"]]
    corereg("context", "use", "admin")
    corereg("robot", "delete", "ci", "-p", "machines", "--yes")
    corereg("project", "delete", "machines", "--recursive", "--yes")


async def test_what_was_pushed(corereg: Corereg, docker: RegistryClient) -> None:
    corereg("project", "create", "goods")
    first = await docker.push_image("goods/team/app", "v1")
    second = await docker.push_image("goods/team/app", "v2")
    app = "goods/team/app"
    assert names(corereg("repo", "list", "-p", "goods", "-o", "name")) == [app]
    corereg("repo", "describe", app, "The app")
    assert read(corereg("repo", "show", "team/app", "-p", "goods", "--json"))["description"] == "The app"
    assert names(corereg("artifact", "list", app, "-o", "name")) == [second.digest, first.digest]
    assert corereg("artifact", "manifest", f"{app}:v1").stdout_bytes == first.body
    assert read(corereg("artifact", "show", f"{app}@{first.digest}", "--json"))["tags"][0]["name"] == "v1"
    corereg("tag", "add", f"{app}:v1", "stable")
    corereg("tag", "add", f"{app}:v1", "stable", status=5)
    corereg("tag", "move", f"{app}:stable", "v2")
    tags = {each["name"]: each["digest"] for each in read(corereg("tag", "list", app, "--json"))["items"]}
    assert tags == {"v1": first.digest, "v2": second.digest, "stable": second.digest}
    corereg("tag", "remove", f"{app}:stable", "--yes")
    corereg("tag", "remove", f"{app}:stable", "--yes", status=3)
    corereg("label", "create", "own", "-p", "goods", "--color", "#0065ab")
    corereg("label", "create", "everywhere")
    for label in ("own", "everywhere"):
        corereg("artifact", "label", f"{app}:v1", label)
    assert names(corereg("artifact", "list", app, "--label", "own", "-o", "name")) == [first.digest]
    assert names(corereg("artifact", "list", app, "--tag", "v2", "-o", "name")) == [second.digest]
    corereg("artifact", "label", f"{app}:v1", "own", "--remove")
    corereg("label", "update", "own", "-p", "goods", "--description", "Ours")
    assert read(corereg("label", "list", "-p", "goods", "--json"))["items"][0]["description"] == "Ours"
    corereg("label", "delete", "everywhere", "--yes")
    corereg("artifact", "copy", f"{app}:v1", "goods/copied")
    corereg("artifact", "copy", f"{app}:v1", "goods/copied:stable")
    assert sorted(names(corereg("tag", "list", "goods/copied", "-o", "name"))) == ["stable", "v1"]
    assert corereg("search", "copied", "-o", "name").stdout == "goods/copied\n"
    corereg("artifact", "delete", f"{app}:v2", "--yes")
    corereg("artifact", "show", f"{app}:v2", status=3)
    (deleted, *_) = names(corereg("trash", "list", "--repository", app, "--kind", "manifest", "-o", "name"))
    assert second.digest in corereg("trash", "restore", deleted).output
    assert read(corereg("artifact", "show", f"{app}:v2", "--json"))["digest"] == second.digest
    corereg("trash", "restore", deleted, status=3)
    corereg("artifact", "delete", f"{app}:v2", "--yes")
    assert (
        "goods/copied"
        in corereg("project", "delete", "goods", "--yes", status=5).stderr
        + corereg("repo", "list", "-p", "goods").stdout
    )
    corereg("project", "delete", "goods", "--recursive", "--yes")


def test_quotas_and_settings(corereg: Corereg) -> None:
    corereg("project", "create", "small")
    corereg("quota", "set", "small", "5GiB")
    quotas = {
        each["ref"]["name"]: each["hard"]["storage"] for each in read(corereg("quota", "list", "--json"))["items"]
    }
    assert quotas["small"] == 5 * 2**30
    corereg("quota", "default", "2GiB")
    assert corereg("quota", "default").stdout == "2.0 GiB\n"
    corereg("quota", "default", "unlimited")
    corereg("quota", "reconcile", status=2)
    corereg("settings", "set", "self_registration", "on")
    assert corereg("settings", "get", "self_registration").stdout == "yes\n"
    corereg("settings", "set", "self_registration", "off")
    corereg("settings", "get", "self_registratoin", status=3)
    corereg("project", "delete", "small", "--yes")


DECLARED = """
settings: {self_registration: true}
labels:
  - {name: 已审核, description: Somebody looked, color: "#00ff00"}
projects:
  - name: declared
    public: true
    storage: 6GiB
    metadata: {auto_scan: true}
    members:
      - {user: admin, role: project-admin}
      - {user: carol, role: developer}
      - {user: carol, role: maintainer, pattern: app/*}
    labels: [{name: own}]
robots:
  - {name: ci, project: declared, allow: [push], expires: 90d}
  - name: sweeper
    expires: never
    permissions: [{project: "*", allow: ["tag:delete", pull]}]
"""
CHANGED = DECLARED.replace("public: true", "public: false").replace("labels: [{name: own}]", "labels: []")


def test_a_declaration_is_applied_once(corereg: Corereg, tmp_path: Path) -> None:
    corereg("user", "create", "carol", "--email", "carol@example.com", "--password-stdin", input=SECRET)
    file = tmp_path / "registry.yaml"
    file.write_text(DECLARED)
    plan = read(corereg("apply", "-f", str(file), "--plan", "--json"))
    assert {(step["action"], step["kind"], step["name"]) for step in plan["steps"]} == {
        ("update", "setting", "self_registration"),
        ("create", "label", "已审核"),
        ("create", "project", "declared"),
        ("create", "member", "declared/admin"),
        ("create", "member", "declared/carol"),
        ("create", "label", "declared/own"),
        ("create", "robot", "declared/ci"),
        ("create", "robot", "sweeper"),
    }
    corereg("project", "show", "declared", status=3)
    assert "--secrets-file" in corereg("apply", "-f", str(file), status=2).stderr
    corereg("project", "show", "declared", status=3)
    secrets = tmp_path / "secrets.json"
    assert not (set(read(corereg("apply", "-f", str(file), "--secrets-file", str(secrets), "--json"))) & {"secret"})
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert len(json.loads(secrets.read_text())) == 2
    assert "nothing to do" in corereg("apply", "-f", str(file)).stdout
    exported = tmp_path / "exported.yaml"
    exported.write_text(corereg("export-config").stdout)
    assert "nothing to do" in corereg("apply", "-f", str(exported)).stdout

    file.write_text(CHANGED)
    assert "~ project declared  public: true -> false" in corereg("apply", "-f", str(file)).stdout
    assert names(corereg("label", "list", "-p", "declared", "-o", "name")) == ["own"], "not declared, not touched"
    file.write_text("projects: [{name: library}, {name: declared, members: [], labels: []}]\nrobots: []\n")
    corereg("apply", "-f", str(file), "--prune", status=2)
    corereg("apply", "-f", str(file), "--prune", "--yes")
    assert names(corereg("label", "list", "-p", "declared", "-o", "name")) == []
    assert names(corereg("robot", "list", "-p", "declared", "-o", "name")) == []
    assert names(corereg("project", "member", "list", "-p", "declared", "-o", "name")) == ["admin"], "the owner stays"
    assert "nothing to do" in corereg("apply", "-f", str(file), "--prune").stdout
    corereg("project", "delete", "declared", "--yes")
    corereg("label", "delete", "已审核", "--yes")
    corereg("settings", "set", "self_registration", "off")


def test_a_declaration_that_fails_half_way(corereg: Corereg, tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text("projects: [{name: half, members: [{user: nobody-at-all, role: guest}]}]\n")
    done = corereg("apply", "-f", str(file), status=7)
    assert "1 of 2 steps are done" in done.stderr
    file.write_text("projects: [{name: half, members: []}]\n")
    assert "nothing to do" in corereg("apply", "-f", str(file)).stdout
    corereg("project", "delete", "half", "--yes")


def test_jobs_collections_and_nodes(corereg: Corereg) -> None:
    (node,) = read(corereg("node", "list", "--json"))["items"]
    assert (node["status"], node["concurrency"] > 0) == ("alive", True)
    done = corereg("gc", "run", "--dry-run", "--untagged", "--workers", "2", "--wait")
    assert "Success" in done.stdout
    number = re.search(r"job (\d+)", done.stdout)
    assert number is not None
    job = number[1]
    shown = read(corereg("gc", "show", job, "--json"))
    assert json.loads(shown["job_parameters"])["workers"] == 2
    assert job in names(corereg("gc", "list", "-o", "name"))
    assert "would take" in corereg("gc", "log", job).stdout
    assert "would take" in corereg("job", "log", job, "--follow").stdout
    assert read(corereg("job", "show", job, "--json"))["status"] == "Success"
    assert names(corereg("job", "list", "--kind", "garbage_collection", "--status", "success", "-o", "name")) == [job]
    assert "had ended already" in corereg("job", "stop", job).stdout
    again = read(corereg("job", "retry", job, "--json"))["id"]
    assert read(corereg("job", "watch", str(again), "--json"))["results"][0]["blobs"] == 0
    corereg("job", "show", "999999", status=3)
    corereg("job", "watch", "999999", status=3)
    corereg("job", "start", "nothing", status=3)
    corereg("gc", "run", "--workers", "11", status=2)
    corereg("job", "pause", "garbage_collection")
    waits = str(read(corereg("gc", "run", "--json"))["id"])
    queues = {each["job_type"]: each for each in read(corereg("job", "queues", "--json"))["items"]}
    assert (queues["GARBAGE_COLLECTION"]["paused"], queues["GARBAGE_COLLECTION"]["count"]) == (True, 1)
    corereg("gc", "stop", waits)
    assert "Stopped" in corereg("job", "watch", waits, status=1).stdout
    corereg("job", "resume", "all")
    assert "only by hand" in corereg("gc", "schedule").stdout
    corereg("gc", "schedule", "0 30 2 * * *", "--untagged")
    assert "0 30 2 * * *" in corereg("gc", "schedule").stdout
    corereg("gc", "schedule", "0 30 2", status=2)
    found = {each["vendor_type"]: each for each in read(corereg("job", "schedules", "--json"))["items"]}
    assert len(found["GARBAGE_COLLECTION"]["next_runs"]) == 5
    corereg("gc", "schedule", "never")
    corereg("job", "schedule", "housekeeping", "0 15 * * * *")


def test_ctrl_c_ends_the_following_and_not_the_job(corereg: Corereg, monkeypatch: pytest.MonkeyPatch) -> None:
    corereg("job", "pause", "housekeeping")
    job = str(read(corereg("job", "start", "housekeeping", "--json"))["id"])

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("time.sleep", interrupted)
        done = corereg("job", "watch", job, status=130)
    assert f"job {job} goes on" in done.stderr
    assert read(corereg("job", "show", job, "--json"))["status"] == "Pending"
    corereg("job", "resume", "housekeeping")
    assert "Success" in corereg("job", "watch", job).stdout
