"""Groups of commands that suggest near names for a word they do not know."""

from corereg.client.words import Words, near, unknown

__all__ = ["Words", "near", "unknown"]
