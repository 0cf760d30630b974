"""The sockets that clients come to: first held, then listened on.

In between the database starts. By then the port has to be ours, so that one that is taken is told before anything is
started; and nobody is to be let in yet. (Tornado's `bind_sockets` does both at once.)
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from metadata_inventory.errors import AddressInUse

BACKLOG = 1024


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of the host (a name may have two), all on one port that nobody else can have then.

    Raises AddressInUse.
    """
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in sorted({(family, address) for family, _, _, _, address in found}):
            shared = bound[0].getsockname()[1] if bound else port  # 0 is chosen once
            optional = family == socket.AF_INET6 and host in ("", "localhost")
            if (sock := _make(family, (address[0], shared, *address[2:]), optional=optional)) is not None:
                bound.append(sock)
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise _in_use(host, port, error) from error
    return bound


def listen(sockets: Sequence[socket.socket], host: str, port: int) -> None:
    """Let clients in. Raises AddressInUse."""
    for sock in sockets:
        # Closed connections keep it from their listener, and the next service can then bind the port in spite of them.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.listen(BACKLOG)
        except OSError as error:
            raise _in_use(host, port, error) from error


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host or '0.0.0.0'}:{port}"


def _make(family: socket.AddressFamily, address: tuple[str | int, ...], *, optional: bool) -> socket.socket | None:
    """A socket that holds the address. None when it is `optional` and cannot be had: many containers have no IPv6."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        if optional:
            return None
        raise
    try:
        _bind(sock, address)
    except OSError as error:
        sock.close()
        if optional and error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return sock


def _bind(sock: socket.socket, address: tuple[str | int, ...]) -> None:
    """Not with SO_REUSEADDR from the start: with that, Linux gives an address that nobody listens on to several."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
    sock.setblocking(False)
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # In use, or only by closed connections of the service before.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _in_use(host: str, port: int, error: OSError) -> AddressInUse:
    return AddressInUse(f"Cannot listen on {url_of(host, port)}: {error.strerror or error}.")
