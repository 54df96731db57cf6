"""What can be wrong with a manifest: how a good image becomes a faulty one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from corereg.testing.client import DOCKER_IMAGE, OCI_IMAGE, encode
from corereg.testing.wire.protocol import ABSENT, JSON


def _changed(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, **fields})


def _replaced(old: bytes, new: bytes) -> Callable[[JSON], bytes]:
    def replace(document: JSON) -> bytes:
        assert old in encode(document)
        return encode(document).replace(old, new, 1)

    return replace


def _config(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, "config": {**document["config"], **fields}})


def _without(name: str) -> Callable[[JSON], bytes]:
    return lambda document: encode({key: value for key, value in document.items() if key != name})


def _layer(**fields: Any) -> Callable[[JSON], bytes]:
    return lambda document: encode({**document, "layers": [{**document["layers"][0], **fields}]})


# What is wrong with a manifest -> how a good image (config, one layer, an annotation) becomes that.
FAULTS: Mapping[str, Callable[[JSON], bytes]] = {
    "empty": lambda _: b"",
    "no_json": lambda _: b"hello",
    "null": lambda _: b"null",
    "a_list": lambda _: b"[]",
    "a_string": lambda _: b'"manifest"',
    "cut_short": lambda document: encode(document)[:-3],
    "something_after_it": lambda document: encode(document) + b"x",
    "two_documents": lambda document: encode(document) * 2,
    "a_comment": _replaced(b"{", b"{/* hello */"),
    "nan": _changed(x=float("nan")),
    "infinity": _changed(x=float("inf")),
    "single_quotes": lambda document: encode(document).replace(b'"', b"'"),
    "schema_version_a_string": _changed(schemaVersion="2"),
    "no_config": _without("config"),
    "config_a_list": _changed(config=[]),
    "layers_an_object": _changed(layers={}),
    "layers_of_strings": _changed(layers=["a"]),
    "media_type_a_number": _changed(mediaType=2),
    "media_type_unlike_content_type": _changed(mediaType=DOCKER_IMAGE),
    "manifests_beside_layers": _changed(manifests=[]),
    "annotation_a_number": _changed(annotations={"a": 1}),
    "annotation_null": _changed(annotations={"a": None}),
    "annotations_a_list": _changed(annotations=["a"]),
    "subject_a_string": _changed(subject=ABSENT),
    "subject_without_digest": _changed(subject={"mediaType": OCI_IMAGE, "size": 2}),
    "size_negative": _config(size=-1),
    "size_a_fraction": _config(size=1.5),
    "size_a_string": _config(size="2"),
    "size_true": _config(size=True),
    "size_beyond_64_bits": _config(size=2**70),
    "digest_a_number": _config(digest=5),
    "descriptor_media_type_a_number": _config(mediaType=5),
    "artifact_type_a_number": _changed(artifactType=5),
}
STRICT_FAULTS: Mapping[str, Callable[[JSON], bytes]] = {
    "key_twice": _replaced(b'"schemaVersion"', b'"schemaVersion": 2, "schemaVersion"'),
    "key_twice_by_escape": _replaced(b'"schemaVersion"', b'"schema\\u0056ersion": 2, "schemaVersion"'),
    "key_twice_in_a_descriptor": _replaced(b'"size"', b'"size": 2, "size"'),
    "key_twice_in_annotations": _replaced(b'"note"', b'"note": "b", "note"'),
    "byte_order_mark": lambda document: b"\xef\xbb\xbf" + encode(document),
    "utf_16": lambda document: encode(document).decode().encode("utf-16"),
    "utf_8_broken": _replaced(b'"a note"', b'"\xff"'),
    "utf_8_surrogate": _replaced(b'"a note"', b'"\xed\xa0\x80"'),
    "utf_8_overlong": _replaced(b'"a note"', b'"\xc0\xaf"'),
    "too_deep": _replaced(b'"a note"', b'"a note"}, "x": {"y": ' + b"[" * 70 + b"]" * 70),
    "much_too_deep": _replaced(b'"a note"', b'"a note"}, "x": {"y": ' + b"[" * 200_000 + b"]" * 200_000),
    "config_size_unlike_the_blob": _config(size=3),
    "layer_size_unlike_the_blob": _layer(size=5),
    "data_unlike_its_digest": _config(data=base64.b64encode(b"[]").decode()),
    "data_no_base64": _config(data="!!!"),
}
