"""Names of repositories and tags: the grammar twice, and no name that makes a regular expression think."""

from __future__ import annotations

import string
import time
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corereg.oci.digest import Digest
from corereg.oci.errors import DigestInvalid, NameInvalid, TagInvalid
from corereg.oci.names import Tag, check_repository, parse_reference

WORD = set(string.ascii_lowercase + string.digits)
TAG_FIRST = set(string.ascii_letters + string.digits + "_")


def well_named(name: str) -> bool:
    """The grammar once more, without regular expressions."""
    return all(well_formed(component) for component in name.split("/"))


def well_formed(component: str) -> bool:
    if not component or component[0] not in WORD or component[-1] not in WORD:
        return False
    separators = "".join("a" if character in WORD else character for character in component).split("a")
    return all(run in (".", "_", "__") or set(run) <= {"-"} for run in separators)


def well_tagged(text: str) -> bool:
    return 1 <= len(text) <= 128 and text[0] in TAG_FIRST and set(text) <= TAG_FIRST | {".", "-"}


@given(st.text("ab0._-/", max_size=30) | st.text(alphabet=st.characters(), max_size=30))
@example("a\n")
@example("a/b\n")
@example("0 0")
def test_any_text_is_a_name_or_refused_in_a_sentence(name):
    if well_named(name):
        assert check_repository(name) == name
        return
    with pytest.raises(NameInvalid) as caught:
        check_repository(name)
    assert len(caught.value.message) <= 200
    assert caught.value.message.isprintable()


def test_every_short_name_agrees_with_the_grammar():
    for size in range(7):
        for letters in product("a._-/", repeat=size):
            name = "".join(letters)
            try:
                taken = check_repository(name) == name
            except NameInvalid:
                taken = False
            assert taken == well_named(name), name


@pytest.mark.parametrize(
    "name", ["alpine", "library/alpine", "a/b/c/d", "a__b", "a---b", "a.b_c", "0", "blobs/uploads", "tags/list", "v2"]
)
def test_names_that_are_used(name):
    assert check_repository(name) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty"),
        ("Library/Alpine", "upper-case letters"),
        ("a//b", "empty part"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a/-b", "part '-b'"),
        ("a___b", "part 'a___b'"),
        ("a..b", "part 'a..b'"),
        ("_catalog", "part '_catalog'"),
        ("a/../b", "part '..'"),
        ("A/../b", "part 'A'"),
        ("é", r"part '\xe9'"),
        ("a\x00", r"part 'a\x00'"),
        ("\ud800", r"part '\ud800'"),
        ("a b", "part 'a b'"),
    ],
)
def test_the_sentence_says_what_is_wrong(name, words):
    with pytest.raises(NameInvalid) as caught:
        check_repository(name)
    assert words in caught.value.message


def test_length_is_limited():
    assert check_repository("a" * 255)
    with pytest.raises(NameInvalid, match="256 characters; use at most 255"):
        check_repository("a" * 256)
    assert check_repository("a" * 10, limit=10)
    with pytest.raises(NameInvalid, match="use at most 10"):
        check_repository("a" * 11, limit=10)


@given(st.text(alphabet=st.characters(), max_size=140) | st.text("aZ0._-", max_size=140))
@example("a\n")
def test_any_text_is_a_tag_or_refused_in_a_sentence(text):
    if well_tagged(text):
        assert Tag.parse(text) == text
        assert type(Tag.parse(text)) is Tag
        return
    with pytest.raises(TagInvalid) as caught:
        Tag.parse(text)
    assert len(caught.value.message) <= 200
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["latest", "v1.2.3-rc.1_2", "_", "A" * 128, "0"])
def test_tags_that_are_used(text):
    assert Tag.parse(text) == text


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a b", "é", "a+b", "a:b", "latest\n"])
def test_texts_that_are_no_tags(text):
    with pytest.raises(TagInvalid):
        Tag.parse(text)


def test_a_reference_with_a_colon_is_a_digest():
    digest = Digest.of(b"")
    assert type(parse_reference(digest)) is Digest
    assert parse_reference(str(digest)) == digest
    assert type(parse_reference("latest")) is Tag
    with pytest.raises(DigestInvalid):
        parse_reference("sha256:totallywrong")
    with pytest.raises(TagInvalid):
        parse_reference("-latest")


@pytest.mark.parametrize("unit", ["a", "a.", "a-", "-", "a_", "__", "a/", "/", "a--", "0a-0", ".", "A", "\n", "\ud800"])
def test_hostile_names_are_refused_in_no_time(unit):
    size = 1_000_000
    started = time.thread_time()
    for name in (unit * (size // len(unit)) + "!", unit * (size // len(unit)) + "/"):
        with pytest.raises(NameInvalid):
            check_repository(name, limit=10 * size)
        with pytest.raises(TagInvalid):
            Tag.parse(name)
    # Measured: some 10 ms. A pattern that tries again would need hours.
    assert time.thread_time() - started < 2
