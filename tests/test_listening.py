"""The port: ours from `bind` on, and open from `listen` on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from metadata_inventory.errors import AddressInUse
from metadata_inventory.listening import bind, listen


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    sockets = bind("127.0.0.1", 0)
    yield sockets
    for sock in sockets:
        sock.close()


def port_of(sockets: list[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1])


def assert_held(port: int) -> None:
    """From another service that starts, and from whatever would share the address."""
    with pytest.raises(AddressInUse, match="Address already in use"):
        bind("127.0.0.1", port)
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_port_that_is_bound_is_held_and_lets_nobody_in_before_it_is_listened_on(sockets: list[socket.socket]) -> None:
    port = port_of(sockets)
    assert_held(port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    listen(sockets, "127.0.0.1", port)
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert_held(port)


def test_closed_connections_of_the_service_before_do_not_keep_the_port(sockets: list[socket.socket]) -> None:
    port = port_of(sockets)
    listen(sockets, "127.0.0.1", port)
    sockets[0].setblocking(True)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        sockets[0].accept()[0].close()  # who closes first keeps the connection, in TIME_WAIT
        assert client.recv(1) == b""
    sockets[0].close()
    with closing(socket.socket()) as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", port))
    (again,) = bind("127.0.0.1", port)
    with again:
        assert_held(port)
        listen([again], "127.0.0.1", port)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


@pytest.mark.parametrize("host", ["", "localhost"])
def test_every_address_of_a_host_has_the_same_port(host: str) -> None:
    sockets = bind(host, 0)
    try:
        assert {sock.getsockname()[1] for sock in sockets} == {port_of(sockets)} != {0}
        families = [sock.family for sock in sockets]
        assert socket.AF_INET in families
        assert len(set(families)) == len(families)
    finally:
        for sock in sockets:
            sock.close()
