"""corereg.toml, the environment and the command line become one Config; every mistake is named with its place."""

from __future__ import annotations

import enum
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corereg.config import (
    Config,
    ConfigError,
    Duration,
    Location,
    Secret,
    ServerConfig,
    SettingError,
    Size,
    TLSConfig,
    TokensConfig,
    decode_table,
    redact,
    reference_markdown,
)
from corereg.config.model import INTERNAL
from corereg.config.printing import Printer

HOST = "must be a host name or IP address to listen on, such as 127.0.0.1 or 0.0.0.0"
KIND = "must be one of hypercorn, uvicorn, granian"
KEY = "needs server.tls.cert too: a key without its certificate cannot be used"
AMBIGUOUS = "has the ambiguous unit M: write MiB (powers of 1024) or MB (powers of 1000)"
SCHEME = "must begin with a scheme and a colon, as fs:/data and postgresql://user@host/name do"
STAR = "cannot be *: any client could forge its address; write 0.0.0.0/0 and ::/0 if that is meant"
DURATION = 'must be a duration such as "30m", "1h30m", "7d" (units w d h m s, largest first)'


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write corereg.toml into the working directory; relative names in messages are short then."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="corereg.toml"):
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problems(file=None, environment=None, overrides=None):
    with pytest.raises(ConfigError) as caught:
        Config.load(file, environment or {}, overrides or {})
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).splitlines()


# ------------------------------------------------------------------------------------------------------ defaults


def test_nothing_has_to_be_configured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config.load()
    assert config.plugins is None
    assert config.data == tmp_path / "corereg-data"
    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 8080, 1)
    assert config.server.kind == "hypercorn"
    assert config.database_url == f"sqlite:{tmp_path}/corereg-data/corereg.db"
    assert config.storage_url == f"fs:{tmp_path}/corereg-data/storage"
    assert (config.tokens.lifetime, config.tokens.rotate, config.tokens.leeway) == (1800, 90 * 86400, 60)
    assert (config.uploads.expire, config.uploads.lease, config.uploads.size_limit) == (7 * 86400, 30, None)
    assert config.protocol.manifest_limit == 4 * 1024 * 1024
    assert not config.server.tls.enabled
    assert config.tables == {}


def test_the_defaults_pass_their_own_check():
    Config().check()


def test_values_are_frozen():
    with pytest.raises(AttributeError):
        Config().server.port = 1  # type: ignore[misc]


# --------------------------------------------------------------------------------------------- layers and origins


def test_later_layers_win(written):
    file = written("[server]\nport = 1\nworkers = 2\nhost = 'a'\n")
    environment = {"COREREG__SERVER__PORT": "3", "COREREG__SERVER__WORKERS": "4", "PATH": "/bin", "COREREG_X": "y"}
    config = Config.load(file, environment, {"server.port": "5", "server.kind": None})
    assert (config.server.port, config.server.workers, config.server.host) == (5, 4, "a")
    assert config.server.kind == "hypercorn"
    assert str(config.origins["server", "port"]) == "command line"
    assert str(config.origins["server", "workers"]) == "env COREREG__SERVER__WORKERS"
    assert str(config.origins["server", "host"]) == "corereg.toml:4"
    assert config.file == file


def test_every_key_of_the_core_can_be_given_in_the_environment():
    """The rendered value of each key, handed over as a variable, gives the same configuration."""
    wanted = Config.load(
        None,
        {},
        {
            "server.external_url": "https://r.example",
            "server.tls.cert": "/c",
            "server.tls.key": "/k",
            "uploads.size_limit": "3GiB",
            "plugins": ["a", "b"],
            "database.url": "postgresql://u:p@h/d",
            "storage.url": "fs:/x",
            "server.trusted_proxies": ["10.0.0.0/8", "::1"],
        },
    )
    environment = {}

    def flatten(table, path):
        for key, value in table.items():
            if isinstance(value, dict):
                flatten(value, (*path, key))
            else:
                text = ",".join(value) if isinstance(value, list) else str(value)
                environment["__".join(("COREREG", *path, key)).upper().replace("COREREG__", "COREREG__", 1)] = text

    flatten(tomllib.loads(wanted.render(redact=False)), ())
    environment = {name: value for name, value in environment.items() if value}
    assert len(environment) > 30
    loaded = Config.load(None, environment)
    assert loaded.render(redact=False) == wanted.render(redact=False)


def test_plugins_are_a_comma_list_in_the_environment():
    assert Config.load(None, {"COREREG__PLUGINS": "accounts, storage_fs,"}).plugins == ("accounts", "storage_fs")
    assert Config.load(None, {"COREREG__PLUGINS": '["a", "b"]'}).plugins == ("a", "b")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False), ("1", True), ("0", False)])
def test_truth_in_the_environment(text, value):
    assert Config.load(None, {"COREREG__PROTOCOL__DELETE": text}).protocol.delete is value


def test_words_may_be_in_any_case():
    config = Config.load(None, {"COREREG__LOG__LEVEL": "INFO", "COREREG__LOG__FORMAT": "Json"})
    assert (config.log.level, config.log.format) == ("info", "json")


def test_a_table_may_be_given_whole_in_one_variable():
    config = Config.load(None, {"COREREG__SERVER__TLS": '{cert = "/c", key = "/k"}'})
    assert config.server.tls == TLSConfig(cert=Path("/c"), key=Path("/k"))


def test_an_outer_variable_comes_before_the_inner_ones():
    environment = {"COREREG__SERVER__TLS__KEY": "/k", "COREREG__SERVER__TLS": "{cert = '/c'}"}
    assert problems(environment=environment) == [
        "COREREG__SERVER__TLS__KEY  server.tls.key cannot be set: server.tls is no table (env COREREG__SERVER__TLS)",
        "COREREG__SERVER__TLS  server.tls.cert needs server.tls.key too: a certificate without its key cannot be used",
    ]


def test_a_bom_is_no_mistake(written):
    assert Config.load(written("\ufeff[server]\nport = 1\n")).server.port == 1


def test_crlf_lines_are_counted(written):
    file = written("")
    file.write_bytes(b"# a\r\n[server]\r\nprot = 1\r\n")
    assert problems(file) == ["corereg.toml:3  unknown key server.prot - did you mean port?"]


# ----------------------------------------------------------------------------------------------------- problems


def test_a_mistake_names_file_line_key_and_a_near_name(written):
    file = written("\n" * 29 + "[server]\nprot = 8080\n")
    with pytest.raises(ConfigError) as caught:
        Config.load(file)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key, problem.near) == ("corereg.toml", 31, "server.prot", "port")
    assert str(problem) == "corereg.toml:31  unknown key server.prot - did you mean port?"


def test_all_problems_are_told_at_once(written):
    file = written(
        """
plugins = "accounts"
prot = 80
[server]
port = 70000
workers = 0
external_url = "reg.example.com"
trusted_proxies = ["10.0.0.1/8", "*", "::1", "nonsense"]
[log]
level = "warn"
[tokens]
lifetime = "30s"
[server.tls]
cert = "c.pem"
""",
    )
    environment = {
        "COREREG__SERVER__PROT": "1",
        "COREREG__UPLOADS__LEASE": "soon",
        "COREREG__": "x",
        "COREREG__SERVER____PORT": "1",
    }
    assert problems(file, environment, {"protocol.delete": "maybe", "server.tls.nope": "x"}) == [
        "corereg.toml:2  plugins must be a list, got text",
        "corereg.toml:3  unknown key prot - did you mean server.port?",
        "corereg.toml:5  server.port must be from 0 to 65535, got 70000",
        "corereg.toml:6  server.workers must be from 1 to 1024, got 0",
        "corereg.toml:7  server.external_url must begin with http:// or https://",
        "corereg.toml:8  server.trusted_proxies[0] has bits set below the mask of 10.0.0.1/8: write 10.0.0.0/8",
        f"corereg.toml:8  server.trusted_proxies[1] {STAR}",
        "corereg.toml:8  server.trusted_proxies[3] must be an IP address or network such as 10.0.0.0/8, got 'nonsense'",
        "corereg.toml:10  log.level must be one of debug, info, warning, error, critical - did you mean warning?",
        "corereg.toml:12  tokens.lifetime must be at least 1m, got 30s",
        "COREREG__  is no setting: the form is COREREG__SECTION__KEY",
        "COREREG__SERVER____PORT  is no setting: the form is COREREG__SECTION__KEY",
        "command line  unknown key server.tls.nope",
        "COREREG__SERVER__PROT  unknown key server.prot - did you mean COREREG__SERVER__PORT?",
        f"COREREG__UPLOADS__LEASE  uploads.lease {DURATION}",
        "command line  protocol.delete must be true or false, got text",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = \n", "corereg.toml:1  invalid value"),
        ("[server]\nport = 1\nport = 2\n", "corereg.toml:3  cannot overwrite a value"),
        ("[server]\n\nx = [1,\n2\n", "corereg.toml:4  "),
        ("[a]\n[a]\n", "corereg.toml:2  cannot declare"),
        ('x = """\n\n', "corereg.toml:"),
        ("a = " + "[" * 5000, "corereg.toml  is nested too deeply"),
    ],
)
def test_a_syntax_error_names_its_line_and_the_environment_is_read_all_the_same(written, text, wanted):
    first, second = sorted(problems(written(text), {"COREREG__SERVER__PORT": "x"}), reverse=True)
    assert first.startswith(wanted)
    assert second == "COREREG__SERVER__PORT  server.port must be a whole number, got text"


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problems(Path("none.toml")) == ["none.toml  cannot be read: No such file or directory"]
    assert problems(Path()) == [".  cannot be read: Is a directory"]
    assert problems(Path("a\0b"))[0].endswith("null byte")
    Path("latin.toml").write_bytes(b"# a\nx = '\xe9'\n")
    assert problems(Path("latin.toml")) == ["latin.toml:2  is not UTF-8 text"]


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("server = 1", "1  server must be a table, got a whole number"),
        ("[[server]]", "1  server must be a table, got a list"),
        ("[[accounts]]", "1  accounts must be one table, [accounts], not a list of tables"),
        ("[plugins]\na = 1", "1  plugins must be a list, got a table"),
        ('plugins = ["a", ""]', "1  plugins[1] is empty: give the name of a plugin or the path of a file"),
        ("plugins = [1]", "1  plugins[0] must be the name of a plugin or the path of a file"),
        ("tables = 1", "1  unknown key tables"),
        ("file = 1", "1  unknown key file"),
        ("data = ''", "1  data must be a path"),
        ("data = 7", "1  data must be a path"),
        ("server.port = true", "1  server.port must be a whole number, got true or false"),
        ("server.port = '80'", "1  server.port must be a whole number, got text"),
        ("server.port = 80.0", "1  server.port must be a whole number, got a number"),
        ("server.port = 2024-01-01", "1  server.port must be a whole number, got date"),
        ("server.port = -1", "1  server.port must be from 0 to 65535, got -1"),
        ("server.host = ''", f"1  server.host {HOST}"),
        ("server.host = 'localhost:80'", "1  server.host cannot hold a port: set server.port"),
        ("server.host = 'a..b'", "1  server.host cannot be a host name: a part of it is empty or too long"),
        ("server.host = '[::1]:80'", "1  server.host cannot hold a port: set server.port"),
        ("server.kind = 'gunicorn'", f"1  server.kind {KIND} - did you mean uvicorn?"),
        ("server.Port = 1", "1  unknown key server.Port - did you mean port?"),
        ("server.tls.key = 'k'", f"1  server.tls.key {KEY}"),
        (
            "server.tls = {cert='c', key='k', self_signed=true}",
            "1  server.tls.self_signed cannot be true while server.tls.cert is given: choose one certificate",
        ),
        ("tokens.lifetime = 59", "1  tokens.lifetime must be at least 1m, got 59s"),
        ("tokens.leeway = '11m'", "1  tokens.leeway must be at most 10m, got 11m"),
        ("journal.batch = 0", "1  journal.batch must be at least 1s, got 0s"),
        ("tokens.issuer = ''", "1  tokens.issuer cannot be empty"),
        ("protocol.manifest_limit = '4M'", f"1  protocol.manifest_limit {AMBIGUOUS}"),
        ("protocol.name_limit = 256", "1  protocol.name_limit must be from 1 to 255, got 256"),
        ("database.url = 'corereg.db'", f"1  database.url {SCHEME}"),
        ('"a b" = 1', '1  unknown key "a b"'),
        ('server."a.b\\n" = 1', '1  unknown key server."a.b\\n"'),
    ],
)
def test_each_mistake_has_its_sentence(written, toml, message):
    assert problems(written(toml + "\n")) == [f"corereg.toml:{message}"]


def test_an_empty_variable_is_refused_where_it_would_hide_a_default():
    empty = {"COREREG__DATABASE__URL": "", "COREREG__PLUGINS": " ", "COREREG__SERVER__PORT": ""}
    assert problems(environment=empty) == [
        "COREREG__PLUGINS  plugins is empty: give it a value or leave it out",
        "COREREG__DATABASE__URL  database.url is empty: give it a value or leave it out",
        "COREREG__SERVER__PORT  server.port must be a whole number, got text",
    ]
    assert Config.load(None, {"COREREG__SERVER__TRUSTED_PROXIES": ""}).server.trusted_proxies == ()


def test_a_config_made_in_python_can_be_checked():
    config = Config(server=ServerConfig(port=99999, trusted_proxies=("x",)), tokens=TokensConfig(lifetime=1))
    with pytest.raises(ConfigError) as caught:
        config.check()
    assert [problem.key for problem in caught.value.problems] == [
        "server.port",
        "server.trusted_proxies[0]",
        "tokens.lifetime",
    ]
    assert str(caught.value.problems[0]) == "server.port must be from 0 to 65535, got 99999"
    with pytest.raises(SettingError, match="without its key"):
        TLSConfig(cert=Path("c"))


# -------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://reg.example.com", "https://reg.example.com"),
        ("https://reg.example.com/", "https://reg.example.com"),
        ("HTTP://10.0.0.1:5000", "HTTP://10.0.0.1:5000"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_external_url_is_a_host(given, kept):
    assert Config.load(None, {}, {"server.external_url": given}).server.external_url == kept


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("reg.example.com", "must begin with http"),
        ("https://reg..example.com", "must be a host and perhaps a port"),
        ("ftp://reg", "must begin with http"),
        ("https:/reg", "must begin with http"),
        ("https://", "must be a host"),
        ("https://reg/registry", "cannot have a path: clients look for /v2/ at the root of a host"),
        ("https://reg//", "cannot have a path"),
        ("https://reg?", "cannot have a query"),
        ("https://reg/?a=b", "cannot have a query"),
        ("https://reg#x", "cannot have a query or fragment"),
        ("https://user:pw@reg", "cannot hold a name or password"),
        ("https://reg:0", "must be a host"),
        ("https://reg:99999", "must be a host"),
        ("https://reg:port", "must be a host"),
        ("https://re g", "must be a host"),
        ("https://reg\nhost", "must be a host"),
        ("https://[::1", "must be a host"),
        ("https://[zz]", "must be a host"),
        ("https://rég.example", "must be a host"),
    ],
)
def test_an_external_url_that_clients_could_not_use_is_refused(given, why):
    (line,) = problems(None, {}, {"server.external_url": given})
    assert line.startswith(f"command line  server.external_url {why}")
    assert "pw" not in line


def test_an_address_to_listen_on_has_no_brackets():
    assert Config.load(None, {}, {"server.host": "[::1]"}).server.host == "::1"
    assert Config.load(None, {}, {"server.host": "::"}).server.host == "::"


# ------------------------------------------------------------------------------------------------------- paths


def test_paths_in_a_file_count_from_its_folder(written, tmp_path):
    file = written(
        """
plugins = ["accounts", "./policies/x.py", "y.py", "/abs/z.py", "~/w.py"]
data = "var"
[server.tls]
cert = "tls/c.pem"
key = "/k.pem"
[storage]
url = "fs:./bytes"
""",
        "etc/corereg.toml",
    )
    config = Config.load(file)
    etc = tmp_path / "etc"
    home = Path("~").expanduser()
    assert config.plugins == ("accounts", f"{etc}/policies/x.py", f"{etc}/y.py", "/abs/z.py", f"{home}/w.py")
    assert config.data == etc / "var"
    assert (config.server.tls.cert, config.server.tls.key) == (etc / "tls/c.pem", Path("/k.pem"))
    assert config.storage_url == f"fs:{etc}/bytes"
    assert config.database_url == f"sqlite:{etc}/var/corereg.db"


def test_paths_given_otherwise_count_from_the_working_directory(written, tmp_path):
    file = written("data = 'var'\n", "etc/corereg.toml")
    config = Config.load(
        file,
        {"COREREG__DATA": "here", "COREREG__PLUGINS": "./x.py,a"},
        {"server.tls.cert": Path("c"), "server.tls.key": "k"},
    )
    assert config.data == tmp_path / "here"
    assert config.plugins == (f"{tmp_path}/x.py", "a")
    assert (config.server.tls.cert, config.server.tls.key) == (tmp_path / "c", tmp_path / "k")


# ----------------------------------------------------------------------------------------------- plugins' tables


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    url: Annotated[Location, msgspec.Meta(description="Where.")]
    weight: Annotated[int, msgspec.Meta(description="How much.", ge=1)] = 1
    token: Annotated[Secret | None, msgspec.Meta(description="The token.")] = None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What a plugin may want to know.

    More.
    """

    url: Annotated[Location, msgspec.Meta(description="The server's | address.")]
    bind_password: Annotated[Secret, msgspec.Meta(description="The password.", min_length=3)] = ""
    timeout: Annotated[Duration, msgspec.Meta(description="How long.", ge=1)] = 30
    cache: Annotated[Duration | Literal["never"], msgspec.Meta(description="How long to remember.")] = "never"
    size: Annotated[Size | None, msgspec.Meta(description="How much.")] = None
    ca_file: Annotated[Path | None, msgspec.Meta(description="The authority.")] = None
    ratio: Annotated[float, msgspec.Meta(description="A part.", gt=0, lt=1)] = 0.5
    steps: Annotated[int, msgspec.Meta(description="Steps.", multiple_of=5)] = 5
    colour: Annotated[Colour, msgspec.Meta(description="A colour.")] = Colour.RED
    pair: Annotated[tuple[str, int], msgspec.Meta(description="Two.")] = ("a", 1)
    names: Annotated[frozenset[str], msgspec.Meta(description="Names.", max_length=2)] = frozenset()
    headers: Annotated[dict[str, str], msgspec.Meta(description="Headers.")] = {}
    delays: Annotated[dict[str, Duration], msgspec.Meta(description="Delays.")] = {}
    endpoints: Annotated[tuple[Endpoint, ...], msgspec.Meta(description="Endpoints.")] = ()
    providers: Annotated[dict[str, Endpoint], msgspec.Meta(description="Providers.")] = {}
    name_pattern: Annotated[str, msgspec.Meta(description="A pattern.", pattern="^[a-z]*$")] = ""
    anything: Annotated[Any, msgspec.Meta(description="Anything.")] = None

    def __post_init__(self) -> None:
        if self.steps == 100:
            raise ValueError("steps and ratio exclude one another")


TABLE = """
[ldap]
url = "ldaps://x"
bind-password = "hunter2"
timeout = "2m"
size = "1MiB"
ca-file = "ca.pem"
colour = "BLUE"
pair = ["b", 2]
names = ["z", "y"]
headers = {"X-A" = "1"}
delays = {a = "1m"}
anything = [1, {a = 2024-01-01}]
[[ldap.endpoints]]
url = "https://a"
[[ldap.endpoints]]
url = "https://b"
weight = 3
token = "hunter3"
[ldap.providers.x]
url = "https://u:hunter4@p"
"""


def test_a_plugins_table_stays_its_own(written, tmp_path):
    config = Config.load(written(TABLE))
    assert config.tables["ldap"]["url"] == "ldaps://x"
    settings = decode_table("ldap", config.tables["ldap"], Settings)
    assert settings == config.settings("ldap", Settings)
    assert (settings.timeout, settings.size, settings.colour) == (120, 1024**2, Colour.BLUE)
    assert settings.ca_file == tmp_path / "ca.pem"
    assert (settings.pair, settings.names, settings.headers) == (("b", 2), {"z", "y"}, {"X-A": "1"})
    assert settings.delays == {"a": 60}
    assert [endpoint.weight for endpoint in settings.endpoints] == [1, 3]
    assert settings.providers["x"].url == "https://u:hunter4@p"


def test_a_plugins_keys_can_be_given_in_the_environment(written):
    environment = {
        "COREREG__LDAP__URL": "ldap://y",
        "COREREG__LDAP__BIND_PASSWORD": "12345",
        "COREREG__LDAP__TIMEOUT": "90",
        "COREREG__LDAP__CACHE": "1h",
        "COREREG__LDAP__RATIO": "0.25",
        "COREREG__LDAP__PAIR": "c,3",
        "COREREG__LDAP__NAMES": "a, b",
        "COREREG__LDAP__HEADERS__ACCEPT": "1",
        "COREREG__LDAP__ENDPOINTS": '[{url = "https://c", weight = 2}]',
        "COREREG__LDAP__PROVIDERS__X__WEIGHT": "4",
    }
    settings = Config.load(written(TABLE), environment).settings("ldap", Settings)
    assert (settings.url, settings.bind_password, settings.timeout, settings.ratio) == ("ldap://y", "12345", 90, 0.25)
    assert (settings.cache, settings.pair, settings.names) == (3600, ("c", 3), {"a", "b"})
    assert settings.headers == {"X-A": "1", "accept": "1"}
    assert settings.endpoints == (Endpoint(url="https://c", weight=2),)
    assert settings.providers["x"] == Endpoint(url="https://u:hunter4@p", weight=4)


def test_a_variable_without_the_file_makes_a_table():
    config = Config.load(None, {"COREREG__AUTH_LDAP__URL": "ldap://y"})
    assert config.settings("auth_ldap", Settings).url == "ldap://y"


def test_a_plugins_problems_are_placed_like_the_cores(written):
    file = written(
        """
[ldap]
bind-passwort = "x"
bind-password = "ab"
timeout = 0
cache = "sometimes"
ratio = 1.0
steps = 7
colour = "green"
pair = [1, "x", 3]
names = ["a", "b", "c"]
headers = {a = 1}
delays = {a = "x"}
name-pattern = "A1"
[[ldap.endpoints]]
weight = 0
[[ldap.endpoints]]
url = "a"
wieght = 1
[ldap.providers]
x = 1
"""
    )
    config = Config.load(file, {"COREREG__LDAP__SIZE": "big", "COREREG__LDAP__CAFILE": "x"})
    with pytest.raises(ConfigError) as caught:
        config.settings("ldap", Settings)
    assert str(caught.value).splitlines() == [
        "corereg.toml:2  ldap.url is required (or set COREREG__LDAP__URL)",
        "corereg.toml:3  unknown key ldap.bind-passwort - did you mean bind-password?",
        "corereg.toml:4  ldap.bind-password must have at least 3 characters",
        "corereg.toml:5  ldap.timeout must be at least 1s, got 0s",
        "corereg.toml:6  ldap.cache must be duration or `never`, got text",
        "corereg.toml:7  ldap.ratio must be less than 1, got 1.0",
        "corereg.toml:8  ldap.steps must be a multiple of 5, got 7",
        "corereg.toml:9  ldap.colour must be one of red, blue",
        "corereg.toml:10  ldap.pair must have 2 items, got 3",
        "corereg.toml:11  ldap.names must have at most 2 items",
        "corereg.toml:12  ldap.headers.a must be text, got a whole number",
        f"corereg.toml:13  ldap.delays.a {DURATION}",
        "corereg.toml:14  ldap.name-pattern must match ^[a-z]*$",
        "corereg.toml:15  ldap.endpoints[0].url is required",
        "corereg.toml:16  ldap.endpoints[0].weight must be at least 1, got 0",
        f"corereg.toml:18  ldap.endpoints[1].url {SCHEME}",
        "corereg.toml:19  unknown key ldap.endpoints[1].wieght - did you mean weight?",
        "corereg.toml:21  ldap.providers.x must be a table, got a whole number",
        "COREREG__LDAP__CAFILE  unknown key ldap.cafile - did you mean COREREG__LDAP__CA_FILE?",
        'COREREG__LDAP__SIZE  ldap.size must be a size such as "4MiB", "10GB", "512"',
    ]


def test_a_plugins_own_refusal_blames_its_table(written):
    config = Config.load(written("[ldap]\nurl = 'a:'\nsteps = 100\n"))
    with pytest.raises(ConfigError, match=r"^corereg.toml:1  ldap: steps and ratio exclude one another$"):
        config.settings("ldap", Settings)


def test_a_plain_mapping_can_be_decoded_too():
    assert decode_table("ldap", {"url": "a:b", "timeout": "1m"}, Settings).timeout == 60
    with pytest.raises(ConfigError, match=r"^ldap\.url is required"):
        decode_table("ldap", {}, Settings)


def test_no_problem_shows_a_secret(written):
    config = Config.load(written("[ldap]\nurl = 'a:'\nbind-password = 4711\n"), {"COREREG__LDAP__CACHE": "hunter5"})
    with pytest.raises(ConfigError) as caught:
        config.settings("ldap", Settings)
    assert "ldap.bind-password must be text, got a whole number" in str(caught.value)
    assert "4711" not in str(caught.value)
    assert "hunter5" not in str(caught.value)


def test_a_table_that_nobody_owns_is_refused_by_its_near_name(written):
    config = Config.load(written("[acounts]\n[sever]\nport = 1\n[x]\n"), {"COREREG__STORRAGE__URL": "x:"})
    with pytest.raises(ConfigError) as caught:
        config.check_tables(["accounts", "x"])
    said = "neither the core nor an enabled plugin has it"
    assert str(caught.value).splitlines() == [
        f"corereg.toml:1  unknown table acounts: {said} - did you mean accounts?",
        f"corereg.toml:2  unknown table sever: {said} - did you mean server?",
        f"COREREG__STORRAGE__URL  unknown table storrage: {said} - did you mean storage?",
    ]
    config.check_tables(["acounts", "sever", "x", "storrage"])


def test_tables_named_like_fields_of_config_are_plugins(written):
    config = Config.load(written("[tables]\na = 1\n[origins]\n[file]\nb = 2\n"))
    assert config.tables == {"tables": {"a": 1}, "origins": {}, "file": {"b": 2}}


# ----------------------------------------------------------------------------------------------------- anything

KEYS = st.sampled_from(
    [
        "plugins",
        "data",
        "server",
        "port",
        "host",
        "tls",
        "cert",
        "key",
        "external_url",
        "trusted_proxies",
        "url",
        "x",
        "database",
        "log",
        "level",
        "tokens",
        "lifetime",
        "uploads",
        "size_limit",
        "protocol",
        "delete",
        "ldap",
        "a-b",
    ]
)
LEAVES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["https://r", "30m", "4MiB", "10.0.0.0/8", "fs:./x", "{a = 1}", "[1, 'a']", "[", "~", "./x.py"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@given(
    tree=st.dictionaries(KEYS, TREES, max_size=4),
    environment=st.dictionaries(
        st.lists(KEYS, min_size=1, max_size=3).map(lambda path: f"COREREG__{'__'.join(path)}".upper()),
        st.text(max_size=9) | LEAVES.map(str),
        max_size=3,
    ),
    overrides=st.dictionaries(st.lists(KEYS, min_size=1, max_size=3).map(".".join), LEAVES | st.none(), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_given_is_loaded_or_refused_with_places(tmp_path_factory, tree, environment, overrides):
    file = tmp_path_factory.getbasetemp() / "any.toml"
    text = "\n".join(Printer({}, hide=False, tell=False).mapping(tree, ())) + "\n"
    tomllib.loads(text)
    file.write_text(text, encoding="utf-8")
    try:
        config = Config.load(file, environment, overrides)
        config.check()
        tomllib.loads(config.render(origin=True))
        config.settings("ldap", Settings)
    except ConfigError as error:
        misplaced = [problem for problem in error.problems if not _placed(problem, {*environment, "command line"})]
        assert not misplaced


def _placed(problem, sources):
    if problem.file.endswith("any.toml"):
        return problem.line is not None
    return problem.file in sources or problem.message.startswith("ldap.url is required")


# ---------------------------------------------------------------------------------------------------- printing


def test_what_is_printed_can_be_loaded_again(written):
    file = written(
        TABLE + "['odd name']\nx = inf\nt = 07:32:00\nd = 1979-05-27T07:32:00Z\nf = 1e-9\n"
        '"" = "a\\"\\u0000\\u007f\\\\ é 😀"\n[odd."b.c"]\nl = [[1], ["a"], {k = {}}]\ntokens = {ci = 1}\n'
        "[server]\nexternal_url = 'https://r'\n[uploads]\nsize_limit = '10GB'\n"
    )
    config = Config.load(file, {}, {"plugins": ["a", "./b.py"]})
    text = config.render(redact=False)
    again = Config.load(written(text, "elsewhere/again.toml"))
    assert again.render(redact=False) == text
    assert again.tables == config.tables
    for field in msgspec.structs.fields(Config):
        if field.name not in INTERNAL:
            assert getattr(again, field.name) == getattr(config, field.name)
    typed = Config.load(written(config.render(redact=False, settings={"ldap": Settings}), "t.toml"))
    assert typed.settings("ldap", Settings) == config.settings("ldap", Settings)


def test_secrets_are_printed_as_stars(written):
    config = Config.load(
        written(
            TABLE + "[s3]\naccess_key = 'hunter6'\nx = {token = 'hunter7', n = 1}\ntokens = {ci = 'hunter8'}\n"
            "dsn = 'host=x password=hunter9'\nsecretKey = 'hunter10'\n"
        ),
        {
            "COREREG__DATABASE__URL": "postgresql://u:hunter/1@x@h/d?sslpassword=hunter11",
            "COREREG__S3__PASSWORD": "hunter12",
        },
        {"storage.url": "s3://id:hunter13@bucket"},
    )
    for text in (
        config.render(),
        config.render(origin=True, settings={"ldap": Settings}),
        repr(config),
        repr(config.database),
        repr(config.storage),
        repr(config.tables),
        f"{config.tables['ldap']}",
    ):
        assert "hunter" not in text
    assert 'url = "postgresql://u:***@h/d?sslpassword=***"' in config.render()
    assert config.render(redact=False).count("hunter") >= 11
    tomllib.loads(config.render(origin=True, settings={"ldap": Settings}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("redis://:p@h", "redis://:***@h"),
        ("https://h:80/p", "https://h:80/p"),
        ("https://u@h", "https://u@h"),
        ("postgresql://u:p w@h", "postgresql://u:***@h"),
        ("x?a=1&client_secret=s&b=2", "x?a=1&client_secret=***&b=2"),
        ("plain", "plain"),
    ],
)
def test_passwords_in_text_are_hidden(text, shown):
    assert redact(text) == shown


def test_origins_are_told_beside_each_value(written):
    config = Config.load(
        written("[server]\nport = 1\n[ldap]\nurl = 'a:'\n"),
        {
            "COREREG__TOKENS__LIFETIME": "1h",
            "COREREG__SERVER__TLS": "{cert='/c', key='/k'}",
            "COREREG__LDAP__STEPS": "10",
        },
        {"server.workers": 2},
    )
    lines = config.render(origin=True, settings={"ldap": Settings}).splitlines()
    for wanted in [
        "port = 1  # corereg.toml:2",
        'lifetime = "1h"  # env COREREG__TOKENS__LIFETIME',
        'rotate = "90d"  # default',
        'cert = "/c"  # env COREREG__SERVER__TLS',
        "workers = 2  # command line",
        'host = "127.0.0.1"  # default',
        'url = "a:"  # corereg.toml:4',
        "steps = 10  # env COREREG__LDAP__STEPS",
        'timeout = "30s"  # default',
        "# size_limit is not set: no limit",
    ]:
        assert wanted in lines


# ---------------------------------------------------------------------------------------------------- reference


def test_the_reference_names_every_key_with_its_variable():
    page = reference_markdown({"ldap": Settings})
    for field in msgspec.structs.fields(Config):
        if field.name not in INTERNAL:
            assert f"`{field.name}`" in page or f"### `[{field.name}]`" in page
    assert "| `server.port` | whole number | `8080` | `COREREG__SERVER__PORT` | The port to listen on; 0 " in page
    assert '| `tokens.lifetime` | duration | `"30m"` | `COREREG__TOKENS__LIFETIME` |' in page
    assert "| `server.tls.cert` | path | none | `COREREG__SERVER__TLS__CERT` |" in page
    assert "### `[ldap]`\n\nWhat a plugin may want to know.\n\n| key |" in page
    assert '| `ldap.bind-password` | text, secret | `"***"` | `COREREG__LDAP__BIND_PASSWORD` | The password. |' in page
    assert "| `ldap.url` | URL | required | `COREREG__LDAP__URL` | The server's \\| address. |" in page
    assert '| `ldap.cache` | duration or `never` | `"never"` |' in page
    assert "| `ldap.endpoints[].token` | text, secret | none |  | The token. |" in page
    assert (
        "| `ldap.providers.<name>.weight` | whole number | `1` | `COREREG__LDAP__PROVIDERS__<NAME>__WEIGHT` |" in page
    )
    assert "## Plugins" not in reference_markdown({})
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 6


def test_every_key_of_the_core_has_a_sentence():
    for line in reference_markdown({}).splitlines():
        if line.startswith("| `"):
            assert line.split(" | ")[-1].removesuffix(" |").endswith("."), line


# ---------------------------------------------------------------------------------------------------------- cost


def test_a_sound_configuration_loads_little():
    """`corereg --help` and start-up stay quick: what only a mistake or a rare setting needs is loaded then."""
    code = (
        "import sys; import corereg.config; corereg.config.Config.load(None, {'COREREG__SERVER__PORT': '1'});"
        "print(*sorted({'difflib', 'sqlalchemy', 'asyncio', 'hypercorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
