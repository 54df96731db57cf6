"""What goes wrong with backups."""

from __future__ import annotations


class BackupError(Exception):
    """The backup cannot be made or used; `str()` is a sentence for the operator."""


class WrongBytes(Exception):
    """Bytes are not what their digest says."""
