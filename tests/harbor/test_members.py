"""Members of a project whom another plugin keeps."""

from __future__ import annotations

import httpx2
import pytest

from corereg.testing.client import expect
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

pytestmark = pytest.mark.anyio

API = "/api/v2.0"
DN = "cn=ops,dc=example,dc=com"
LDAP, HTTP, OIDC, LOCAL = 1, 2, 3, 4


async def test_of_groups_with_one_name_the_one_of_the_type_that_was_asked_for(harbor: Served) -> None:
    async with httpx2.AsyncClient(base_url=f"{harbor.url}{API}", timeout=30, auth=(ADMINISTRATOR, PASSWORD)) as client:
        expect(await client.post("/projects", json={"project_name": "grouped"}), 201)
        numbers = {}
        for kind in (HTTP, OIDC, LDAP):
            group = {"group_name": "ops", "group_type": kind, "ldap_group_dn": DN if kind == LDAP else ""}
            made = expect(await client.post("/usergroups", json=group), 201)
            numbers[kind] = int(made.headers["location"].rpartition("/")[2])

        async def member(**group: object) -> int:
            """The number of the group that got a role."""
            body = {"role_id": 3, "member_group": group}
            added = expect(await client.post("/projects/grouped/members", json=body), 201).headers["location"]
            said = expect(await client.get(added.removeprefix(API)), 200).json()
            expect(await client.delete(added.removeprefix(API)), 200)
            return int(said["entity_id"])

        assert await member(group_name="ops", group_type=OIDC) == numbers[OIDC]
        assert await member(group_name="ops", group_type=HTTP) == numbers[HTTP]
        assert await member(group_name="ops", group_type=LDAP, ldap_group_dn=DN) == numbers[LDAP]
        assert await member(ldap_group_dn=DN) == numbers[LDAP]
        assert await member(group_name="ops") == numbers[HTTP], "of any type the one that was made first"
        for kind in (LOCAL, 9):
            body = {"role_id": 3, "member_group": {"group_name": "ops", "group_type": kind}}
            expect(await client.post("/projects/grouped/members", json=body), 404)
