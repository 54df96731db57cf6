"""Whatever is sent, an operation answers with a status that the OpenAPI document names."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from corereg import Registry, openapi_document
from corereg_accounts.users import User

pytestmark = pytest.mark.anyio

ADMIN = ("admin", "Admin-for-tests-1")
ALICE = ("alice", "Correct-horse-7")
NUMBERS = ["1", "2", "99", "0", "-1", str(2**63), "1.5", "%00", "x"]
TEXTS = ["", "a", "%", "\x00", "a\x00b", "ä" * 300, "'; --", "username=~a", "cn=x,dc=y", "group_type=[1~]", "-id,name"]
VALUES: list[Any] = [*TEXTS, 0, 1, 4, -1, 2**70, True, None, [], {}, ["a"], ["repository:*:pull"], 1.5]
ROUNDS = 25


def requests(document: dict[str, Any], chance: random.Random) -> Iterator[tuple[str, str, Any, Any, dict[str, Any]]]:
    for path, method in itertools.product(document["paths"], ("get", "post", "put", "delete")):
        said = document["paths"][path].get(method)
        if said is None or path.endswith("/sysadmin") or (path.endswith("{user_id}") and method == "delete"):
            continue  # these take away the administrator who asks
        names = [each["name"] for each in said["parameters"] if each["in"] == "query"]
        fields: dict[str, Any] = {}
        if "requestBody" in said:
            schema = said["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            fields = document["components"]["schemas"][schema]["properties"]
        for _ in range(ROUNDS if names or fields else len(NUMBERS)):
            where = re.sub(r"\{\w+\}", lambda _: chance.choice(NUMBERS), path)
            query = {name: chance.choice([*TEXTS, "1", "-1"]) for name in names if chance.random() < 0.5}
            body = {name: chance.choice(VALUES) for name in fields if chance.random() < 0.8} if fields else None
            yield method, where, query, body, said


async def test_no_undeclared_status(client: httpx2.AsyncClient, registry: Registry, people: dict[str, User]) -> None:
    chance = random.Random(7)
    for method, path, query, body, said in requests(openapi_document(registry), chance):
        if path.endswith(("/1/password", "/2/password")):
            continue
        for auth in (ADMIN, ALICE, None):
            answer = await client.request(method, path, params=query, json=body, auth=auth)
            told = f"{method} {path} {query} {body} as {auth}: {answer.status_code} {answer.text[:300]}"
            assert str(answer.status_code) in said["responses"], told
            assert answer.status_code < 500, told
