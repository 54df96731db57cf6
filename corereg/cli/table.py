"""Columns of text for a person; two spaces apart, never cut."""

from corereg.client.table import table, width

__all__ = ["table", "width"]
