"""The OpenAPI document, fuzzed by schemathesis: no request makes a 5xx, and nothing undeclared comes back."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def document(harbor: Served) -> Any:
    """The document, as the registry serves it."""
    found = httpx2.get(f"{harbor.url}/api/v2.0/openapi.json", auth=(ADMINISTRATOR, PASSWORD))
    assert found.status_code == 200, found.text
    # What would end the run rather than test it: everything refused from then on, or nobody to ask as.
    for path, operations in found.json()["paths"].items():
        assert operations, path
    return schemathesis.openapi.from_dict(found.json()).configure(base_url=harbor.url)


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_undeclared_comes_back(case: schemathesis.Case) -> None:
    if case.path.endswith("/configurations") and case.method == "PUT" and isinstance(case.body, dict):
        case.body.pop("read_only", None)  # every other operation would only say so
    case.call_and_validate(auth=(ADMINISTRATOR, PASSWORD), checks=CHECKS)
