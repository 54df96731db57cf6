"""What the tests of the core, of the plugins and of the examples share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, settings

from corereg.testing.statements import no_reads_beside
from tests.tables import forget, upgrade_or_copy

# The same examples in every run, so that a change is judged by what it changed; a busy machine is no failure.
# `scripts/test --hypothesis-profile explore` looks for others.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "explore", settings.get_profile("same"), derandomize=False, max_examples=1000, print_blob=True
)
settings.load_profile("same")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: SQLAlchemy's async engine and fsspec's remote filesystems know nothing else."""
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _nobodys_registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test speaks to a registry that whoever runs it is signed in to, or reads their password."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in ("URL", "USER", "TOKEN", "PASSWORD_FILE", "CONTEXT", "CA_FILE", "OUTPUT", "NO_INPUT"):
            patch.delenv(f"COREREG_{name}", raising=False)
        # Our servers of PostgreSQL are on loopback and speak no TLS. To ask for it all the same leaves an error behind
        # whenever a connection is cut in that moment, and the test that comes next is blamed for it.
        patch.setenv("PGSSLMODE", "disable")
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> Iterator[None]:
    """To hash a password takes a millisecond here, not a tenth of a second of all processors: most tests sign somebody
    in. A test of the hashes themselves asks for `real_passwords`.
    """
    quick = partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corereg_accounts.passwords.PasswordHasher", quick)
        yield


@pytest.fixture(autouse=True, scope="session")
def _tables_once() -> Iterator[None]:
    """Registries of tests on SQLite copy their tables, where `upgrade` has made the same before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("corereg.registry.upgrade", upgrade_or_copy)
        yield
    forget()


@pytest.fixture(autouse=True, scope="session")
def _no_reads_beside() -> Iterator[None]:
    """Whoever has a transaction open reads with it."""
    with no_reads_beside():
        yield


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost what they cost everywhere else."""
    monkeypatch.setattr("corereg_accounts.passwords.PasswordHasher", PasswordHasher)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What takes minutes is asked for."""
    parser.addoption(
        "--cluster-full",
        action="store_true",
        help="tests/cluster: 50 images at once, 300 pushes and 20 jobs while nodes are killed (default: a tenth)",
    )
