"""What is taken away is gone within five seconds, on every worker: for passwords, tokens of every kind, and cookies.

Each case gives somebody the right to pull, takes it away in one of the ways there are, and asks on fresh connections
(so that both workers are asked) until everybody refuses.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from corereg.plugins import default_names
from corereg.testing.client import Credentials, RegistryClient
from corereg.testing.serving import ADMINISTRATOR, PASSWORD, Served

pytestmark = pytest.mark.anyio

SECRET = "Password-of-members-1"
WITHIN = 5.0
IN_A_ROW = 8
"""So many refusals on fresh connections, one after another, and both workers have refused."""


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("revocation")
    server = Served(folder / "data", folder / "log", workers=2, plugins=default_names())
    server.start()
    yield server
    server.stop()


class House:
    """The administrator's hands, and a private project with an image."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = httpx2.Client(base_url=f"{url}/api/v2.0", auth=(ADMINISTRATOR, PASSWORD), timeout=30)
        self._number = 0

    def made(self, path: str, body: dict[str, Any]) -> int:
        answer = self.admin.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.headers["location"].rpartition("/")[2])

    def new(self, kind: str) -> str:
        """A name that was not given before."""
        self._number += 1
        return f"{kind}{self._number}"

    def user(self) -> tuple[str, int]:
        name = self.new("user")
        body = {"username": name, "email": f"{name}@example.com", "realname": name, "password": SECRET}
        return name, self.made("/users", body)

    def member(self, name: str, role: int = 2, project: str = "secret") -> int:
        return self.made(f"/projects/{project}/members", {"role_id": role, "member_user": {"username": name}})

    def token(self, name: str, secret: str, actions: str = "pull", project: str = "secret") -> str:
        query = urlencode({"service": "corereg", "scope": f"repository:{project}/app:{actions}"})
        answer = httpx2.get(f"{self.url}/service/token?{query}", auth=(name, secret))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def pull(self, *, project: str = "secret", **how: Any) -> int:
        return httpx2.get(f"{self.url}/v2/{project}/app/manifests/1", timeout=30, **how).status_code

    def push(self, **how: Any) -> int:
        return httpx2.post(f"{self.url}/v2/secret/app/blobs/uploads/", timeout=30, **how).status_code


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


@pytest.fixture(scope="module")
async def house(harbor: Served) -> AsyncIterator[House]:
    house = House(harbor.url)
    house.made("/projects", {"project_name": "secret", "public": False})
    async with RegistryClient(harbor.url, credentials=Credentials(ADMINISTRATOR, PASSWORD)) as client:
        await client.push_image("secret/app", "1")
    yield house
    house.admin.close()


def refused(*asks: Callable[[], int]) -> None:
    """Every one of `asks` is refused within the time, and then again and again."""
    began = time.monotonic()
    for ask in asks:
        row = 0
        while row < IN_A_ROW:
            status = ask()
            if status in {401, 403, 429}:  # a password that is wrong now is counted, as any other
                row += 1
            else:
                assert time.monotonic() - began < WITHIN, "still let in"
                row = 0
                time.sleep(0.1)


async def test_a_member_who_was_removed(house: House) -> None:
    name, _ = house.user()
    member = house.member(name)
    token = house.token(name, SECRET)
    assert house.pull(**bearer(token)) == house.pull(auth=(name, SECRET)) == 200
    assert house.admin.delete(f"/projects/secret/members/{member}").status_code == 200
    refused(lambda: house.pull(**bearer(token)), lambda: house.pull(auth=(name, SECRET)))


async def test_a_role_that_was_lowered(house: House) -> None:
    name, _ = house.user()
    member = house.member(name, 2)
    token = house.token(name, SECRET, "pull,push")
    assert house.push(**bearer(token)) == house.push(auth=(name, SECRET)) == 202
    assert house.admin.put(f"/projects/secret/members/{member}", json={"role_id": 3}).status_code == 200
    refused(lambda: house.push(**bearer(token)), lambda: house.push(auth=(name, SECRET)))
    assert house.pull(**bearer(token)) == 200, "what the lower role may is left"


async def test_a_user_who_was_deleted(house: House) -> None:
    name, number = house.user()
    house.member(name)
    token = house.token(name, SECRET)
    assert house.pull(**bearer(token)) == 200
    assert house.admin.delete(f"/users/{number}").status_code == 200
    refused(lambda: house.pull(**bearer(token)), lambda: house.pull(auth=(name, SECRET)))


async def test_a_password_that_was_changed(house: House) -> None:
    name, number = house.user()
    house.member(name)
    token = house.token(name, SECRET)
    assert house.pull(**bearer(token)) == house.pull(auth=(name, SECRET)) == 200
    answer = house.admin.put(f"/users/{number}/password", json={"new_password": "Another-password-2"})
    assert answer.status_code == 200
    assert house.pull(auth=(name, "Another-password-2")) == 200
    refused(lambda: house.pull(**bearer(token)), lambda: house.pull(auth=(name, SECRET)))


async def test_a_robot_that_was_deleted(house: House) -> None:
    access = [{"resource": "repository", "action": "pull"}]
    robot = {"name": house.new("robot"), "level": "project", "duration": 1}
    robot["permissions"] = [{"kind": "project", "namespace": "secret", "access": access}]
    made = house.admin.post("/robots", json=robot).json()
    token = house.token(made["name"], made["secret"])
    basic = {"auth": (made["name"], made["secret"])}
    assert house.pull(**bearer(token)) == house.pull(**basic) == 200
    assert house.admin.delete(f"/robots/{made['id']}").status_code == 200
    refused(lambda: house.pull(**bearer(token)), lambda: house.pull(**basic))


async def test_a_project_that_was_made_private(house: House) -> None:
    house.made("/projects", {"project_name": "open", "public": True})
    async with RegistryClient(house.url, credentials=Credentials(ADMINISTRATOR, PASSWORD)) as client:
        await client.push_image("open/app", "1")
    name, _ = house.user()
    token = house.token(name, SECRET, project="open")
    query = urlencode({"service": "corereg", "scope": "repository:open/app:pull"})
    nobody = httpx2.get(f"{house.url}/service/token?{query}").json()["token"]
    asks = [
        lambda: house.pull(project="open", **bearer(token)),
        lambda: house.pull(project="open", **bearer(nobody)),
        lambda: house.pull(project="open", auth=(name, SECRET)),
    ]
    assert [ask() for ask in asks] == [200, 200, 200]
    assert house.admin.put("/projects/open", json={"metadata": {"public": "false"}}).status_code == 200
    refused(*asks)
