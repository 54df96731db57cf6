"""The protocol page: its table of errors is the one in the code, its settings exist, and its requests are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from corereg import Config, OCIError
from corereg.oci import errors

from .blocks import DOCS

TEXT = (DOCS / "protocol.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    table = re.search(rf"^## {heading}\n.*?\n\|[-|]+\|\n(.*?)\n\n", f"{TEXT}\n", flags=re.MULTILINE | re.DOTALL)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def test_the_errors_are_those_of_the_code() -> None:
    told = [(code.strip("`"), int(status)) for code, status, _ in rows("Errors")]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OCIError)]
    assert set(told) == {(kind.code, kind.status) for kind in kinds}
    assert len(told) == len(set(told))


def test_codes_stand_in_the_order_of_the_code() -> None:
    told = list(dict.fromkeys(code for code, _, _ in rows("Errors")))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OCIError)]
    written = list(dict.fromkeys(f"`{kind.code}`" for kind in kinds if kind is not OCIError))
    assert told == written


def test_settings_that_are_named_exist() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for section, key in re.findall(r"`(\w+)\.(\w+(?:\.\w+)?)`", text):
            if section in sections() and not key.startswith(("md", "toml", "db", "py")):
                assert f"{section}.{key}" in keys(), f"{page.name}: {section}.{key}"


def sections() -> set[str]:
    return {name.partition(".")[0] for name in keys() if "." in name}


def keys() -> set[str]:
    return set(_keys(Config, ""))


def _keys(kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield f"{prefix}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _keys(field.type, f"{prefix}{field.encode_name}.")


def test_the_requests_are_those_that_the_core_answers() -> None:
    """Each kind of path, and each of its methods, has a row."""
    from corereg.http.app import HANDLERS  # noqa: PLC0415 - for this test alone

    told: dict[str, set[str]] = {}
    for request, _, _ in rows("Requests"):
        methods = set(re.findall(r"\b(GET|HEAD|PUT|POST|PATCH|DELETE)\b", request))
        told.setdefault(kind_of(request), set()).update(methods)
    for kind, handlers in HANDLERS.items():
        implied = {"HEAD"} if "GET" in handlers else set()  # HEAD goes with GET; it is told where clients use it
        assert told[kind] | implied == set(handlers), kind


def kind_of(request: str) -> str:
    marks = {
        "/manifests/": "manifest",
        "/blobs/uploads/": "uploads",
        "/blobs/": "blob",
        "on the upload": "upload",
        "/tags/list": "tags",
        "/referrers/": "referrers",
        "/v2/_catalog": "catalog",
        "/v2/": "base",
    }
    return next((kind for mark, kind in marks.items() if mark in request), request)
