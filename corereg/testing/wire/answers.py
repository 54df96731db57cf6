"""What the tests read out of answers: errors, pages, how far an upload came."""

from __future__ import annotations

import json
import re

import httpx2

from corereg.testing.client import RegistryClient, exchange, expect

ERROR_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
    }
)


def check_envelope(answer: httpx2.Response) -> None:
    """An error as the specification writes it: JSON, known codes, messages in words."""
    if answer.request.method == "HEAD":
        assert answer.content == b"", exchange(answer)
        return
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    assert kind == "application/json", f"an error must be application/json\n{exchange(answer)}"
    errors = json.loads(answer.content)["errors"]
    assert isinstance(errors, list), exchange(answer)
    assert errors, exchange(answer)
    for error in errors:
        assert error["code"] in ERROR_CODES, f"{error['code']} is no code of the specification\n{exchange(answer)}"
        assert isinstance(error["message"], str), exchange(answer)
        assert error["message"], exchange(answer)


def stored_bytes(answer: httpx2.Response) -> int:
    """How many bytes of an upload the registry says it has (``0-0`` is taken for one; ask only when there are some)."""
    match = re.fullmatch(r"0-(\d+)", answer.headers.get("range", ""))
    assert match is not None, f"Range must be 0-<end>\n{exchange(answer)}"
    return int(match[1]) + 1


def next_page(answer: httpx2.Response) -> str | None:
    """The target of an answer's ``Link: <...>; rel="next"`` (RFC 8288)."""
    for link in answer.headers.get_list("link"):
        if match := re.fullmatch(r'\s*<([^>]+)>\s*;\s*rel="?next"?\s*', link):
            url = httpx2.URL(str(answer.request.url)).join(match[1])
            return url.raw_path.decode()
    return None


async def walk(client: RegistryClient, target: str | None) -> list[httpx2.Response]:
    """All pages of a list."""
    pages: list[httpx2.Response] = []
    while target is not None:
        assert len(pages) < 1000, "the list does not end"
        pages.append(expect(await client.request("GET", target), 200))
        target = next_page(pages[-1])
    return pages
