"""Digests: the grammar of the specification, two algorithms, and nothing that stops the clock."""

from __future__ import annotations

import hashlib
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corereg.oci.digest import ALGORITHMS, Digest, hasher
from corereg.oci.errors import DigestInvalid

HEX = "0123456789abcdef"
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def expected(text: str) -> bool:
    """The grammar once more, without regular expressions."""
    algorithm, colon, encoded = text.partition(":")
    return colon == ":" and len(encoded) == ALGORITHMS.get(algorithm) and set(encoded) <= set(HEX)


digests = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda algorithm: st.text(HEX, min_size=ALGORITHMS[algorithm], max_size=ALGORITHMS[algorithm]).map(
        lambda encoded: f"{algorithm}:{encoded}"
    )
)


@given(digests)
def test_well_formed_digests_are_taken(text):
    digest = Digest.parse(text)
    assert digest == text
    assert type(digest) is Digest
    assert f"{digest.algorithm}:{digest.encoded}" == text
    assert hash(digest) == hash(text)


@given(st.text(alphabet=st.characters()) | st.text(HEX + "sha256:512ABCDEF=_-+.\n"))
def test_any_text_is_a_digest_or_refused_in_a_sentence(text):
    if expected(text):
        assert Digest.parse(text) == text
        return
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert len(caught.value.message) <= 200
    assert caught.value.message.isprintable()


@given(digests, st.integers(0, 200), st.characters())
def test_one_character_too_many_is_refused(text, at, extra):
    with pytest.raises(DigestInvalid):
        Digest.parse(text[:at] + extra + text[at:])


@given(digests, st.integers(0, 200))
def test_one_character_too_few_is_refused(text, at):
    at %= len(text)
    with pytest.raises(DigestInvalid):
        Digest.parse(text[:at] + text[at + 1 :])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a digest"),
        ("latest", "is not a digest"),
        ("sha256:", "is not a digest"),
        (":" + "a" * 64, "is not a digest"),
        ("sha256:totallywrong", "exactly 64 lower-case hex"),
        ("sha256:" + "A" * 64, "exactly 64 lower-case hex"),
        ("sha512:" + "a" * 64, "exactly 128 lower-case hex"),
        ("sha256:" + "a" * 64 + "\n", "is not a digest"),
        ("sha256:" + "٣" * 64, "is not a digest"),
        ("SHA256:" + "a" * 64, "is not a digest"),
        ("sha1:" + "a" * 40, "'sha1' is not supported; use sha256 or sha512"),
        ("blake3:" + "a" * 64, "'blake3' is not supported"),
        ("sha256+b64u:LCa0a2j_xo", "'sha256+b64u' is not supported"),
        ("sha256:" + "a" * 1_000_000, "is not a digest"),
    ],
)
def test_the_sentence_says_what_is_wrong(text, words):
    with pytest.raises(DigestInvalid, match="not") as caught:
        Digest.parse(text)
    assert words in caught.value.message
    assert len(caught.value.message) <= 200


def test_digests_of_bytes():
    assert Digest.of(b"") == EMPTY
    assert Digest.of(b"x", "sha512") == "sha512:" + hashlib.sha512(b"x").hexdigest()
    with pytest.raises(DigestInvalid, match="'md5' is not supported"):
        Digest.of(b"", "md5")


@given(st.lists(st.binary(max_size=50)), st.sampled_from(sorted(ALGORITHMS)))
def test_a_running_hash_agrees_with_the_whole(chunks, algorithm):
    running = hasher(algorithm)
    for chunk in chunks:
        running.update(chunk)
    assert Digest.parse(f"{algorithm}:{running.hexdigest()}") == Digest.of(b"".join(chunks), algorithm)


@pytest.mark.parametrize("algorithm", ["", "SHA256", "sha1", "shake_128", "x" * 1_000_000, "\ud800"])
def test_only_registered_algorithms_have_a_hash(algorithm):
    with pytest.raises(DigestInvalid, match="use sha256 or sha512") as caught:
        hasher(algorithm)
    assert len(caught.value.message) <= 200


def test_every_supported_algorithm_has_a_hash():
    assert {name: len(hasher(name).hexdigest()) for name in ALGORITHMS} == ALGORITHMS


@pytest.mark.parametrize("unit", string.punctuation + "a" + "0")
def test_hostile_text_is_refused_in_no_time(unit):
    started = time.thread_time()
    for size in (500, 1_000_000):
        for text in (unit * size, "a" + f"{unit}a" * (size // 2) + "!", "sha256:" + unit * size):
            with pytest.raises(DigestInvalid):
                Digest.parse(text)
    assert time.thread_time() - started < 1
