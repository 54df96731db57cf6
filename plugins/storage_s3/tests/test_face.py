"""URLs, settings, and what is not loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from corereg_storage_s3 import StorageS3
from corereg_storage_s3.place import Place, place_of


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", Place("bucket")),
        ("s3://bucket/", Place("bucket")),
        ("s3://bucket/a/b/", Place("bucket", "a/b/")),
        ("s3://bucket/a%20b", Place("bucket", "a b/")),
        (
            "s3://bucket/x?endpoint=http://127.0.0.1:9000&region=eu-1",
            Place("bucket", "x/", "http://127.0.0.1:9000", "eu-1"),
        ),
        ("s3://my.bucket?region=eu-1", Place("my.bucket", region="eu-1")),
    ],
)
def test_places(url: str, place: Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", ["fs:/srv", "memory:", "", "s3", "https://bucket"])
def test_urls_of_others(url: str) -> None:
    assert StorageS3().provide_storage(url) is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3:", "names no bucket; write s3://bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket/a//b", "names no bucket"),
        ("s3://bucket/../b", "names no bucket"),
        ("s3://bucket#x", "names no bucket"),
        ("s3://bucket?secret_key=hidden", r"takes endpoint and region, not secret_key; the rest is in \[storage_s3\]"),
        ("s3://key:hidden@bucket", "credentials do not belong into a URL"),
        ("s3://bucket?endpoint=objects.example.com", "no address like https://host:port"),
        ("s3://bucket?endpoint=https://user:hidden@host", "no address like https://host:port"),
        ("s3://bucket?endpoint=https://one..two", "no address like https://host:port"),
        ("s3://bucket?region", "cannot be read"),
    ],
)
def test_urls_that_name_no_bucket(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        place_of(url)
    assert "hidden" not in str(caught.value)


def test_only_with_redirects_it_says_so() -> None:
    for redirect in (True, False):
        storage = StorageS3(StorageS3.Settings(redirect=redirect)).provide_storage("s3://bucket")
        assert storage is not None
        assert ("redirect" in storage.capabilities) == redirect


def test_nothing_is_loaded_before_it_is_wanted() -> None:
    code = (
        "import sys; from corereg_storage_s3 import StorageS3; StorageS3().provide_storage('fs:x');"
        "print(sorted({'s3fs', 'aiohttp', 'botocore', 'aiobotocore'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
