"""The table of errors, the JSON it becomes, and client text made fit to print."""

from __future__ import annotations

import json
from inspect import isclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corereg.oci import errors
from corereg.oci.digest import Digest
from corereg.oci.errors import (
    BlobUnknown,
    Denied,
    ManifestBlobUnknown,
    ManyErrors,
    MethodNotAllowed,
    OCIError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    quoted,
)

# distribution-spec, section "Error Codes", with the statuses this registry gives them.
SPECIFIED = {
    "BlobUnknown": (404, "BLOB_UNKNOWN"),
    "BlobUploadInvalid": (400, "BLOB_UPLOAD_INVALID"),
    "BlobUploadUnknown": (404, "BLOB_UPLOAD_UNKNOWN"),
    "DigestInvalid": (400, "DIGEST_INVALID"),
    "ManifestBlobUnknown": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ManifestInvalid": (400, "MANIFEST_INVALID"),
    "ManifestUnknown": (404, "MANIFEST_UNKNOWN"),
    "NameInvalid": (400, "NAME_INVALID"),
    "NameUnknown": (404, "NAME_UNKNOWN"),
    "SizeInvalid": (400, "SIZE_INVALID"),
    "Unauthorized": (401, "UNAUTHORIZED"),
    "Denied": (403, "DENIED"),
    "Unsupported": (405, "UNSUPPORTED"),
    "TooManyRequests": (429, "TOOMANYREQUESTS"),
}
VARIANTS = {
    "TagInvalid": 400,
    "PageInvalid": 400,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "PreconditionFailed": 412,
    "ManifestTooLarge": 413,
    "BodyTooLarge": 413,
    "TooManyTags": 414,
    "RangeInvalid": 416,
    "RangeNotSatisfiable": 416,
    "HeadersTooLarge": 431,
}
FAILURES = {"Internal": 500, "NotImplementedYet": 501, "Unavailable": 503, "InsufficientStorage": 507}
ROWS = {
    name: row
    for name, row in vars(errors).items()
    if isclass(row) and issubclass(row, OCIError) and row not in (OCIError, ManyErrors)
}


def decoded(error: OCIError):
    return json.loads(error.as_json())


def test_the_table_has_these_rows():
    assert set(ROWS) == {*SPECIFIED, *VARIANTS, *FAILURES}


@pytest.mark.parametrize("name", SPECIFIED)
def test_a_specified_code_has_its_status(name):
    assert (ROWS[name].status, ROWS[name].code) == SPECIFIED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_reuses_a_specified_code(name):
    assert ROWS[name].status == VARIANTS[name]
    assert ROWS[name].code in {code for _, code in SPECIFIED.values()}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_a_status_of_the_server(name):
    assert ROWS[name].status == FAILURES[name]
    assert ROWS[name].code in {"UNKNOWN", "UNSUPPORTED", "UNAVAILABLE"}


@pytest.mark.parametrize("name", ROWS)
def test_a_sentence_is_short_and_ends(name):
    sentence = ROWS[name].message
    assert len(sentence) <= 200
    assert sentence.isascii()
    assert sentence[0].isupper()
    assert sentence.endswith(".")


def test_json_has_code_and_message():
    assert decoded(BlobUnknown()) == {"errors": [{"code": "BLOB_UNKNOWN", "message": BlobUnknown.message}]}


def test_a_sentence_of_its_own_replaces_the_default():
    error = Denied("no", detail={"need": ["push"]})
    assert str(error) == error.message == "no"
    assert decoded(error) == {"errors": [{"code": "DENIED", "message": "no", "detail": {"need": ["push"]}}]}
    assert Denied.message != "no"


@pytest.mark.parametrize("detail", [0, False, "", [], {}])
def test_only_none_leaves_the_detail_out(detail):
    assert decoded(Denied(detail=detail))["errors"][0]["detail"] == detail


def test_a_digest_may_stand_in_the_detail():
    digest = Digest.of(b"")
    assert decoded(BlobUnknown(detail={"digest": digest}))["errors"][0]["detail"] == {"digest": str(digest)}


def recursive():
    endless: list[object] = []
    endless.append(endless)
    return endless


class Silent:
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("detail", ["\ud800", {"\udfff": 1}, {(1, 2): 1}, 1 << 70, recursive(), Silent(), object()])
def test_a_detail_that_is_not_json_never_hides_the_error(detail):
    error = decoded(Denied("no", detail=detail))["errors"][0]
    assert (error["code"], error["message"]) == ("DENIED", "no")


def test_a_message_with_half_a_character_is_still_told():
    assert decoded(Denied("\ud800"))["errors"][0]["code"] == "DENIED"


def test_headers_of_the_row_are_kept_unless_replaced():
    assert TooManyRequests().headers == {"Retry-After": "5"}
    assert Unavailable(headers={"Retry-After": "30"}).headers == {"Retry-After": "30"}
    assert Unauthorized(headers={"WWW-Authenticate": "Basic"}).headers == {"WWW-Authenticate": "Basic"}
    assert Unauthorized().headers == {}


def test_method_not_allowed_says_what_is():
    error = MethodNotAllowed(["GET", "HEAD"])
    assert (error.status, error.code, error.headers) == (405, "UNSUPPORTED", {"Allow": "GET, HEAD"})
    assert "GET, HEAD" in error.message
    assert MethodNotAllowed([]).headers == {"Allow": ""}


def test_many_errors_are_listed_in_order_under_the_first():
    error = ManyErrors(
        [ManifestBlobUnknown(detail={"digest": "a"}), Denied(headers={"A": "b"})], headers={"X-Seen": "1"}
    )
    assert (error.status, error.code, error.headers) == (400, "MANIFEST_BLOB_UNKNOWN", {"X-Seen": "1"})
    assert [row["code"] for row in decoded(error)["errors"]] == ["MANIFEST_BLOB_UNKNOWN", "DENIED"]
    assert isinstance(error, OCIError)


def test_many_errors_are_at_most_a_hundred():
    error = ManyErrors([ManifestBlobUnknown(str(number)) for number in range(250)])
    assert [row["message"] for row in decoded(error)["errors"]] == [str(number) for number in range(100)]
    assert len(decoded(ManyErrors([error, error]))["errors"]) == 100


def test_many_errors_do_not_change_the_class():
    ManyErrors([Denied()])
    assert ManyErrors.status == OCIError.status == 500


@given(st.text(alphabet=st.characters()), st.integers(10, 100))
def test_quoted_text_is_printable_and_short(text, limit):
    shown = quoted(text, limit)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= limit + 2
    assert shown[0] == shown[-1] == "'"


def test_plain_text_is_quoted_as_it_stands():
    assert quoted("library/alpine") == "'library/alpine'"
    assert quoted("x" * 80) == f"'{'x' * 80}'"
    assert quoted("x" * 81) == f"'{'x' * 77}...'"


def test_control_and_bidirectional_characters_are_escaped():
    assert quoted("a\nb\u202ec\ud800") == r"'a\nb\u202ec\ud800'"


@given(st.text(alphabet=st.characters()), st.recursive(st.none() | st.text(), st.lists))
def test_json_of_any_error_can_be_read(message, detail):
    assert msgspec.json.decode(Denied(message, detail=detail).as_json())["errors"][0]["code"] == "DENIED"
