"""What all tests share: asyncio, and the registry under test."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """SQLAlchemy's async engine and s3fs live in asyncio; so does corereg."""
    return "asyncio"
