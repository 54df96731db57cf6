from __future__ import annotations

from importlib.util import find_spec

import pytest

KINDS = ("hypercorn", "uvicorn", "granian")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each HTTP server that is installed."""
    name: str = request.param
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'corereg[{name}]'")
    return name
