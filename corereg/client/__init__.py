"""The command line's other end: a client of the HTTP API, contexts and credentials, and how answers are printed.

Plugins reach it as ``from corereg import remote``. Nothing here loads an HTTP client before a request is made.
"""
