"""What every storage has to do: `StorageContract`, a class of tests to inherit from.

::

    class TestOurs(StorageContract):
        @pytest.fixture
        def make_storage(self, tmp_path):
            return lambda: OurStorage(tmp_path)

`make_storage` makes one more object on the same place each time it is called: that is how another process sees it.
Every test removes what it has put there, and fails when something is left. What a storage says in its `capabilities` is
tested, what it does not say is not.
"""

from __future__ import annotations

from corereg.testing.storage.committing import CommittingContract
from corereg.testing.storage.listing import ListingContract
from corereg.testing.storage.putting import PuttingContract
from corereg.testing.storage.reading import ReadingContract
from corereg.testing.storage.steps import (
    LARGEST_PIECE,
    KiB,
    MakeStorage,
    MiB,
    again,
    appended,
    assert_recent,
    committed,
    digest_of,
    everything,
    opened,
    read,
    read_upload,
    some_bytes,
    started,
    stored,
    uploads,
)
from corereg.testing.storage.stopping import StoppingContract
from corereg.testing.storage.uploading import UploadingContract

__all__ = [
    "LARGEST_PIECE",
    "CommittingContract",
    "KiB",
    "ListingContract",
    "MakeStorage",
    "MiB",
    "PuttingContract",
    "ReadingContract",
    "StoppingContract",
    "StorageContract",
    "UploadingContract",
    "again",
    "appended",
    "assert_recent",
    "committed",
    "digest_of",
    "everything",
    "opened",
    "read",
    "read_upload",
    "some_bytes",
    "started",
    "stored",
    "uploads",
]


class StorageContract(
    ReadingContract, UploadingContract, CommittingContract, PuttingContract, StoppingContract, ListingContract
):
    """Inherit from it and give it `make_storage`."""
