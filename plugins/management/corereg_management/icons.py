"""Icons: the ones drawn here, one for each type, and the ones artifacts bring along."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from corereg import Digest

LARGEST = 1024 * 1024
"""Bytes an artifact's own icon may have."""
SVG = "image/svg+xml"

_FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="#4a6785" stroke-width="2" '
    'stroke-linejoin="round" stroke-linecap="round">{}</svg>'
)
_SHAPES: Mapping[str, str] = {
    "IMAGE": '<path d="M4 10l12-6 12 6v12l-12 6-12-6zM4 10l12 6 12-6M16 16v12"/>',
    "CHART": '<circle cx="16" cy="16" r="9"/><circle cx="16" cy="16" r="3"/>'
    '<path d="M16 4v24M4 16h24M8 8l16 16M24 8L8 24"/>',
    "CNAB": '<path d="M4 8h24v18H4zM4 14h24M12 8v6M20 8v6"/>',
    "WASM": '<path d="M4 4h8a4 4 0 0 0 8 0h8v24H4zM8 16l2 7 2-5 2 5 2-7M19 23l2.500-7 2.500 7M20 21h3"/>',
    "SBOM": '<path d="M7 3h12l6 6v20H7zM19 3v6h6M11 15h10M11 20h10M11 25h6"/>',
    "CNAI": '<circle cx="8" cy="16" r="3"/><circle cx="24" cy="8" r="3"/><circle cx="24" cy="24" r="3"/>'
    '<path d="M11 15l10-5M11 17l10 5"/>',
    "": '<path d="M7 3h12l6 6v20H7zM19 3v6h6"/>',
}
# An accessory's own type, which has a dot, beside those of artifacts.
_SEAL = '<circle cx="16" cy="12" r="8"/><path d="M12 12l3 3 5-6M11 19l-2 10 7-4 7 4-2-10"/>'
_SHAPES = {
    **_SHAPES,
    "signature.cosign": _SEAL,
    "signature.notation": _SEAL,
    "sbom.harbor": _SHAPES["SBOM"],
    "accelerator.nydus": '<path d="M18 3L7 18h8l-1 11 11-15h-8z"/>',
}


class Picture(msgspec.Struct, frozen=True):
    """A picture and its media type."""

    media_type: str
    body: bytes


def _drawn() -> tuple[Mapping[str, str], Mapping[str, Picture]]:
    digests, pictures = {}, {}
    for kind, shape in _SHAPES.items():
        body = _FRAME.format(shape).encode()
        digests[kind] = str(Digest.of(body))
        pictures[digests[kind]] = Picture(SVG, body)
    return digests, pictures


_DIGESTS, DRAWN = _drawn()
"""The pictures that are ours, by digest."""


def icon_of(kind: str) -> str:
    """The digest of our icon for a type of artifact or accessory."""
    return _DIGESTS.get(kind, _DIGESTS[""])


_SIGNS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))


def picture_of(body: bytes) -> Picture | None:
    """The bytes of an artifact's icon as a picture; None unless they are PNG, JPEG or GIF: a drawing (SVG) may hold
    scripts, and whatever else was pushed is not to be shown as anything.
    """
    return next((Picture(kind, body) for sign, kind in _SIGNS if body.startswith(sign)), None)
