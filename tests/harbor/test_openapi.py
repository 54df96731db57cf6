"""The OpenAPI document, fuzzed by schemathesis: no request makes a 5xx, and nothing undeclared comes back.

What stands in a path is made up half of the time, and half of the time the name or number of something that is there:
otherwise most requests would end at a 404 and their bodies would never be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FEW = settings(
    max_examples=16,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


# What schemathesis imports late is imported now: after a test with deep JSON, Python 3.11 may refuse to compile.
next(
    schemathesis.openapi.from_dict(
        {
            "openapi": "3.1.0",
            "info": {"title": "", "version": ""},
            "paths": {"/": {"get": {"parameters": [], "responses": {"200": {"description": ""}}}}},
        }
    ).get_all_operations()
).ok().as_strategy()


@pytest.fixture(scope="module")
async def known(harbor: Served) -> Mapping[str, Any]:
    """One of everything, by what paths call it."""
    async with RegistryClient(harbor.url, credentials=Credentials(ADMINISTRATOR, PASSWORD)) as client:
        await client.push_image("library/app", "1")
    with httpx2.Client(base_url=f"{harbor.url}/api/v2.0", auth=(ADMINISTRATOR, PASSWORD), timeout=30) as admin:

        def made(path: str, body: Any) -> int:
            answer = admin.post(path, json=body)
            assert answer.status_code == httpx2.codes.CREATED, answer.text
            return int(answer.headers["location"].rpartition("/")[2])

        user = {"username": "known", "email": "known@example.com", "realname": "known", "password": PASSWORD}
        pull = {"kind": "project", "namespace": "library", "access": [{"resource": "repository", "action": "pull"}]}
        robot = {"name": "known", "level": "system", "duration": 1, "permissions": [pull]}
        return {
            "namespace": "library",
            "repository_name": "app",
            "reference": "1",
            "tag_name": "1",
            "addition": "build_history",
            "meta_name": "public",
            "user_id": made("/users", user),
            "group_id": made("/usergroups", {"group_name": "known", "group_type": 4}),
            "label_id": made("/labels", {"name": "known", "scope": "g"}),
            "robot_id": made("/robots", robot),
            "mid": made("/projects/library/members", {"role_id": 3, "member_user": {"username": "known"}}),
            "quota_id": admin.get("/quotas").json()[0]["id"],
            "role_id": 1,
            "pool_id": "all",
            "job_id": "1",
            "job_type": "all",
            "kind": "HOUSEKEEPING",
            "gc_id": made("/system/gc/schedule", {"schedule": {"type": "Manual"}}),
            "execution_id": made("/jobs", {"kind": "HOUSEKEEPING"}),
            "task_id": 1,
        }


@pytest.fixture(scope="module")
def document(harbor: Served) -> Any:
    """The document, as the registry serves it."""
    found = httpx2.get(f"{harbor.url}/api/v2.0/openapi.json", auth=(ADMINISTRATOR, PASSWORD))
    assert found.status_code == httpx2.codes.OK, found.text
    loaded = schemathesis.openapi.from_dict(found.json())
    loaded.config.update(base_url=harbor.url)
    return loaded


def _tried(operation: Any, known: Mapping[str, Any], met: Counter[int], browser: requests.Session) -> None:
    """Some requests that the operation's own words allow, by the administrator: nobody stops them earlier."""

    @FEW
    @given(case=operation.as_strategy(), there=booleans())
    def trial(case: schemathesis.Case, there: bool) -> None:
        if there and case.path_parameters:
            case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        if operation.path.endswith("/configurations") and isinstance(case.body, dict):
            case.body.pop("read_only", None)  # every other operation would only say so from then on
        answer = case.call_and_validate(auth=(ADMINISTRATOR, PASSWORD), checks=CHECKS, session=browser)
        met[answer.status_code] += 1

    trial()


@pytest.mark.anyio
async def test_nothing_undeclared_comes_back(
    document: Any, known: Mapping[str, Any], subtests: pytest.Subtests
) -> None:
    operations = [each.ok() for each in document.get_all_operations()]
    assert len(operations) > 60
    met: Counter[int] = Counter()
    # What is there is taken away last.
    with requests.Session() as browser:
        for operation in sorted(operations, key=lambda each: each.method.upper() == "DELETE"):
            with subtests.test(operation.label):
                _tried(operation, known, met, browser)
    assert met[404] < met.total() / 2, f"most requests did not get far: {met}"
