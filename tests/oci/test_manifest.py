"""Manifests: what is read, what is refused and in which words, and how long hostile bytes may take."""

from __future__ import annotations

import base64
import copy
import json
import time

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corereg.oci.digest import Digest
from corereg.oci.errors import DigestInvalid, ManifestInvalid
from corereg.oci.manifest import (
    BRACKETS_LIMIT,
    DEPTH_LIMIT,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MANIFEST_MEDIA_TYPES,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
    digest_of,
)

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NON_DISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def descriptor(content=b"", media_type=LAYER, **fields):
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **fields}


def image(**fields):
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(b"{}", CONFIG),
        "layers": [descriptor(b"one"), descriptor(b"two")],
    }
    return {**document, **fields}


def index(**fields):
    children = [
        descriptor(b"a", OCI_MANIFEST, platform={"architecture": "arm64", "os": "linux", "variant": "v8"}),
        descriptor(b"b", OCI_MANIFEST, platform={"architecture": "amd64", "os": "windows", "os.version": "10.0"}),
    ]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, **fields}


def without(document, *fields):
    return {key: value for key, value in document.items() if key not in fields}


def encoded(document):
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def parse(document, content_type=None):
    return Manifest.parse(encoded(document), content_type)


def refusal(document, content_type=None):
    """The sentence with which a manifest is refused; every sentence keeps the house's rules."""
    with pytest.raises(ManifestInvalid) as caught:
        parse(document, content_type)
    assert type(caught.value) is ManifestInvalid
    message = caught.value.message
    assert len(message) <= 200, message
    assert message.isascii()
    assert message.isprintable()
    return message


# ---- what is read


def test_an_image_manifest():
    body = encoded(image(annotations={"a": "b"}))
    manifest = Manifest.parse(body, OCI_MANIFEST)
    assert manifest.body is body
    assert manifest.digest == Digest.of(body)
    assert type(manifest.digest) is Digest
    assert manifest.media_type == OCI_MANIFEST
    assert not manifest.is_index
    assert manifest.artifact_type == CONFIG
    assert manifest.config == Descriptor(CONFIG, Digest.of(b"{}"), 2)
    assert manifest.layers == (Descriptor(LAYER, Digest.of(b"one"), 3), Descriptor(LAYER, Digest.of(b"two"), 3))
    assert manifest.blobs == manifest.contents == (manifest.config, *manifest.layers)
    assert manifest.manifests == manifest.children == ()
    assert manifest.subject is None
    assert manifest.annotations == {"a": "b"}


def test_an_index():
    manifest = parse(index())
    assert manifest.is_index
    assert manifest.media_type == OCI_INDEX
    assert manifest.config is None
    assert manifest.artifact_type is None
    assert manifest.layers == manifest.blobs == ()
    assert manifest.children == manifest.contents == manifest.manifests
    assert [child.platform for child in manifest.manifests] == [
        Platform(architecture="arm64", os="linux", variant="v8"),
        Platform(architecture="amd64", os="windows", os_version="10.0"),
    ]


@pytest.mark.parametrize("media_type", MANIFEST_MEDIA_TYPES)
def test_the_four_types(media_type):
    document = {**(index() if media_type in (OCI_INDEX, DOCKER_INDEX) else image()), "mediaType": media_type}
    assert parse(document).media_type == media_type
    assert parse(document, media_type).media_type == media_type
    assert parse(document, f"{media_type.upper()} ; charset=utf-8").media_type == media_type


@pytest.mark.parametrize(("document", "media_type"), [(image(), OCI_MANIFEST), (index(), OCI_INDEX)])
@pytest.mark.parametrize("empty", [{}, {"mediaType": None}, {"mediaType": ""}])
def test_oci_types_need_not_be_stated_in_the_body(document, media_type, empty):
    document = {**without(document, "mediaType"), **empty}
    assert parse(document).media_type == media_type
    assert parse(document, media_type).media_type == media_type


def test_unknown_fields_are_kept_as_they_stand():
    body = (
        b' {"org.x":1e-999 , "y":{"Layers":[-0.0,1e308,123456789012345678901234567890,"\\u00e9"]},'
        + encoded(image())[1:]
        + b"\r\n\t"
    )
    assert Manifest.parse(body).body == body


@pytest.mark.parametrize("layers", [[], None])
def test_an_image_without_layers(layers):
    assert parse(image(layers=layers)).layers == ()


@pytest.mark.parametrize("children", [[], None])
def test_an_index_without_manifests(children):
    assert parse(index(manifests=children), OCI_INDEX).manifests == ()


def test_null_is_as_good_as_nothing():
    fields = ("annotations", "subject", "artifactType", "manifests", "fsLayers")
    manifest = parse(image(**dict.fromkeys(fields)))
    assert (manifest.annotations, manifest.subject, manifest.artifact_type) == ({}, None, CONFIG)
    empty = dict.fromkeys(("urls", "annotations", "data", "artifactType", "platform"))
    assert parse(image(layers=[descriptor(**empty)])).layers == (Descriptor(LAYER, Digest.of(b""), 0),)
    assert parse(index(config=None, layers=None)).is_index


def test_a_whole_descriptor():
    given_ = descriptor(
        b"content",
        urls=["https://example.com/a"],
        annotations={"k": "v"},
        data=base64.b64encode(b"content").decode(),
        artifactType="application/x",
        platform={"architecture": "wasm", "os.features": ["f"], "features": ["old"], "x": 1},
        stranger=[1],
    )
    assert parse(image(layers=[given_])).layers == (
        Descriptor(
            LAYER,
            Digest.of(b"content"),
            7,
            urls=("https://example.com/a",),
            annotations={"k": "v"},
            data=b"content",
            artifact_type="application/x",
            platform=Platform(architecture="wasm", os_features=("f",)),
        ),
    )


def test_an_artifact_and_its_row_among_the_referrers():
    body = encoded(
        image(
            artifactType="application/vnd.example.sbom",
            config=descriptor(b"{}", OCI_EMPTY),
            subject=descriptor(b"s", OCI_MANIFEST),
            annotations={"created": "today"},
        )
    )
    manifest = Manifest.parse(body)
    assert manifest.subject == Descriptor(OCI_MANIFEST, Digest.of(b"s"), 1)
    assert manifest.descriptor() == {
        "mediaType": OCI_MANIFEST,
        "size": len(body),
        "digest": str(Digest.of(body)),
        "artifactType": "application/vnd.example.sbom",
        "annotations": {"created": "today"},
    }
    assert msgspec.json.encode(manifest.descriptor())  # plain values, no Digest


def test_a_row_says_the_configs_type_or_nothing():
    assert parse(image(artifactType="")).descriptor()["artifactType"] == CONFIG
    assert parse(index(artifactType="a/b")).descriptor()["artifactType"] == "a/b"
    assert set(parse(index(subject=descriptor())).descriptor()) == {"mediaType", "size", "digest"}


def test_dockers_types_have_no_subject():
    manifest = parse(image(mediaType=DOCKER_MANIFEST, subject=descriptor(), artifactType="a/b"))
    assert (manifest.subject, manifest.artifact_type) == (None, CONFIG)
    assert parse(index(mediaType=DOCKER_INDEX, subject=descriptor(), artifactType="a/b")).artifact_type is None


@pytest.mark.parametrize("media_type", [FOREIGN, NON_DISTRIBUTABLE])
def test_non_distributable_layers_need_not_be_pushed(media_type):
    elsewhere = descriptor(b"far", media_type, urls=["https://example.com/far"])
    manifest = parse(image(layers=[elsewhere, descriptor(b"near")]))
    assert [item.digest for item in manifest.blobs] == [Digest.of(b"{}"), Digest.of(b"near")]
    assert [item.distributable for item in manifest.layers] == [False, True]
    assert len(manifest.contents) == 3
    # Nobody could find it: it has to be here.
    assert parse(image(layers=[without(elsewhere, "urls")])).layers[0].distributable


def test_blobs_name_each_digest_once():
    same = descriptor(b"same")
    manifest = parse(image(config=same, layers=[same, same]))
    assert len(manifest.blobs) == 1
    assert len(manifest.contents) == 3


def test_an_index_of_blobs_wants_blobs():
    """BuildKit's cache before it had an image manifest."""
    manifest = parse(index(manifests=[descriptor(b"l"), descriptor(b"m", OCI_INDEX), descriptor(b"m", OCI_INDEX)]))
    assert [item.digest for item in manifest.blobs] == [Digest.of(b"l")]
    assert [item.digest for item in manifest.children] == [Digest.of(b"m")]
    assert len(manifest.contents) == 3


def test_sha512_may_stand_in_descriptors():
    digest = Digest.of(b"", "sha512")
    layer = {**descriptor(), "digest": digest, "data": ""}
    assert parse(image(layers=[layer])).layers[0].digest == digest


def test_digest_of_other_algorithms():
    assert digest_of(b"x", "sha512") == Digest.of(b"x", "sha512")
    with pytest.raises(DigestInvalid):
        digest_of(b"x", "md5")


@pytest.mark.parametrize("size", [0, 2**63 - 1])
def test_sizes_to_the_limit(size):
    assert parse(image(layers=[descriptor(size=size) | {"size": size}])).layers[0].size == size


# ---- what is refused: bytes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON at line 1, column 1"),
        (b"\n{", "not JSON at line 2, column 2"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
        ("{}".encode("utf-16-le"), "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        (b'{"\xed\xa0\x80":1}', "not UTF-8 at byte 2"),
        (b'{"a":"\xc0\xaf"}', "not UTF-8 at byte 6"),
        (b"[]", "is a list; send a JSON object"),
        (b"null", "is null"),
        (b"true", "is true or false"),
        (b"1", "is a number"),
        (b'"x"', "is a string"),
        (b"{} {}", "Extra data"),
        (b"{}\x00", "Extra data"),
        (b"{}\xc2\xa0", "Extra data"),
        (b'{"a":1,}', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":1.}', "not JSON"),
        (b'{"a":+1}', "not JSON"),
        (b'{"a":.5}', "not JSON"),
        (b'{"a":1}//', "Extra data"),
        (b'{"a":"\n"}', "Invalid control character;"),
        (b'{"a":"\x00"}', "Invalid control character;"),
        (b'{"a":"\\x41"}', r"Invalid \escape;"),
        (b'{"a":"\\u12"}', "not JSON"),
        (b'{"a":"', "Unterminated string;"),
        (b'{"a":NaN}', "NaN is not a value"),
        (b'{"a":Infinity}', "Infinity is not a value"),
        (b'{"a":[-Infinity]}', "-Infinity is not a value"),
        (b'{"a":1e999}', "a number that readers cannot hold"),
        (b'{"a":-1.5e309}', "a number that readers cannot hold"),
        (b'{"a":' + b"1" * 101 + b"}", "a number that readers cannot hold"),
        (b'{"a":0.' + b"1" * 101 + b"}", "a number that readers cannot hold"),
        (b'{"a":"\\ud800"}', "half a character"),
        (b'{"a":"\\uDFFF"}', "half a character"),
        (b'{"a":{"\\udc00\\ud800":[]}}', "half a character"),
        (b'{"a":"\\ud800\\u0041"}', "half a character"),
    ],
)
def test_bytes_that_are_not_strict_json(body, words):
    assert words in refusal(body)


def test_surrogate_pairs_and_escaped_backslashes_are_whole_characters():
    body = encoded(image(annotations={"a": "\U0001f433", "b": "\\ud800"}))
    assert b"\\ud83d\\udc33" in body
    assert parse(body).annotations == {"a": "\U0001f433", "b": "\\ud800"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"a":1,"a":1}', "key 'a' is given twice in $;"),
        (b'{"a":1,"\\u0061":1}', "key 'a' is given twice in $;"),
        (b'{"layers":[{"x":1},{"size":1,"b":[],"size":2}]}', "key 'size' is given twice in $.layers[1];"),
        (b'{"a":{"b":[[{"c":null,"c":null}]]}}', "key 'c' is given twice in $.a.b[0][0];"),
        (b'{"a":{"b":1,"b":1},"a":1}', "key 'a' is given twice in $;"),
        (b'{"":1,"":1}', "key '' is given twice in $;"),
        (b'{"\\n":{"\\u202e":1,"\\u202e":1}}', r"key '\u202e' is given twice in $.\n;"),
        (b'{"a":1,"a":1} x', "Extra data"),
        (b'{"x":{"a":1,"a":1},"y":NaN}', "NaN"),
        (b'[{"a":1,"a":1}]', "key 'a' is given twice in $[0];"),
    ],
)
def test_a_key_given_twice(body, words):
    assert words in refusal(body)


def test_a_key_given_twice_among_long_ones():
    key = b'"' + b"k" * 1000 + b'":'
    message = refusal(b"{" + key + b"{" + key + b"1," + key + b"1}}")
    assert message.count("k") <= 80 + len("key keep")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_depth_is_limited(opening):
    closing = "".join({"[": "]", "{": "}"}[letter] for letter in reversed(opening) if letter in "[{")
    levels = len(closing)

    def nested(depth):
        times = (depth - 1) // levels
        filler = "[" * ((depth - 1) % levels)
        inner = opening * times + filler + "1" + filler.replace("[", "]") + closing * times
        return f'{{"x":{inner},{json.dumps(image())[1:]}'.encode()

    assert parse(nested(DEPTH_LIMIT))
    for depth in (DEPTH_LIMIT + 1, 500, 5_000, 50_000):
        assert "nests deeper than 64 levels" in refusal(nested(depth))


def test_brackets_in_strings_are_not_depth():
    text = '[{"' * 200_000
    assert parse(image(annotations={"a": text})).annotations == {"a": text}


def test_objects_and_lists_are_counted():
    few, many = "[]," * (BRACKETS_LIMIT - 100), "[]," * (BRACKETS_LIMIT + 1)
    rest = json.dumps(image())[1:]
    assert parse(f'{{"x":[{few}1],{rest}'.encode())
    assert "more than 100000 objects and lists" in refusal(f'{{"x":[{many}1],{rest}'.encode())


# ---- what is refused: fields

BAD_DESCRIPTORS = [
    (1, "must be a descriptor object, not a number"),
    ([], "must be a descriptor object, not a list"),
    ({}, ".mediaType is missing"),
    (descriptor(media_type=None), ".mediaType is missing"),
    (descriptor(media_type=""), ".mediaType is missing"),
    (descriptor(media_type=5), ".mediaType must be a string, not a number"),
    (descriptor(media_type=" a/b"), "' a/b' is not a media type"),
    (descriptor(media_type="a/b\r\nX: y"), r"'a/b\r\nX: y' is not a media type"),
    (descriptor(media_type="a/é"), r"'a/\xe9' is not a media type"),
    (descriptor(media_type="a/" + "b" * 254), "is not a media type"),
    (without(descriptor(), "digest"), ".digest must be a string such as sha256:..., not null"),
    ({**descriptor(), "digest": 1}, ".digest must be a string"),
    ({**descriptor(), "digest": "sha256:abc"}, ".digest: 'sha256:abc' is not a sha256 digest"),
    ({**descriptor(), "digest": "blake3:" + "a" * 64}, ".digest: digest algorithm 'blake3' is not supported"),
    ({**descriptor(), "digest": "x" * 10_000}, ".digest: 'xxx"),
    (without(descriptor(), "size"), ".size must be a whole number"),
    ({**descriptor(), "size": -1}, ".size must be a whole number"),
    ({**descriptor(), "size": 2**63}, ".size must be a whole number"),
    ({**descriptor(), "size": 10**99}, ".size must be a whole number"),
    ({**descriptor(), "size": 1.0}, ".size must be a whole number"),
    ({**descriptor(), "size": True}, ".size must be a whole number"),
    ({**descriptor(), "size": "1"}, ".size must be a whole number"),
    (descriptor(urls="https://a"), ".urls must be a list of strings, not a string"),
    (descriptor(urls=["a", 1]), ".urls[1] must be a string, not a number"),
    (descriptor(annotations=[]), ".annotations must be an object of strings, not a list"),
    (descriptor(annotations={"a": 1}), ".annotations['a'] must be a string, not a number"),
    (descriptor(annotations={"a": None}), ".annotations['a'] must be a string, not null"),
    (descriptor(annotations={"k" * 1000: []}), ".annotations['kkk"),
    (descriptor(data=1), ".data must be a base64 string, not a number"),
    (descriptor(b"a", data="YQ"), ".data is not base64"),
    (descriptor(b"a", data="YQ==\n"), ".data is not base64"),
    (descriptor(b"a", data="Y-=="), ".data is not base64"),
    (descriptor(b"a", data="é"), ".data is not base64"),
    (descriptor(b"a", data="YWI="), ".data has 2 bytes but"),
    (descriptor(b"a", data="Yg=="), ".data does not hash to"),
    (descriptor(artifactType=1), ".artifactType must be a string"),
    (descriptor(artifactType="a\nb"), ".artifactType 'a\\nb' is not a media type"),
    (descriptor(platform="linux"), ".platform must be an object, not a string"),
    (descriptor(platform={"os": 0}), ".platform.os must be a string, not a number"),
    (descriptor(platform={"os.version": []}), ".platform.os.version must be a string, not a list"),
    (descriptor(platform={"os.features": {}}), ".platform.os.features must be a list of strings, not an object"),
    (descriptor(platform={"OS": "linux"}), "key 'OS' in $.layers[1].platform could be read as os"),
    (descriptor(Size=3), "key 'Size' in $.layers[1] could be read as size"),
    (descriptor() | {"url\u017f": []}, "could be read as urls"),
]


@pytest.mark.parametrize(("bad", "words"), BAD_DESCRIPTORS)
def test_a_bad_descriptor_is_found_wherever_it_stands(bad, words):
    sentence = refusal(image(layers=[descriptor(), bad]))
    assert words in sentence
    assert "$.layers[1]" in sentence
    assert "$.subject" in refusal(index(subject=bad))
    assert "$.config" in refusal(image(config=bad))
    assert "$.manifests[0]" in refusal(index(manifests=[bad]))


@pytest.mark.parametrize(
    ("document", "content_type", "words"),
    [
        (without(image(), "schemaVersion"), None, "$.schemaVersion must be the number 2"),
        (image(schemaVersion=3), None, "$.schemaVersion must be the number 2"),
        (image(schemaVersion="2"), None, "$.schemaVersion must be the number 2"),
        (image(schemaVersion=2.0), None, "$.schemaVersion must be the number 2"),
        (image(schemaVersion=1), None, "schema 1"),
        (image(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (image(), "application/vnd.docker.distribution.manifest.v1+json", "schema 1"),
        (image(), "application/json", "Content-Type 'application/json' is not a manifest type"),
        (image(), "x" * 1000, "Content-Type 'xxx"),
        (image(), "\r\n\xff", r"Content-Type '\xff' is not a manifest type"),
        (image(mediaType="text/plain"), None, "$.mediaType 'text/plain' is not a manifest type"),
        (image(mediaType=OCI_MANIFEST.upper()), None, "is not a manifest type"),
        (image(mediaType=["x"]), None, "$.mediaType must be a string, not a list"),
        (image(), DOCKER_MANIFEST, "unlike the Content-Type"),
        (image(mediaType=DOCKER_MANIFEST), OCI_MANIFEST, "unlike the Content-Type"),
        (image(mediaType=OCI_INDEX), OCI_MANIFEST, "unlike the Content-Type"),
        (index(), OCI_MANIFEST, "unlike the Content-Type"),
        (without(image(), "mediaType"), DOCKER_MANIFEST, "$.mediaType is missing; Docker"),
        (without(index(), "mediaType"), DOCKER_INDEX, "$.mediaType is missing; Docker"),
        (image(manifests=[]), None, "$.manifests does not belong in an image manifest"),
        (index(layers=[]), None, "$.layers does not belong in an index"),
        (index(config={}), None, "$.config does not belong in an index"),
        (image(fsLayers=[]), None, "$.fsLayers does not belong"),
        (without(index(layers=[]), "mediaType"), None, "$.layers does not belong in an index"),
        (without(index(), "mediaType"), OCI_MANIFEST, "$.manifests does not belong in an image manifest"),
        (without(image(), "mediaType"), OCI_INDEX, "$.config does not belong in an index"),
        (without(image(), "config"), None, "$.config is missing"),
        (image(config=None), None, "$.config is missing"),
        (without(image(), "layers"), None, "$.layers is missing"),
        (without(index(), "manifests"), None, "$.manifests is missing"),
        (image(layers={}), None, "$.layers must be a list of descriptors, not an object"),
        (image(FSLayers=[]), None, "could be read as fsLayers"),
        (image(Layers=[]), None, "key 'Layers' in $ could be read as layers"),
        (image(MEDIATYPE=""), None, "key 'MEDIATYPE' in $ could be read as mediaType"),
        (image() | {"\u017fubject": {}}, None, "could be read as subject"),
        (image(annotations=[1]), None, "$.annotations must be an object of strings, not a list"),
        (image(annotations={"a": True}), None, "$.annotations['a'] must be a string, not true or false"),
        (image(artifactType={}), None, "$.artifactType must be a string, not an object"),
        (image(subject=[]), None, "$.subject must be a descriptor object, not a list"),
        ({}, None, "$.schemaVersion"),
    ],
)
def test_a_bad_document(document, content_type, words):
    assert words in refusal(document, content_type)


# ---- whatever comes

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", LAYER, OCI_MANIFEST, OCI_INDEX, "sha256:" + "0" * 64, 2**63, -1, "YQ=="]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["mediaType", "size", "Size", "digest", "platform"]), inner, max_size=4)
    ),
    max_leaves=8,
)
content_types = st.none() | st.sampled_from(MANIFEST_MEDIA_TYPES) | st.text(max_size=20)


def places(document, path=()):
    """Every path in a document."""
    yield path
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


WHOLE = [
    image(subject=descriptor(), annotations={"a": "b"}, artifactType="a/b"),
    image(layers=[descriptor(b"a", data="YQ==", urls=["u"], annotations={"a": "b"})], mediaType=DOCKER_MANIFEST),
    index(subject=descriptor(), annotations={"a": "b"}),
    index(mediaType=DOCKER_INDEX),
]


@st.composite
def documents(draw):
    """A manifest in which one place holds something else, or nothing."""
    document = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    path = draw(st.sampled_from(list(places(document))[1:]))
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if draw(st.booleans()):
        parent[path[-1]] = draw(values)
    else:
        del parent[path[-1]]
    return document


def check_whatever(body, content_type):
    """It is refused in a sentence, or it is what another JSON reader reads too."""
    try:
        manifest = Manifest.parse(body, content_type)
    except ManifestInvalid as error:
        message = error.message
    else:
        check_read(manifest, body)
        return
    assert len(message) <= 200, message
    assert message.isascii()
    assert message.isprintable()


def check_read(manifest, body):
    seen = json.loads(body.decode())
    assert manifest.body == body
    assert manifest.digest == Digest.of(body)
    assert manifest.media_type in MANIFEST_MEDIA_TYPES
    assert seen.get("mediaType") in (None, "", manifest.media_type)
    pairs = [("layers", manifest.layers), ("manifests", manifest.manifests)]
    for field, found in pairs:
        assert [(item.media_type, item.digest, item.size) for item in found] == [
            (item["mediaType"], item["digest"], item["size"]) for item in seen.get(field) or ()
        ]
    assert manifest.annotations == (seen.get("annotations") or {})
    assert msgspec.json.encode(manifest.descriptor())


@given(documents(), content_types)
def test_any_document_is_read_rightly_or_refused(document, content_type):
    check_whatever(encoded(document), content_type)


@given(values, content_types)
def test_any_value_is_read_rightly_or_refused(value, content_type):
    check_whatever(encoded(value), content_type)


@given(st.binary(max_size=300), content_types)
@example(b"\xef\xbb\xbf", None)
def test_any_bytes_are_read_rightly_or_refused(body, content_type):
    check_whatever(body, content_type)


@given(
    st.sampled_from(WHOLE), st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from(b'"{}[]')
)
def test_any_cut_is_read_rightly_or_refused(document, at, length, patch):
    body = encoded(document)
    at %= len(body)
    patch = bytes([patch]) if isinstance(patch, int) else patch
    check_whatever(body[:at] + patch + body[at + length :], None)


@given(st.text('{}[]":,\\u0aAdD8cN 1-.e\n', max_size=60))
@example('"\\ud83d\\udc33"')
@example("1" * 100)
@example("1.5e308")
@settings(max_examples=300)
def test_a_reader_of_another_make_takes_all_that_is_read(text):
    """Inside an unknown field everything strict goes, and nothing that msgspec's stricter grammar refuses."""
    body = f'{{"x":{text},{json.dumps(image())[1:]}'.encode()
    try:
        Manifest.parse(body)
    except ManifestInvalid:
        return
    assert msgspec.json.decode(body) == json.loads(body)


# ---- how long it may take

MEGABYTES = 2 << 20


def filled(unit, before="[", after="1]", rest=None):
    """A manifest of two megabytes, whose field ``x`` is made of `unit`."""
    rest = json.dumps(image())[1:] if rest is None else rest
    return f'{{"x":{before}{unit * (MEGABYTES // len(unit))}{after},{rest}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(filled("[],"), id="lists"),
        pytest.param(filled('{"a":1},'), id="objects"),
        pytest.param(filled("[" * 60 + "]" * 60 + ","), id="towers"),
        pytest.param(filled("[" * 900 + "]" * 900 + ","), id="high-towers"),
        pytest.param(filled("1,"), id="numbers"),
        pytest.param(filled("9", "", ""), id="one-long-number"),
        pytest.param(filled("9", "0.", ""), id="one-long-fraction"),
        pytest.param(filled("9", "1e", ""), id="one-long-exponent"),
        pytest.param(filled("9" * 4299 + ","), id="long-numbers"),
        pytest.param(filled("[", "", ""), id="open-lists"),
        pytest.param(filled('{"a":', "", ""), id="open-objects"),
        pytest.param(filled("a", '"', ""), id="open-string"),
        pytest.param(filled('\\"', '"', ""), id="open-string-of-quotes"),
        pytest.param(filled('[\\"', '"', ""), id="open-string-of-brackets"),
        pytest.param(filled("\\ud800", '"', '"'), id="half-characters"),
        pytest.param(filled("\\ud83d\\udc33", '"', '"'), id="whole-characters"),
        pytest.param(filled("\\\\ud800", '"', '"'), id="backslashes"),
        pytest.param(filled('{"a":1,"a":2},'), id="many-twice"),
        pytest.param(filled("k", '{"', '":{"a":1,"a":1}}'), id="long-path"),
        pytest.param(('{"' + "k" * 1000 + '":').encode() * 900 + b'{"a":1,"a":1}' + b"}" * 900, id="deep-path"),
        pytest.param(b"\n" * MEGABYTES + b"x", id="lines"),
        pytest.param(encoded({f"Layers{number}": 1 for number in range(150_000)} | image()), id="keys"),
        pytest.param(encoded(image(annotations={str(number): "" for number in range(150_000)})), id="annotations"),
        pytest.param(encoded(image(layers=[descriptor()] * 15_000 + [1])), id="layers"),
        pytest.param(encoded(image(layers=[descriptor(data="A" * MEGABYTES)])), id="data"),
    ],
)
def test_hostile_bytes_take_no_time(body):
    started = time.thread_time()
    check_whatever(body, None)
    # Measured: at most 0.2 s, of which the check reads half; what grows with the square would need minutes.
    assert time.thread_time() - started < 3


def test_a_deep_stack_of_our_own_is_no_excuse():
    def below(depth):
        return below(depth - 1) if depth else refusal(b'{"a":' * 5_000 + b"1" + b"}" * 5_000)

    assert "nests deeper" in below(700)


def test_the_usual_manifest_is_read_at_once():
    body = encoded(image(layers=[descriptor(bytes([number])) for number in range(10)]))
    best = min(_timed(body) for _ in range(50))
    # Measured: 30 microseconds. The bound only catches a change of kind.
    assert best < 0.001


def _timed(body):
    started = time.thread_time()
    Manifest.parse(body, OCI_MANIFEST)
    return time.thread_time() - started
