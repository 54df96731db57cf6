"""What is remembered of an upload between two requests.

Each writer leaves one run of bytes, under a token of its own: nobody else writes there. A run is an object, or a
multipart upload that has all its parts and is still open; opened ones are made objects when their bytes are wanted.
"""

from __future__ import annotations

from typing import Any

import msgspec

from corereg import STAYING, UPLOADS, KeyMissing, State


class Run(msgspec.Struct, frozen=True, array_like=True):
    """`size` bytes from `offset` on, the first of `stored` that one writer left.

    `multipart` is S3's id of the multipart upload, `etags` what S3 answered to each part; both are empty where the
    object was written whole.
    """

    token: str
    offset: int
    size: int
    stored: int
    multipart: str = ""
    etags: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        return self.offset + self.size

    def key(self, upload: str) -> str:
        """Where its bytes lie, or will. What may become a blob as it is, is begun where it can stay."""
        folder = STAYING if self.multipart and self.offset == 0 else UPLOADS
        return f"{folder}{upload}/{self.offset}-{self.token}"


class Progress(msgspec.Struct, frozen=True):
    """The state of an upload: its runs, one after the other without a gap; and what was left behind on the way, to be
    removed at the end: until then an older state may come back.
    """

    runs: tuple[Run, ...] = ()
    dropped: tuple[Run, ...] = ()

    @property
    def size(self) -> int:
        return self.runs[-1].end if self.runs else 0

    def cut(self, size: int) -> Progress:
        """The first `size` bytes; KeyMissing when there are fewer."""
        if size > self.size:
            raise KeyMissing(f"the upload has {self.size} bytes, not {size}")
        kept = tuple(
            msgspec.structs.replace(run, size=min(run.size, size - run.offset))
            for run in self.runs
            if run.offset < size
        )
        return Progress(kept, (*self.dropped, *self.runs[len(kept) :]))

    def without_last(self) -> Progress:
        """All but the last run, which is dropped."""
        return Progress(self.runs[:-1], (*self.dropped, *self.runs[-1:]))

    def state(self) -> State:
        """As the database keeps it."""
        state: dict[str, Any] = msgspec.to_builtins(self)
        return state


def progress_of(state: State) -> Progress:
    """The state, read; KeyMissing when it is none."""
    try:
        progress = msgspec.convert(state, Progress)
    except msgspec.ValidationError as error:
        raise KeyMissing(f"the upload's state cannot be read: {error}") from None
    ends = [0, *(run.end for run in progress.runs)]
    if any(end != run.offset for end, run in zip(ends, progress.runs, strict=False)):
        raise KeyMissing("the upload's state has a gap")
    return progress
