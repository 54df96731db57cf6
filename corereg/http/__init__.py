"""How it is said: the OCI distribution protocol, tokens and plugins' routes over ASGI."""
