"""Lists of tags and repositories."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from corereg.testing.client import EMPTY, RegistryClient, exchange, expect, image
from corereg.testing.wire.answers import next_page, walk
from corereg.testing.wire.protocol import Protocol, cases, needs


class ListWire(Protocol):
    """Tags and repositories, page by page."""

    TAGS = ("0", "A", "B.1", "_x", "a", "a-1", "a.1", "a_1", "b", "latest", "z")

    @pytest.fixture
    def tagged(self) -> Callable[[RegistryClient, str], Any]:
        """Gives a repository all the tags, in another order than they are listed."""

        async def push(client: RegistryClient, repository: str) -> None:
            await client.push_blob(repository, EMPTY.body)
            for tag in self.TAGS[1::2] + self.TAGS[::2]:
                expect(await client.put_manifest(repository, tag, image()), 201)

        return push

    async def test_tags_are_listed_in_byte_order(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200)
        assert answer.json() == {"name": repository, "tags": sorted(self.TAGS)}
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        assert next_page(answer) is None

    @cases("size", [1, 2, 5, 10, 11, 12])
    async def test_pages_of_tags_follow_one_another_without_gap_or_overlap(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], size: int
    ) -> None:
        await tagged(client, repository)
        pages = await walk(client, f"/v2/{repository}/tags/list?n={size}")
        assert all(len(page.json()["tags"]) == size for page in pages[:-1])
        assert [tag for page in pages for tag in page.json()["tags"]] == sorted(self.TAGS)

    async def test_a_page_of_tags_links_the_next_one(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n=3"), 200)
        assert answer.json()["tags"] == sorted(self.TAGS)[:3]
        target = next_page(answer)
        assert target is not None, exchange(answer)
        assert urlsplit(target).path == f"/v2/{repository}/tags/list"
        assert parse_qs(urlsplit(target).query) == {"n": ["3"], "last": [sorted(self.TAGS)[2]]}

    async def test_a_page_of_no_tags_is_empty_and_links_nothing(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any]
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n=0"), 200)
        assert answer.json()["tags"] == []
        assert "link" not in answer.headers

    @cases("last", ["a", "a-0", "B", "zz", "0", "-", "~", "A%20", "%C3%A4"])
    async def test_last_is_exclusive_and_need_not_exist(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], last: str
    ) -> None:
        await tagged(client, repository)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?last={last}"), 200)
        given = last.replace("%20", " ").replace("%C3%A4", "ä")
        assert answer.json()["tags"] == [tag for tag in sorted(self.TAGS) if tag > given]

    @cases("number", ["-1", "a", "1.5", "%2B1", "0x1", "%201", "1%20", "1e3", "%D9%A3", "--1", "", "1_0", "%00"])
    async def test_an_n_that_is_no_number_is_400(self, client: RegistryClient, repository: str, number: str) -> None:
        await client.push_image(repository, "latest")
        expect(await client.request("GET", f"/v2/{repository}/tags/list?n={number}"), 400)

    @cases("number", ["1000000", "99999999999999999999", "9" * 500])
    async def test_an_n_above_the_cap_is_clamped(self, client: RegistryClient, repository: str, number: str) -> None:
        await client.push_image(repository, "latest")
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list?n={number}"), 200)
        assert answer.json()["tags"] == ["latest"]

    async def test_tags_of_an_unknown_repository_are_404_name_unknown(
        self, client: RegistryClient, repository: str
    ) -> None:
        expect(await client.request("GET", f"/v2/{repository}/tags/list"), 404, code="NAME_UNKNOWN")

    async def test_a_repository_without_tags_lists_none(self, client: RegistryClient, repository: str) -> None:
        await client.push_image(repository, None)
        answer = expect(await client.request("GET", f"/v2/{repository}/tags/list"), 200)
        assert answer.json() == {"name": repository, "tags": []}

    @cases("last", ["%0d%0aX-Evil:%20yes", "%22%3E%3B", "%3C%3E", "a%00b"])
    async def test_no_last_gets_into_a_header_unquoted(
        self, client: RegistryClient, repository: str, tagged: Callable[[RegistryClient, str], Any], last: str
    ) -> None:
        await tagged(client, repository)
        answer = await client.request("GET", f"/v2/{repository}/tags/list?n=1&last={last}")
        expect(answer, 200, 400)
        assert "x-evil" not in answer.headers
        assert len(re.findall("[<>]", answer.headers.get("link", ""))) in (0, 2)

    # Repositories

    @needs("catalog")
    async def test_the_catalog_lists_what_was_pushed_in_order(self, client: RegistryClient, repository: str) -> None:
        names = [f"{repository}/{tail}" for tail in ("a", "a-b", "b", "a/b", "a.b")]
        for name in names:
            await client.push_image(name, "latest")
        pages = await walk(client, f"/v2/_catalog?last={quote(repository, safe='')}&n=5")
        listed = [name for page in pages for name in page.json()["repositories"]]
        assert [name for name in listed if name.startswith(repository)] == sorted(names)

    @needs("catalog")
    async def test_the_catalog_comes_in_pages(self, client: RegistryClient, repository: str) -> None:
        names = sorted(f"{repository}/{tail}" for tail in ("a", "b", "c"))
        for name in names:
            await client.push_image(name, "latest")
        found: list[str] = []
        target: str | None = f"/v2/_catalog?n=2&last={quote(repository, safe='')}"
        while target is not None and len(found) < 4:
            answer = expect(await client.request("GET", target), 200)
            assert len(answer.json()["repositories"]) <= 2
            found += answer.json()["repositories"]
            target = next_page(answer)
        assert found[:3] == names

    @needs("catalog")
    @cases("number", ["-1", "a", "1.5", "%2B1", "%D9%A3"])
    async def test_a_catalog_n_that_is_no_number_is_400(self, client: RegistryClient, number: str) -> None:
        expect(await client.request("GET", f"/v2/_catalog?n={number}"), 400)

    @needs("catalog")
    async def test_a_catalog_n_above_the_cap_is_clamped(self, client: RegistryClient) -> None:
        expect(await client.request("GET", "/v2/_catalog?n=99999999999999999999"), 200)
