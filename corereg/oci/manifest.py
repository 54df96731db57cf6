"""Manifests: image manifests and indexes, of OCI and of Docker (image-spec manifest.md, image-index.md, descriptor.md).

The bytes are read in one pass that refuses what two readers could understand in two ways (CVE-2021-41190 and its
kin): a key given twice, a key that a reader ignoring case takes for another, ``layers`` beside ``manifests``, a
``mediaType`` unlike the Content-Type, anything that is not strict UTF-8 JSON. Unknown fields are kept: the exact bytes
are what is stored and served.
"""

from __future__ import annotations

import json
import math
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import msgspec

from corereg.oci.digest import SHA256, Digest
from corereg.oci.errors import ECHO_LIMIT, DigestInvalid, ManifestInvalid, quoted

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"

IMAGE_MEDIA_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_MEDIA_TYPES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_MEDIA_TYPES: Final = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX)
"""What a registry takes as a manifest."""

DEPTH_LIMIT: Final = 64
"""How deep objects and arrays may stand in one another."""

BRACKETS_LIMIT: Final = 100_000
"""How many objects and lists a manifest may hold: 4 MiB of the shortest descriptors hold some 40,000."""

SIZE_LIMIT: Final = 2**63 - 1

_NUMBER_LIMIT = 100  # characters; the longest double needs 24
_DOCKER = frozenset({DOCKER_MANIFEST, DOCKER_INDEX})
_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
_NON_DISTRIBUTABLE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


class Platform(msgspec.Struct, frozen=True):
    """Where an image runs (image-spec image-index.md, "platform"). Empty strings where the index says nothing."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(default="", name="os.version")
    os_features: tuple[str, ...] = msgspec.field(default=(), name="os.features")


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """What points at content: its type, digest and size in bytes (image-spec descriptor.md).

    `data` is the content itself where the descriptor carries it, decoded; it is known to match digest and size.
    """

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = {}
    data: bytes | None = None
    artifact_type: str | None = None
    platform: Platform | None = None

    @property
    def distributable(self) -> bool:
        """Whether the content must be in the registry: false for non-distributable layers that name their `urls`."""
        return not (self.urls and self.media_type.startswith(_NON_DISTRIBUTABLE))

    @property
    def is_manifest(self) -> bool:
        return self.media_type in MANIFEST_MEDIA_TYPES


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that has been checked; make it with `parse`.

    `body` is exactly what was pushed, `digest` its sha256. `artifact_type` is what a list of referrers says: the
    manifest's own, else the config's media type, None for an index without. `subject` is None for Docker's types,
    which have none.
    """

    body: bytes
    digest: Digest
    media_type: str
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = {}

    @classmethod
    def parse(cls, body: bytes, content_type: str | None = None) -> Manifest:
        """Read and check a manifest; raises `ManifestInvalid` for everything that is wrong with it.

        `content_type` is the request's header, parameters and all. Without one the body's ``mediaType`` decides, and
        without that its shape.
        """
        document = _document(body)
        media_type = _media_type(document, content_type)
        _refuse_ambiguity(document, media_type)
        subject = None if media_type in _DOCKER else _optional_descriptor(document, "subject")
        own_type = None if media_type in _DOCKER else _optional_text(document, "artifactType", "$")
        annotations = _annotations(document, "$")
        digest = Digest.of(body)
        if media_type in INDEX_MEDIA_TYPES:
            return cls(
                body=body,
                digest=digest,
                media_type=media_type,
                artifact_type=own_type,
                manifests=_descriptors(document, "manifests"),
                subject=subject,
                annotations=annotations,
            )
        config = _optional_descriptor(document, "config")
        if config is None:
            _refuse("$.config is missing; an image manifest needs a config descriptor")
        return cls(
            body=body,
            digest=digest,
            media_type=media_type,
            artifact_type=own_type or config.media_type,
            config=config,
            layers=_descriptors(document, "layers"),
            subject=subject,
            annotations=annotations,
        )

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_MEDIA_TYPES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What must be in the repository as a blob, each digest once: config and layers, except non-distributable ones.

        Of an index: its children that are not manifests (BuildKit's cache lists layers in an index).
        """
        if self.is_index:
            wanted = [child for child in self.manifests if not child.is_manifest and child.distributable]
        else:
            wanted = [item for item in self.contents if item.distributable]
        return tuple({item.digest: item for item in wanted}.values())

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be in the repository as a manifest, each digest once."""
        return tuple({child.digest: child for child in self.manifests if child.is_manifest}.values())

    @property
    def contents(self) -> tuple[Descriptor, ...]:
        """Everything it holds, in order, repeats and non-distributable layers too: what must not be swept away."""
        return self.manifests if self.config is None else (self.config, *self.layers)

    def descriptor(self) -> dict[str, Any]:
        """Its row in a list of referrers (distribution-spec, "Listing Referrers"), as plain JSON values."""
        row: dict[str, Any] = {"mediaType": self.media_type, "size": len(self.body), "digest": str(self.digest)}
        if self.artifact_type:
            row["artifactType"] = self.artifact_type
        if self.annotations:
            row["annotations"] = dict(self.annotations)
        return row


def digest_of(body: bytes, algorithm: str = SHA256) -> Digest:
    """The digest of a manifest's bytes under another algorithm; raises `DigestInvalid` for an unsupported one."""
    return Digest.of(body, algorithm)


# ---- bytes to a document ---------------------------------------------------------------------------------------------


class _GivenTwice(Exception):
    """An object has one key twice."""


class _Twice(msgspec.Struct):
    """Stands in the tree for an object that has `key` twice."""

    key: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _GivenTwice
    return found


def _mark_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            return _Twice(key)
        found[key] = value
    return found


def _whole(digits: str) -> int:
    # Python reads long integers in quadratic time, and refuses them by a limit of its own.
    if len(digits) > _NUMBER_LIMIT:
        _refuse_number()
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits) if len(digits) <= _NUMBER_LIMIT else math.inf
    if math.isinf(number):
        _refuse_number()
    return number


def _refuse_number() -> NoReturn:
    _refuse("the manifest holds a number that readers cannot hold; write it as a string")


def _constant(name: str) -> NoReturn:
    _refuse(f"the manifest is not JSON: {name} is not a value; remove it")


_READER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole, parse_float=_fraction, parse_constant=_constant)
_FINDER = json.JSONDecoder(
    object_pairs_hook=_mark_twice, parse_int=_whole, parse_float=_fraction, parse_constant=_constant
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Possessive, and the closing quote may be missing: one pass over any text whatever.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def _document(body: bytes) -> dict[str, Any]:
    """Strict UTF-8, strict JSON, an object, no key twice, nothing over `DEPTH_LIMIT` and `BRACKETS_LIMIT`."""
    text = _text(body)
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > BRACKETS_LIMIT and _brackets_outside_strings(text) > BRACKETS_LIMIT:
        _refuse(f"the manifest holds more than {BRACKETS_LIMIT} objects and lists; split it")
    try:
        document = _read(_READER, text)
    except _GivenTwice:
        key, path = _where_twice(_read(_FINDER, text))
        _refuse(f"key {quoted(key, 30)} is given twice in {_shown(path, 50)}; keep one")
    if type(document) is not dict:
        _refuse(f"the manifest is {_kind(document)}; send a JSON object")
    # So many brackets cannot nest deeper than the limit; the usual manifest ends the question here.
    if brackets > DEPTH_LIMIT and _deep(document):
        _refuse_depth()
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(document)
    return document


def _read(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at").removesuffix(" starting").rstrip(": ")
        _refuse(f"the manifest is not JSON at line {error.lineno}, column {error.colno}: {reason}; send a JSON object")
    except RecursionError:
        _refuse_depth()


def _text(body: bytes) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        _refuse("the manifest starts with a byte-order mark; send UTF-8 without one")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        _refuse(f"the manifest is not UTF-8 at byte {error.start}; send JSON in UTF-8")


def _brackets_outside_strings(text: str) -> int:
    bare = _STRING.sub("", text)
    return bare.count("{") + bare.count("[")


def _deep(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(DEPTH_LIMIT):
        level = [
            value
            for parent in level
            for value in (parent.values() if type(parent) is dict else parent)
            if type(value) is dict or type(value) is list
        ]
        if not level:
            return False
    return True


def _refuse_depth() -> NoReturn:
    _refuse(f"the manifest nests deeper than {DEPTH_LIMIT} levels; flatten it")


def _refuse_lone_surrogates(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _refuse(r"the manifest holds half a character (a lone \uD800 to \uDFFF escape); write both halves, or neither")


def _where_twice(tree: Any) -> tuple[str, str]:
    """The first key that is given twice, and the path of its object."""
    stack: list[Iterator[tuple[str, Any]]] = [iter([("$", tree)])]
    while stack:
        path, value = next(stack[-1], (None, None))
        if path is None:
            stack.pop()
        elif isinstance(value, _Twice):
            return value.key, path
        else:
            stack.append(_members(path, value))
    return "?", "$"


def _members(path: str, parent: Any) -> Iterator[tuple[str, Any]]:
    """The objects and lists in `parent`; their paths are cut, or a hostile tree's would fill the memory."""
    pairs = parent.items() if type(parent) is dict else enumerate(parent)
    for key, value in pairs:
        if isinstance(value, dict | list | _Twice):
            part = f".{key[:ECHO_LIMIT]}" if isinstance(key, str) else f"[{key}]"
            yield (path + part)[:ECHO_LIMIT], value


# ---- a document to values --------------------------------------------------------------------------------------------

_DOCUMENT_FIELDS = frozenset({
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations", "fsLayers",
})  # fmt: skip
_DESCRIPTOR_FIELDS = frozenset({
    "mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform",
})  # fmt: skip
_PLATFORM_FIELDS = frozenset({"architecture", "os", "variant", "os.version", "os.features"})
_FOLDED = {
    fields: {field.casefold(): field for field in fields}
    for fields in (_DOCUMENT_FIELDS, _DESCRIPTOR_FIELDS, _PLATFORM_FIELDS)
}
_MEDIA_TYPE = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def _refuse(message: str) -> NoReturn:
    raise ManifestInvalid(message) from None


def _shown(text: str, limit: int) -> str:
    return quoted(text, limit)[1:-1]


_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def _media_type(document: dict[str, Any], content_type: str | None) -> str:
    """The manifest's type: header and body must agree, and must be one of `MANIFEST_MEDIA_TYPES`."""
    _check_fields(document, _DOCUMENT_FIELDS, "$")
    inside = _optional_text(document, "mediaType", "$")
    outside = content_type.partition(";")[0].strip().lower() if content_type else None
    media_type = outside or inside or (OCI_INDEX if document.get("manifests") is not None else OCI_MANIFEST)
    if media_type.startswith(_SCHEMA1) or document.get("schemaVersion") == 1:
        _refuse("schema 1 manifests are no longer taken; push again with a current client (Docker 1.10 or newer)")
    if media_type not in MANIFEST_MEDIA_TYPES:
        source = "Content-Type" if outside else "$.mediaType"
        _refuse(f"{source} {quoted(media_type, 60)} is not a manifest type; use {OCI_MANIFEST} or another of the four")
    if inside is None and media_type in _DOCKER:
        _refuse("$.mediaType is missing; Docker manifests must state it")
    if inside is not None and inside != media_type:
        _refuse(f"$.mediaType is {quoted(inside, 70)}, unlike the Content-Type; send the same in both")
    return media_type


def _refuse_ambiguity(document: dict[str, Any], media_type: str) -> None:
    version = document.get("schemaVersion")
    if type(version) is not int or version != 2:
        _refuse("$.schemaVersion must be the number 2; set it")
    strangers = ("config", "layers") if media_type in INDEX_MEDIA_TYPES else ("manifests",)
    for field in (*strangers, "fsLayers"):
        if document.get(field) is not None:
            noun = "an index" if media_type in INDEX_MEDIA_TYPES else "an image manifest"
            _refuse(f"$.{field} does not belong in {noun}; remove it, or send the Content-Type that fits")


def _check_fields(value: dict[str, Any], fields: frozenset[str], path: str) -> None:
    """Refuse a key that equals a known field but for its case: Go's readers take it for that field."""
    unknown = value.keys() - fields
    if unknown:
        folded = _FOLDED[fields]
        for key in unknown:
            if (field := folded.get(key.casefold())) is not None:
                _refuse(f"key {quoted(key, 30)} in {path} could be read as {field}; write {field}, or rename it")


def _descriptors(document: dict[str, Any], field: str) -> tuple[Descriptor, ...]:
    value = document.get(field, document)
    if value is None:
        return ()  # how Go writes an empty slice
    if value is document:
        _refuse(f"$.{field} is missing; send a list, even an empty one")
    if type(value) is not list:
        _refuse(f"$.{field} must be a list of descriptors, not {_kind(value)}")
    return tuple([_descriptor(item, f"$.{field}[{index}]") for index, item in enumerate(value)])


def _optional_descriptor(document: dict[str, Any], field: str) -> Descriptor | None:
    value = document.get(field)
    return None if value is None else _descriptor(value, f"$.{field}")


def _descriptor(value: Any, path: str) -> Descriptor:
    if type(value) is not dict:
        _refuse(f"{path} must be a descriptor object, not {_kind(value)}")
    media_type = value.get("mediaType")
    if type(media_type) is not str or _MEDIA_TYPE.fullmatch(media_type) is None:
        _refuse_media_type(media_type, f"{path}.mediaType")
    digest, size = _digest(value.get("digest"), path), _size(value.get("size"), path)
    if len(value) == 3:
        return Descriptor(media_type, digest, size)
    _check_fields(value, _DESCRIPTOR_FIELDS, path)
    return Descriptor(
        media_type,
        digest,
        size,
        urls=_texts(value, "urls", path),
        annotations=_annotations(value, path),
        data=_data(value, digest, size, path),
        artifact_type=_optional_text(value, "artifactType", path),
        platform=_platform(value.get("platform"), f"{path}.platform"),
    )


def _digest(value: object, path: str) -> Digest:
    if type(value) is not str:
        _refuse(f"{path}.digest must be a string such as sha256:..., not {_kind(value)}")
    try:
        return Digest.parse(value)
    except DigestInvalid as error:
        _refuse(f"{path}.digest: {error.message}")


def _size(value: object, path: str) -> int:
    if type(value) is not int or not 0 <= value <= SIZE_LIMIT:
        _refuse(f"{path}.size must be a whole number from 0 to 2^63-1; give the content's length in bytes")
    return value


def _data(value: dict[str, Any], digest: Digest, size: int, path: str) -> bytes | None:
    encoded = value.get("data")
    if encoded is None:
        return None
    if type(encoded) is not str:
        _refuse(f"{path}.data must be a base64 string, not {_kind(encoded)}")
    try:
        data = a2b_base64(encoded, strict_mode=True)
    except (Base64Error, ValueError):
        _refuse(f"{path}.data is not base64 (RFC 4648, section 4); encode it again, or leave it out")
    if len(data) != size:
        _refuse(f"{path}.data has {len(data)} bytes but {path}.size is {size}; send the whole content, or leave it out")
    if Digest.of(data, digest.algorithm) != digest:
        _refuse(f"{path}.data does not hash to {path}.digest; send the exact content, or leave it out")
    return data


def _annotations(value: dict[str, Any], path: str) -> dict[str, str]:
    annotations = value.get("annotations")
    if annotations is None:
        return {}
    if type(annotations) is not dict:
        _refuse(f"{path}.annotations must be an object of strings, not {_kind(annotations)}")
    for key, text in annotations.items():
        if type(text) is not str:
            _refuse(f"{path}.annotations[{quoted(key, 60)}] must be a string, not {_kind(text)}; quote it")
    return annotations


def _texts(value: dict[str, Any], field: str, path: str) -> tuple[str, ...]:
    texts = value.get(field)
    if texts is None:
        return ()
    if type(texts) is not list:
        _refuse(f"{path}.{field} must be a list of strings, not {_kind(texts)}")
    for index, text in enumerate(texts):
        if type(text) is not str:
            _refuse(f"{path}.{field}[{index}] must be a string, not {_kind(text)}")
    return tuple(texts)


def _optional_text(value: dict[str, Any], field: str, path: str) -> str | None:
    """A media type, or None where it is missing, null or empty."""
    text = value.get(field)
    if text is None or text == "":
        return None
    if type(text) is not str or _MEDIA_TYPE.fullmatch(text) is None:
        _refuse_media_type(text, f"{path}.{field}")
    return text


def _refuse_media_type(value: object, path: str) -> NoReturn:
    if value is None or value == "":
        _refuse(f"{path} is missing; state the media type")
    if type(value) is not str:
        _refuse(f"{path} must be a string, not {_kind(value)}")
    _refuse(f"{path} {quoted(value, 60)} is not a media type; use at most 255 printable ASCII characters")


def _platform(value: object, path: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        _refuse(f"{path} must be an object, not {_kind(value)}")
    _check_fields(value, _PLATFORM_FIELDS, path)
    return Platform(
        architecture=_platform_text(value, "architecture", path),
        os=_platform_text(value, "os", path),
        variant=_platform_text(value, "variant", path),
        os_version=_platform_text(value, "os.version", path),
        os_features=_texts(value, "os.features", path),
    )


def _platform_text(platform: dict[str, Any], field: str, path: str) -> str:
    value = platform.get(field)
    if value is None:
        return ""
    if type(value) is not str:
        _refuse(f"{path}.{field} must be a string, not {_kind(value)}; quote it")
    return value
