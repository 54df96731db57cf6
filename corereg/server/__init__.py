"""Runs the registry: sockets, workers, TLS, shutdown, and one of three HTTP servers.

`run` is what ``corereg serve`` calls. Importing this package loads none of the three.
"""

from corereg.server.failure import ServerError, sentence
from corereg.server.run import check, run

__all__ = ["ServerError", "check", "run", "sentence"]
