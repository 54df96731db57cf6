"""The listening socket: bound once, by the parent, before anything else may fail."""

from __future__ import annotations

import errno
import os
import socket
import sys

from corereg.server.failure import ServerError

BACKLOG = 2048
"""Connections the kernel keeps waiting; it cuts this down to its own limit (net.core.somaxconn)."""
HEADERS = 64 * 1024
"""Bytes a request's line and headers may have together."""
IDLE = 75
"""Seconds a connection may take to send the whole head of a request, from when it was last of use."""
STALLED = 300
"""Seconds a client may leave sent bytes unacknowledged, or its window closed, before the kernel ends the connection."""


def listen_each(host: str, port: int, count: int) -> list[socket.socket]:
    """A listening socket for each of `count` workers, all on one address. Raises ServerError.

    On Linux each has a queue of its own and the kernel spreads connections evenly; a socket that all share gives most
    of them to whoever wakes first. Elsewhere they share one.
    """
    first = listen(host, port)
    if count == 1 or sys.platform != "linux":
        return [first, *(first.dup() for _ in range(count - 1))]
    port = first.getsockname()[1]
    first.close()  # it has shown that nobody else is there: two that share a port would not be told
    return [listen(host, port, shared=True) for _ in range(count)]


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket, not blocking. Raises ServerError when the address cannot be had.

    What is set on it holds for every connection that it accepts: dead peers are noticed, and a client that stops
    reading cannot keep a response for ever. No HTTP server watches that by itself. With `shared`, others of the same
    user may listen beside it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no host can be named so"
        raise ServerError(f"server.host: {host!r} is no address of this machine ({why})") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED * 1000)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ServerError(_refused(host, port, error)) from error
    return listener


def _refused(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is in use: stop who listens there, or take another one with --port"
        case errno.EACCES | errno.EPERM:
            return (
                f"port {port} on {host} is not permitted to user {os.geteuid()}: ports below 1024 need root or "
                "CAP_NET_BIND_SERVICE; take a higher one with --port"
            )
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: set server.host to one, or to 0.0.0.0 for all of them"
        case _:
            return f"cannot listen on {host} port {port}: {error.strerror or error}"


def raise_file_limit() -> None:
    """Let the process have as many connections and files as it is permitted to; the soft limit is often 1024."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
