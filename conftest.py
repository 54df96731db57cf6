"""What the tests of the core, of the plugins and of the examples share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio only: SQLAlchemy's async engine and fsspec's remote filesystems know nothing else."""
    return "asyncio"
