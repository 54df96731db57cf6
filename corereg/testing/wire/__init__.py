"""`WireContract`: what a registry promises on the wire, one black-box test per promise.

The tests know nothing but HTTP. They follow the OCI distribution specification (1.1 and what is on its main branch),
the Docker V2 documents, and, where those leave room, what corereg chose to do; a registry that chose otherwise, or
does less, declares so by capability::

    class TestOurs(WireContract):
        capabilities = WireContract.capabilities - {"digest_put_tag", "conditional_put"}

or ``--corereg-lacks digest_put_tag,conditional_put``. Every test works in a repository of its own, so the registry may
be in use. What an HTTP client cannot send is in `RawWire`.

The contract is made of one class for each noun, which can be inherited from alone.
"""

from __future__ import annotations

from corereg.testing.wire.answers import ERROR_CODES
from corereg.testing.wire.auth import AuthWire
from corereg.testing.wire.blobs import BlobWire
from corereg.testing.wire.conditions import ConditionalPutWire
from corereg.testing.wire.deletes import DeleteWire
from corereg.testing.wire.face import FaceWire
from corereg.testing.wire.grammar import GrammarWire
from corereg.testing.wire.lists import ListWire
from corereg.testing.wire.manifests import ManifestWire
from corereg.testing.wire.mounts import MountWire
from corereg.testing.wire.protocol import CAPABILITIES, Protocol
from corereg.testing.wire.raw import RawWire
from corereg.testing.wire.referrers import ReferrersWire
from corereg.testing.wire.refusals import ManifestRefusalWire
from corereg.testing.wire.tags import TagPutWire
from corereg.testing.wire.uploads import UploadWire

__all__ = [
    "CAPABILITIES",
    "ERROR_CODES",
    "AuthWire",
    "BlobWire",
    "ConditionalPutWire",
    "DeleteWire",
    "FaceWire",
    "GrammarWire",
    "ListWire",
    "ManifestRefusalWire",
    "ManifestWire",
    "MountWire",
    "Protocol",
    "RawWire",
    "ReferrersWire",
    "TagPutWire",
    "UploadWire",
    "WireContract",
]


class WireContract(
    GrammarWire,
    FaceWire,
    BlobWire,
    UploadWire,
    MountWire,
    ManifestWire,
    ManifestRefusalWire,
    TagPutWire,
    ConditionalPutWire,
    DeleteWire,
    ReferrersWire,
    ListWire,
    AuthWire,
    RawWire,
):
    """The whole protocol. Inherit from it, and take from `capabilities` what the registry does not promise."""
