"""The pytest side of `corereg.testing`: which registry the tests speak to, and as whom.

``pytest -p corereg.testing.plugin --pyargs corereg.testing.wire --corereg-url http://localhost:5000`` runs the wire
contract on any registry; without ``--corereg-url`` the tests meet a registry of this process (`corereg_app`). The
options below say who signs in and what the registry declares that it lacks (`corereg.testing.wire.CAPABILITIES`).
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from corereg import registry as registry_module
from corereg.config import DatabaseConfig
from corereg.http.app import asgi
from corereg.plugins import Plugins
from corereg.store.database import Database
from corereg.store.engines import connect
from corereg.store.storage import Storage
from corereg.testing.client import Application, Credentials, RegistryClient, Tokens
from corereg.testing.postgres import Databases, Server, binaries
from corereg.testing.registry import Person, may, scratch
from corereg.testing.serving import Served
from corereg.testing.storages import KEYS, ObjectStore, Storages

PASSWORD = "a password for tests only"
OTHER = "other"
OTHER_PASSWORD = "another password for tests only"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, one group."""
    group = parser.getgroup("corereg", "the registry under test")
    group.addoption("--corereg-url", metavar="URL", help="a running registry (default: one in this process)")
    group.addoption("--corereg-user", metavar="NAME", default="admin", help="who signs in (default: admin)")
    group.addoption(
        "--corereg-password-env",
        metavar="VARIABLE",
        default="COREREG_ADMIN_PASSWORD",
        help="the environment variable that holds the password (default: COREREG_ADMIN_PASSWORD)",
    )
    group.addoption("--corereg-other-user", metavar="NAME", help="somebody without rights in --corereg-namespace")
    group.addoption("--corereg-other-password-env", metavar="VARIABLE", help="where that password is")
    group.addoption("--corereg-other-namespace", metavar="NAME", help="a namespace that somebody may push to")
    group.addoption("--corereg-namespace", metavar="NAME", default="wire", help="where tests push (default: wire)")
    group.addoption("--corereg-realm", metavar="HOST", action="append", help="a token service on another host")
    group.addoption("--corereg-insecure", action="store_true", help="do not verify the registry's certificate")
    group.addoption("--corereg-lacks", metavar="NAMES", default="", help="capabilities it has not, with commas")
    group.addoption("--corereg-has", metavar="NAMES", default="", help="capabilities it has beyond the usual")
    group.addoption(
        "--corereg-storage",
        metavar="URL",
        help="a storage in which registries that tests make and that name none get a place of their own; just s3: "
        "starts an S3 server for the tests (default: a temporary folder)",
    )
    group.addoption(
        "--corereg-database",
        metavar="URL",
        help="a PostgreSQL on which registries that tests make and that name no database get one of their own; "
        "just postgresql: starts one for the tests (default: SQLite)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks (pytest runs strict)."""
    config.addinivalue_line("markers", "corereg_needs(*capabilities): skip where the registry lacks one of them")
    config.addinivalue_line("markers", "corereg_lacks(*capabilities): skip where the registry has one of them")
    config.addinivalue_line(
        "markers",
        "corereg_files: looks into data folders, so rows and bytes are there whatever --corereg-database and "
        "--corereg-storage say",
    )


# The registry ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def corereg_url(pytestconfig: pytest.Config) -> str | None:
    """The address of a running registry, or None: then `corereg_app` is the registry."""
    url: str | None = pytestconfig.getoption("--corereg-url")
    return None if url is None else url.rstrip("/")


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server with a bucket: moto's."""
    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture(scope="session")
def _storages(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Storages | None:
    """Places in the storage of ``--corereg-storage``."""
    url: str | None = pytestconfig.getoption("--corereg-storage")
    if url != "s3:":
        return Storages(url) if url else None
    store: ObjectStore = request.getfixturevalue("object_store")
    return Storages(store.place, {**KEYS, "redirect": False})


@pytest.fixture(autouse=True, scope="session")
def _chosen_storage(_storages: Storages | None) -> Iterator[None]:
    """Every registry that would keep its bytes in a folder keeps them in the place of that folder."""
    if _storages is None:
        yield
        return
    original = Plugins.storage

    def chosen(plugins: Plugins, url: str) -> Storage:
        scheme, _, path = url.partition(":")
        if scheme != "fs" or at_home.tests:
            return original(plugins, url)
        return _storages.storage(Path(path))

    def served(data: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        if at_home.tests:
            return (), {}
        return (_storages.plugin,), {"COREREG__STORAGE__URL": _storages.of(data / "storage"), **_storages.environment}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plugins, "storage", chosen)
        patch.setattr(Served, "elsewhere", (*Served.elsewhere, served))
        yield


class AtHome:
    """How many tests that are marked corereg_files run now: one or none."""

    tests = 0


at_home = AtHome()


@pytest.fixture(autouse=True)
def _files(request: pytest.FixtureRequest) -> Iterator[None]:
    marked = request.node.get_closest_marker("corereg_files") is not None
    at_home.tests += marked
    yield
    at_home.tests -= marked


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a PostgreSQL: that of ``--corereg-database``, or one that is started for the tests. Skips where there
    is none; with CI=true that is a failure.
    """
    named = pytestconfig.getoption("--corereg-database")
    if named and urlsplit(named).netloc:
        yield named
        return
    server = start_postgres()
    yield server.url
    server.remove()


def start_postgres(**settings: str) -> Server:
    """A PostgreSQL of a test's own; the test `remove`s it. Skips and fails like `postgres_server`."""
    programs = binaries()
    if programs is None:
        message = "needs PostgreSQL: initdb and postgres (on Debian, as root, scripts/servers installs them)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    server = Server(programs, **settings)
    server.create()
    return server


@pytest.fixture(scope="session")
def postgres_databases(pytestconfig: pytest.Config, postgres_server: str) -> Iterator[Databases]:
    """New databases on that server."""
    made = Databases(postgres_server)
    yield made
    if pytestconfig.getoption("--corereg-database") == postgres_server:  # another one is removed as a whole
        made.drop()


@pytest.fixture
def postgres_url(postgres_databases: Databases) -> str:
    """A database on PostgreSQL for one test, with the core's tables."""
    return postgres_databases.fresh()


@pytest.fixture
def on_postgres(postgres_databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every registry of this test that would keep its rows in a SQLite file keeps them on PostgreSQL; those of one data
    folder in one database.
    """
    monkeypatch.setattr(registry_module, "connect", partial(connect_elsewhere, postgres_databases))


def connect_elsewhere(databases: Databases, url: str, options: DatabaseConfig | None = None) -> Database:
    """`connect`, with a database on PostgreSQL in the place of a SQLite file."""
    scheme, _, path = url.partition(":")
    if scheme == "sqlite" and path not in {"", ":memory:"}:
        url = databases.of(Path(path))
    return connect(url, options)


@pytest.fixture
def every_database(request: pytest.FixtureRequest) -> str:
    """A test that uses this runs on SQLite and on PostgreSQL, or on the one that ``--corereg-database`` names; which.

    It is about registries that name no database (see `on_postgres`).
    """
    kind: str = request.param
    if kind == "postgresql":
        request.getfixturevalue("on_postgres")
    return kind


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which databases `every_database` is."""
    if "every_database" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--corereg-database")
        metafunc.parametrize("every_database", ["postgresql"] if chosen else ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True, scope="session")
def _chosen_database(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[None]:
    if not pytestconfig.getoption("--corereg-database"):
        yield
        return
    databases: Databases = request.getfixturevalue("postgres_databases")

    def chosen(url: str, options: DatabaseConfig | None = None) -> Database:
        return connect(url, options) if at_home.tests else connect_elsewhere(databases, url, options)

    def served(data: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        if at_home.tests:
            return (), {}
        return (), {"COREREG__DATABASE__URL": databases.of(data / "corereg.db")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry_module, "connect", chosen)
        patch.setattr(Served, "elsewhere", (*Served.elsewhere, served))
        yield


@pytest.fixture(scope="session")
def corereg_database(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> str | None:
    """A database on the server of ``--corereg-database``, with the core's tables, for whoever needs no other; None:
    SQLite in a temporary folder.
    """
    if not pytestconfig.getoption("--corereg-database"):
        return None
    databases: Databases = request.getfixturevalue("postgres_databases")
    return databases.fresh()


@pytest.fixture(scope="session")
async def corereg_app(
    corereg_url: str | None,
    corereg_database: str | None,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> AsyncIterator[Application | None]:
    """The registry in this process as an ASGI application; None when a URL names another one."""
    if corereg_url is not None:
        yield None
        return
    namespace = pytestconfig.getoption("--corereg-namespace")
    people = {
        pytestconfig.getoption("--corereg-user"): Person(PASSWORD),
        OTHER: Person(OTHER_PASSWORD, grants=(may(f"{namespace}-other/*", "pull", "push", "delete"),)),
    }
    folder = tmp_path_factory.mktemp("corereg")
    async with scratch(folder, people=people, database=corereg_database) as registry:
        yield asgi(registry)


# The visitors ---------------------------------------------------------------------------------------------------------


def _credentials(config: pytest.Config, user: str, password_env: str) -> Credentials | None:
    name, variable = config.getoption(user), config.getoption(password_env)
    password = os.environ.get(variable) if variable else None
    return Credentials(name, password) if name and password is not None else None


@pytest.fixture(scope="session")
def corereg_credentials(pytestconfig: pytest.Config, corereg_url: str | None) -> Credentials | None:
    """Who may do everything in `corereg_namespace`; None when the registry asks nobody to sign in."""
    named = _credentials(pytestconfig, "--corereg-user", "--corereg-password-env")
    if named is None and corereg_url is None:
        return Credentials(pytestconfig.getoption("--corereg-user"), PASSWORD)
    return named


@pytest.fixture(scope="session")
def corereg_other_credentials(pytestconfig: pytest.Config, corereg_url: str | None) -> Credentials | None:
    """Who may sign in, but do nothing in `corereg_namespace`; None when the tests know nobody like that."""
    if corereg_url is None:
        return Credentials(OTHER, OTHER_PASSWORD)
    return _credentials(pytestconfig, "--corereg-other-user", "--corereg-other-password-env")


@pytest.fixture(scope="session")
def corereg_other_namespace(pytestconfig: pytest.Config) -> str | None:
    """Where `corereg_other_credentials` may push, if anywhere."""
    name: str | None = pytestconfig.getoption("--corereg-other-namespace")
    if name is None and pytestconfig.getoption("--corereg-url") is None:
        return f"{pytestconfig.getoption('--corereg-namespace')}-other"
    return name


class _TokensOf:
    """The tokens of the registry that is asked now: another one, which may have the same name, has its own."""

    def __init__(self) -> None:
        self._whose: tuple[str | None, Application | None] = (None, None)
        self._tokens: Tokens = {}

    def __call__(self, url: str | None, app: Application | None) -> Tokens:
        last_url, last_app = self._whose
        if url != last_url or app is not last_app:
            self._whose, self._tokens = (url, app), {}
        return self._tokens


@pytest.fixture(scope="session")
def corereg_tokens() -> _TokensOf:
    """What tests on one registry share: each has its own clients, but nobody has to sign in anew."""
    return _TokensOf()


class _Visitors:
    """Makes clients of one registry."""

    def __init__(self, config: pytest.Config, url: str | None, app: Application | None, tokens: Tokens) -> None:
        self._config = config
        self._url = url
        self._app = app
        self._tokens = tokens

    def client(
        self, credentials: Credentials | None, sign_in: Literal["auto", "basic", "never"] = "auto"
    ) -> RegistryClient:
        if self._url is None and self._app is None:
            pytest.skip("no registry to speak to: give --corereg-url, or a corereg_app fixture")
        return RegistryClient(
            self._url or "http://registry.test",
            app=None if self._url else self._app,
            credentials=credentials,
            sign_in=sign_in,
            realms=self._config.getoption("--corereg-realm") or (),
            tokens=self._tokens,
            verify=not self._config.getoption("--corereg-insecure"),
        )


@pytest.fixture
def corereg_visitors(
    pytestconfig: pytest.Config, corereg_url: str | None, corereg_app: Application | None, corereg_tokens: _TokensOf
) -> _Visitors:
    """Makes clients of the registry under test, for whomever a test needs."""
    return _Visitors(pytestconfig, corereg_url, corereg_app, corereg_tokens(corereg_url, corereg_app))


@pytest.fixture
async def registry_client(
    corereg_visitors: _Visitors, corereg_credentials: Credentials | None
) -> AsyncIterator[RegistryClient]:
    """A client that may do everything in `corereg_namespace`."""
    async with corereg_visitors.client(corereg_credentials) as client:
        yield client


@pytest.fixture
async def anonymous_client(corereg_visitors: _Visitors) -> AsyncIterator[RegistryClient]:
    """A client that never signs in: what it is answered is what the test sees."""
    async with corereg_visitors.client(None, sign_in="never") as client:
        yield client


@pytest.fixture
async def other_client(
    corereg_visitors: _Visitors, corereg_other_credentials: Credentials | None
) -> AsyncIterator[RegistryClient]:
    """A client that is somebody, but without rights in `corereg_namespace`."""
    if corereg_other_credentials is None:
        pytest.skip("needs a second person: --corereg-other-user and --corereg-other-password-env")
    async with corereg_visitors.client(corereg_other_credentials) as client:
        yield client


@pytest.fixture(scope="session")
def corereg_namespace(pytestconfig: pytest.Config) -> str:
    """Where tests push."""
    name: str = pytestconfig.getoption("--corereg-namespace")
    return name


@pytest.fixture
def repository_name(corereg_namespace: str) -> str:
    """A repository that no other test knows."""
    return f"{corereg_namespace}/{uuid4().hex}"


@pytest.fixture
def corereg_address(corereg_url: str | None) -> tuple[str, int, bool]:
    """Host, port and whether it speaks TLS, for tests that write to the socket themselves."""
    if corereg_url is None:
        pytest.skip("needs a socket to write to: --corereg-url")
    parts = urlsplit(corereg_url)
    secure = parts.scheme == "https"
    return parts.hostname or "127.0.0.1", parts.port or (443 if secure else 80), secure


def declared(config: pytest.Config, usual: Iterable[str], known: Iterable[str]) -> frozenset[str]:
    """The capabilities of the registry under test: `usual`, less ``--corereg-lacks``, plus ``--corereg-has``."""
    lacks, has = (set(filter(None, re.split(r"[\s,]+", config.getoption(name)))) for name in _DECLARING)
    if unknown := (lacks | has) - set(known):
        raise pytest.UsageError(f"no such capability: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return frozenset((set(usual) - lacks) | has)


_DECLARING = ("--corereg-lacks", "--corereg-has")
