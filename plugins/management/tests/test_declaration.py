"""What `corereg apply` reads: mistakes are told with their line, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from corereg import remote
from corereg_management.declaration import Document, Label, Member, Project, read


def written(tmp_path: Path, text: str, name: str = "registry.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_is_left_out_says_nothing(tmp_path: Path) -> None:
    assert read(written(tmp_path, "")) == Document()
    assert read(written(tmp_path, "projects: [{name: demo}]")).projects == (Project(name="demo"),)
    assert read(written(tmp_path, "projects: [{name: demo, members: []}]")).projects == (
        Project(name="demo", members=()),
    )


def test_metadata_is_text(tmp_path: Path) -> None:
    document = read(written(tmp_path, "projects: [{name: demo, public: true, metadata: {auto_scan: false, speed: 3}}]"))
    assert document.projects is not None
    assert document.projects[0].wanted() == {"auto_scan": "false", "speed": "3", "public": "true"}


def test_json_is_read_too(tmp_path: Path) -> None:
    path = written(tmp_path, '{"labels": [{"name": "a"}]}', "registry.json")
    assert read(path).labels == (Label(name="a"),)


def test_a_folder_is_one_document(tmp_path: Path) -> None:
    written(tmp_path, "projects: [{name: a}]", "1.yaml")
    written(tmp_path, "projects: [{name: b}]\nsettings: {x: 1}", "2.yml")
    written(tmp_path, "not for us", "README.md")
    document = read(tmp_path)
    assert [project.name for project in document.projects or ()] == ["a", "b"]
    assert document.settings == {"x": 1}
    assert document.robots is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("projects:\n  - name: a\n    pubilc: true", ":3  unknown key pubilc. Did you mean public?"),
        ("projects:\n  - name: a\n    members:\n      - {usr: b, role: guest}", ":4  unknown key usr."),
        ("robtos: []", ":1  unknown key robtos. Did you mean robots?"),
        ("xyz: []", ":1  unknown key xyz. Keys: settings, labels, projects, robots."),
        ("1: []", ":1  unknown key 1."),
        ("labels:\n  - name: 3", ":2  labels.0.name: Expected `str`, got `int`"),
        ("labels:\n  - color: red", ":2  labels.0: Object missing required field `name`"),
        ("labels:\n  - {name: a}\n  - {name: a}", "the label a is given twice"),
        ("labels: []\nlabels: []", ":2  labels is given twice; see line 1"),
        ("projects:\n  - name: a\n    storage: much", ":3  'much' is no limit"),
        (
            "projects:\n  - name: a\n    members: [{user: a, group: b, role: guest}]",
            ":3  a member is a user or a group",
        ),
        ("projects:\n  - name: a\n    members:\n    - {user: a, role: boss}", ":4  there is no role 'boss'"),
        (
            "projects: [{name: a, members: [{user: a, role: guest}, {user: a, role: developer}]}]",
            "the member u a  of a is given twice",
        ),
        ("robots:\n  - {name: a, project: b}", ":2  the robot a of a project says in `allow`"),
        ("robots:\n  - {name: a, allow: [pull]}", ":2  the robot a of the system says in `permissions`"),
        ("robots:\n  - {name: a, project: b, allow: [pul]}", ":2  'pul' is no right. Did you mean pull?"),
        ("robots:\n  - {name: a, project: b, allow: [pull], expires: soon}", ":2  'soon' is no time to live"),
        ("robots:\n  - {name: a, permissions: [{allow: [pull]}]}", ":2  a permission is for a `project`"),
        ("- a", ":1  the document: Expected `object`, got `array`"),
        ("labels: [", ":1  this is not YAML"),
        ("labels: !!python/object:os.system {}", ":1  this is not YAML"),
        ("settings: {since: 2026-11-25}", None),
        ("settings: &a\n  b: *a", "nested too deeply"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, sentence: str | None) -> None:
    path = written(tmp_path, text)
    if sentence is None:
        read(path)  # a date is a text where nothing else is asked for
        return
    with pytest.raises(remote.Misuse) as caught:
        read(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value) or "given twice" in sentence


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "projects:\n  - {name: a, x: 1}\n  - {name: b, y: 2}\n")
    with pytest.raises(remote.Misuse) as caught:
        read(path)
    assert [line.partition("  ")[0] for line in str(caught.value).splitlines()] == [f"{path}:2", f"{path}:3"]


def test_two_files_that_say_the_same(tmp_path: Path) -> None:
    written(tmp_path, "projects: [{name: a}]", "1.yaml")
    written(tmp_path, "projects: [{name: a}]", "2.yaml")
    with pytest.raises(remote.Misuse, match="the project a is given twice"):
        read(tmp_path)


def test_a_folder_without_documents(tmp_path: Path) -> None:
    with pytest.raises(remote.Misuse, match="holds no"):
        read(tmp_path)


def test_a_yaml_bomb(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(remote.Misuse, match="repeats itself too often"):
        read(written(tmp_path, "\n".join(lines)))


def test_a_member_is_known_by_who_and_where() -> None:
    assert Member(user="a", role="guest").key == ("u", "a", "")
    assert Member(group="a", role="guest", pattern="app/*").key == ("g", "a", "app/*")
