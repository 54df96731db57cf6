"""The only door: all that one identity may do.

Client, API, web UI, replication and jobs act through a Session. Its methods hold nothing but require, admit, act,
record. What they raise is what the client sees (`corereg.oci.errors`).
"""

from __future__ import annotations

from corereg.session.adoption import Adoption, FoundManifest
from corereg.session.blobs import Blobs
from corereg.session.collection import Collected, Collection, CollectOptions
from corereg.session.door import Change, House, Refused, SignInNeeded
from corereg.session.jobs import Running
from corereg.session.lists import Lists
from corereg.session.manifests import Manifests, Precondition, Pushed
from corereg.session.restoring import Restoring
from corereg.session.settings import Configuration
from corereg.session.uploads import Transfers

__all__ = [
    "Change",
    "CollectOptions",
    "Collected",
    "FoundManifest",
    "House",
    "Precondition",
    "Pushed",
    "Refused",
    "Session",
    "SignInNeeded",
]


class Session(Adoption, Collection, Restoring, Manifests, Blobs, Transfers, Lists, Configuration, Running):
    """One identity at work. Cheap to make: one per request.

    `narrow` says that `grants` are those of a token, which may be less than the identity has; `whole` that they are all
    that the plugins give, and may be asked anew.
    """

    __slots__ = ()
