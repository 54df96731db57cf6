"""Every command: its answer on stdout, everything else on stderr, and an exit status that scripts can rely on."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from corereg.cli import CommandContext, cli
from corereg.cli.root import BUILT_IN
from corereg.plugins import HOOKS

from .conftest import Corereg

# ---- help ----


def test_help_lists_what_there_is(corereg: Corereg) -> None:
    result = corereg("--help")
    assert result.exit_code == 0
    for name, sentence in BUILT_IN.items():
        assert re.search(rf"^  {name} +{re.escape(sentence)}$", result.stdout, re.MULTILINE)
    assert re.search(r"^Commands of plugins:\n  crate +Handle crates\.$", result.stdout, re.MULTILINE)


def test_help_helps_while_the_configuration_is_wrong(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").write_text("prot = 1\n")
    result = corereg("--help")
    assert result.exit_code == 0
    assert "serve" in result.stdout
    assert "unknown key prot" in result.stderr


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_word_is_there(corereg: Corereg, name: str) -> None:
    result = corereg(name, "--help")
    assert result.exit_code == 0
    first = BUILT_IN[name].partition(".")[0]
    assert first.split()[0] in result.stdout


def _every_word(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    context = click.Context(command, obj=CommandContext())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _every_word(command.get_command(context, name), (*words, name))


def test_help_shows_no_mark_of_its_layout(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").unlink()  # the first-party plugins
    told = {words: corereg(*words, "--help").stdout for words in _every_word(cli, ())}
    assert ("serve",) in told
    assert ("user", "create") in told
    assert [words for words, text in told.items() if "\\" in text or "\b" in text] == []


def test_no_command_at_all_is_a_question(corereg: Corereg) -> None:
    assert "Usage: corereg" in corereg().output


@pytest.mark.parametrize(
    "words",
    ["--version", "login --help", "context --help", "serve --help", "config --help", "keys --help", "db --help"],
    ids=lambda words: words,
)
def test_what_needs_no_registry_loads_none(house: Path, words: str) -> None:
    code = (
        "import sys; from corereg.cli import cli\n"
        f"try: cli.main({words.split()!r}, prog_name='corereg')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'sqlalchemy', 'alembic', 'cryptography', 'hypercorn', 'pluggy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=house)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", ["--help", "user --help", "user create --help"], ids=lambda words: words)
def test_help_about_plugins_loads_no_library_that_they_work_with(tmp_path: Path, words: str) -> None:
    """The first-party plugins, as without a configuration; a person waits for help, and for each word's completion."""
    code = (
        "import sys; from corereg.cli import cli\n"
        f"try: cli.main({words.split()!r}, prog_name='corereg')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    *shown, loaded = done.stdout.splitlines()
    assert any("user" in line for line in shown)
    libraries = {name for name in ast.literal_eval(loaded) if not name.startswith(("_", "corereg"))}
    assert libraries - sys.stdlib_module_names <= {"click", "msgspec", "pluggy", "typing_extensions"}
    assert "asyncio" not in libraries


def test_the_version(corereg: Corereg) -> None:
    assert re.fullmatch(r"corereg \d+\.\d+\.\d+\S*\n", corereg("--version").stdout)
    lines = corereg("version").stdout.splitlines()
    assert lines[0] == corereg("--version").stdout.strip()
    assert re.fullmatch(r"Python 3\.\d+\.\d+\S*", lines[1])
    assert any(line.startswith("corereg-storage-fs ") for line in lines)


def test_python_m_corereg_is_the_same(house: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "corereg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("corereg ")


# ---- mistakes ----


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("serv", "No such command 'serv'. Did you mean serve?"),
        ("crat", "No such command 'crat'. Did you mean crate?"),
        ("config chek", "No such command 'chek'. Did you mean check?"),
        ("plugins lst", "No such command 'lst'. Did you mean list?"),
        ("serve --prot 1", "No such option '--prot'"),
        ("serve --workers 0", "0 is not in the range"),
        ("serve --server apache", "'apache' is not one of 'hypercorn', 'uvicorn', 'granian'"),
    ],
)
def test_mistakes_are_usage_errors(corereg: Corereg, words: str, sentence: str) -> None:
    result = corereg(*words.split())
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not result.stdout


def test_a_word_of_a_plugin_that_is_not_enabled(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").write_text('plugins = ["./policy.py"]\n')
    result = corereg("xyzzy")
    assert result.exit_code == 2
    assert "These plugins are installed, but not enabled:" in result.stderr
    assert "storage_fs" in result.stderr


@pytest.mark.parametrize(
    ("what", "status", "sentence"),
    [
        ("conflict", 5, "there is one already"),
        ("database", 1, "the database sleeps"),
        ("storage", 1, "the disk is away"),
        ("missing", 3, "no such manifest"),
        ("denied", 4, "not you"),
        ("unauthorized", 4, "who are you"),
    ],
)
def test_errors_become_a_sentence_and_a_status(corereg: Corereg, what: str, status: int, sentence: str) -> None:
    result = corereg("crate", "fail", what)
    assert result.exit_code == status
    assert result.stderr == f"Error: {sentence}\n"
    assert not result.stdout


def test_a_bug_is_not_hidden(corereg: Corereg) -> None:
    assert isinstance(corereg("crate", "fail", "bug").exception, ZeroDivisionError)


def test_ctrl_c(corereg: Corereg) -> None:
    assert corereg("crate", "stop").exit_code == 130


def test_a_plugin_that_does_not_load(corereg: Corereg, house: Path) -> None:
    (house / "policy.py").write_text("import nothing_of_that_name\n")
    result = corereg("crate")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: plugin file ")
    assert "nothing_of_that_name" in result.stderr


# ---- which configuration ----


def test_options_may_stand_before_and_after_the_word(corereg: Corereg, house: Path) -> None:
    other = house / "other.toml"
    other.write_text(f'plugins = ["storage_fs", "./policy.py"]\ndata = "{house / "there"}"\n')
    for words in (["--config", other, "crate", "folder"], ["crate", "folder", "--config", other]):
        assert corereg(*words).stdout == f"{house / 'there'}\n"
    for words in (["--data", "here", "crate", "folder"], ["crate", "folder", "--data", "here"]):
        assert corereg(*words).stdout == f"{house / 'here'}\n"
    both = corereg("--data", "here", "crate", "folder", "--config", other)
    assert both.stdout == f"{house / 'here'}\n"


def test_the_file_is_searched_for(corereg: Corereg, house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert corereg("crate", "folder").stdout == f"{house / 'corereg-data'}\n"
    (house / "named.toml").write_text('plugins = ["storage_fs", "./policy.py"]\ndata = "named"\n')
    monkeypatch.setenv("COREREG_CONFIG", str(house / "named.toml"))
    assert corereg("crate", "folder").stdout == f"{house / 'named'}\n"
    assert corereg("crate", "folder", "--config", house / "corereg.toml").stdout == f"{house / 'corereg-data'}\n"
    monkeypatch.setenv("COREREG__DATA", str(house / "variable"))
    assert corereg("crate", "folder").stdout == f"{house / 'variable'}\n"


def test_no_file_is_needed(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").unlink()
    assert corereg("config", "check").stdout == "no file, environment and defaults: no problems\n"


# ---- config ----


def test_config_check_finds_everything_at_once(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").write_text(
        'plugins = ["storage_fs", "./policy.py"]\n[storage_fs]\nfsnc = true\n[serverr]\nport = 1\n'
    )
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert result.stdout.splitlines() == [
        "corereg.toml:3  unknown key storage_fs.fsnc - did you mean fsync?",
        "corereg.toml:4  unknown table serverr: neither the core nor an enabled plugin has it - did you mean server?",
        "2 problems",
    ]
    (house / "corereg.toml").write_text('plugins = ["storage_f"]\n')
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert result.stdout.startswith("corereg.toml:1  plugin 'storage_f' is not installed - did you mean storage_fs?")
    assert result.stdout.endswith("1 problem\n")


COMMAND = [sys.executable, "-c", "from corereg.cli.root import main; main()"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize("words", ["plugins hooks", "config print", "--help", "plugins --help", "--version"])
def test_output_that_cannot_be_written_is_told(house: Path, words: str) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, *words.split()], stdout=full, stderr=subprocess.PIPE, text=True, cwd=house, check=False
        )
    assert ended.returncode
    assert ended.stderr.splitlines()[0] == "Error: the output cannot be written: No space left on device"
    assert "Traceback" not in ended.stderr


def test_who_reads_no_further_is_no_failure_to_tell(house: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        ended = subprocess.run(
            [*COMMAND, "plugins", "hooks"], stdout=writes, stderr=subprocess.PIPE, text=True, cwd=house, check=False
        )
    finally:
        os.close(writes)
    assert "Error" not in ended.stderr


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os, shutil; shutil.rmtree({str(gone)!r}); from corereg.cli.root import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "config", "check"], cwd=gone, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == "Error: the working directory, which is gone, cannot be used: No such file or directory\n"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("storage", "corereg.toml:3  storage.url: no enabled plugin serves the storage 'zz'"),
        ("database", "corereg.toml:3  database.url: no database for 'zz'; use sqlite:"),
    ],
)
def test_a_url_nobody_serves_is_told_with_its_place(corereg: Corereg, house: Path, table: str, said: str) -> None:
    (house / "corereg.toml").write_text(f'plugins = ["storage_fs"]\n[{table}]\nurl = "zz://x"\n')
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert result.stdout.startswith(said)
    assert result.stdout.endswith("1 problem\n")
    result = corereg("serve", "--check-only")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {said}")


def test_a_database_in_memory_is_never_an_accident(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").write_text('plugins = ["storage_fs"]\n[database]\nurl = "sqlite:"\n')
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert result.stdout.startswith("corereg.toml:3  database.url: sqlite: needs the path of a file")
    (house / "corereg.toml").write_text(
        'plugins = ["storage_fs"]\n[database]\nurl = "sqlite::memory:"\n[server]\nworkers = 2\n'
    )
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert result.stdout.startswith("corereg.toml:3  database.url: each worker would have a sqlite::memory: of its own")
    assert corereg("serve", "--workers", "2").stderr.startswith("Error: corereg.toml:3  database.url: each worker")
    assert corereg("serve", "--check-only", "--workers", "1").exit_code == 0


def test_a_plugin_that_is_not_installed_is_told_with_its_place(corereg: Corereg, house: Path) -> None:
    (house / "corereg.toml").write_text('plugins = ["storage_f"]\n')
    said = corereg("serve", "--check-only").stderr
    assert said.startswith("Error: corereg.toml:1  plugins: plugin 'storage_f' is not installed - did you mean")


def test_config_check_looks_at_certificates(corereg: Corereg, house: Path) -> None:
    text = (house / "corereg.toml").read_text()
    (house / "corereg.toml").write_text(text + '[server.tls]\ncert = "no.pem"\nkey = "no.pem"\n')
    result = corereg("config", "check")
    assert result.exit_code == 9
    assert "no.pem cannot be read" in result.stdout


def test_config_check_changes_nothing(corereg: Corereg, house: Path) -> None:
    assert corereg("config", "check").exit_code == 0
    assert not (house / "corereg-data").exists()


def test_config_print(corereg: Corereg, house: Path) -> None:
    with (house / "corereg.toml").open("a") as file:
        file.write('[database]\nurl = "postgresql://u:hunter2@db/x"\n[server]\nport = 5000\n')
    result = corereg("config", "print", "--origin")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "port = 5000  # corereg.toml:5\n" in result.stdout
    assert 'host = "127.0.0.1"  # default\n' in result.stdout
    assert tomllib.loads(corereg("config", "print").stdout)["storage_fs"] == {"fsync": True}


# ---- plugins ----


def test_plugins_list(corereg: Corereg) -> None:
    result = corereg("plugins", "list")
    rows = [line.split(maxsplit=4) for line in result.stdout.splitlines()]
    assert rows[0] == ["NAME", "VERSION", "FROM", "ORDER", "HOOKS"]
    assert rows[1][0] == "storage_fs"
    assert rows[1][3:] == ["1", "provide_storage"]
    assert rows[2][0] == "policy"
    assert "check_password, grants" in result.stdout


def test_plugins_info(corereg: Corereg) -> None:
    result = corereg("plugins", "info", "storage_fs")
    assert result.exit_code == 0
    assert re.match(r"storage_fs  corereg-storage-fs \S+  \(enabled, 1 of 2\)\n", result.stdout)
    assert "provide_storage" in result.stdout
    assert "fsync (true or false; default: true)" in result.stdout
    assert "(enabled, 2 of 2)" in corereg("plugins", "info", "policy").stdout


def test_plugins_info_of_nobody(corereg: Corereg) -> None:
    result = corereg("plugins", "info", "storage_fz")
    assert result.exit_code == 3
    assert result.stderr == "Error: No plugin 'storage_fz' is installed or enabled. Did you mean storage_fs?\n"


def test_plugins_hooks(corereg: Corereg) -> None:
    lines = corereg("plugins", "hooks").stdout.splitlines()
    assert [line.partition("(")[0] for line in lines[1:]] == list(HOOKS)
    told = corereg("plugins", "hooks", "admit").stdout
    assert told.startswith("async def admit(operation: Operation) -> Refusal | None\n")
    assert re.search(r"^Order:  the first refusal ends it\.$", told, re.MULTILINE)
    assert "    async def admit(operation):" in told
    assert corereg("plugins", "hooks", "admti").stderr == "Error: There is no hook 'admti'. Did you mean admit?\n"
    assert corereg("plugins", "hooks", "admti").exit_code == 3


# ---- db and keys ----


def test_db_current_looks_and_upgrade_does(corereg: Corereg, house: Path, corereg_database: str | None) -> None:
    if corereg_database is not None:
        pytest.skip("what --corereg-database makes has the core's tables already")
    head, core = corereg("db", "current").stdout.splitlines()
    assert head.split() == ["TABLES", "REVISION", "NEWEST", "STATE"]
    assert core.split()[:2] == ["core", "none"]
    assert not (house / "corereg-data").exists()
    newest = core.split()[2]
    assert corereg("db", "upgrade").stdout == f"core: none -> {newest}\n"
    assert corereg("db", "upgrade").stdout == f"core: {newest}, current\n"
    assert corereg("db", "current").stdout.splitlines()[1].split() == ["core", newest, newest, "current"]


def test_db_check_and_move_make_no_database(corereg: Corereg, house: Path, corereg_database: str | None) -> None:
    if corereg_database is not None:
        pytest.skip("what --corereg-database makes is there")
    (house / "corereg-data").mkdir()
    for words in (("db", "check"), ("db", "move", f"sqlite:{house / 'new.db'}")):
        result = corereg(*words)
        assert result.exit_code == 3
        assert "There is no database sqlite:" in result.stderr
        assert not list((house / "corereg-data").iterdir())
        assert not (house / "new.db").exists()


def test_keys(corereg: Corereg) -> None:
    def keys() -> list[list[str]]:
        return [line.split(maxsplit=4) for line in corereg("keys", "list").stdout.splitlines()[1:]]

    (old,) = keys()
    assert old[-1] == "signs"
    result = corereg("keys", "rotate")
    new = result.stdout.strip()
    assert "new key" not in result.stdout
    assert "this key" in result.stderr
    retired, signing = keys()
    assert (retired[0], signing[0]) == (old[0], new)
    assert retired[-1].startswith("retired, believed until")


def test_nothing_is_coloured_in_a_pipe(corereg: Corereg) -> None:
    for words in ("--help", "plugins list", "serv", "config print --origin"):
        assert "\x1b" not in corereg(*words.split()).output


def test_log_lines_of_commands_are_on_stderr(house: Path) -> None:
    (house / "corereg.toml").write_text(
        'plugins = ["storage_fs", "./policy.py"]\n[log]\nlevel = "debug"\nformat = "json"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "corereg", "keys", "rotate"], capture_output=True, text=True, check=True, cwd=house
    )
    assert re.fullmatch(r"\w+\n", done.stdout)
    for line in done.stderr.splitlines():
        if line.startswith("{"):
            json.loads(line)
