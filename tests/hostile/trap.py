"""Listens at prohibited destinations and counts the connections and datagrams that arrive.

Nothing has to accept a connection while a test runs: the kernel completes it before `connect` returns, and keeps it.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from metadata_inventory.model.destinations import PORTS
from metadata_inventory.service.bootstrap import read_own_addresses

ORIGIN = "127.0.0.2"  # the one address that tests allow
LOCK_FILE = Path(tempfile.gettempdir()) / "metadata-inventory-tests-web-ports.lock"
INSIDE = ("127.0.0.1", "127.255.255.254", "::1")


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Hold a lock of this machine while a test has a trap, because all traps need the same five web ports.

    The kernel releases the lock of a process that has ended.
    """
    with LOCK_FILE.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Trap:
    """A context manager. Listens for TCP and UDP on `INSIDE` and this host's own addresses, on every free web port.

    `port` is one of these ports, and free on `ORIGIN`: an origin there differs from the trap by its address alone.
    """

    def __init__(self) -> None:
        self._addresses = dict.fromkeys([*INSIDE, *(ip for ip in read_own_addresses() if "%" not in ip)])
        self._listening: dict[tuple[str, int], list[socket.socket]] = {}
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            for port in PORTS:
                for ip in self._addresses:
                    with contextlib.suppress(OSError):  # taken, privileged, or an address of a family without sockets
                        self._listen(ip, port)
            free = [port for port in PORTS if ("127.0.0.1", port) in self._listening and _free(ORIGIN, port)]
            assert free, f"a web port is needed that is free on 127.0.0.1 and {ORIGIN}: one of {PORTS}"
            self.port = free[0]
            undo.pop_all()

    def _listen(self, ip: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        tcp = socket.create_server((ip, port), family=family, backlog=64)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        self._listening[ip, port] = [tcp, udp]
        udp.bind((ip, port))
        for sock in (tcp, udp):
            sock.setblocking(False)

    def listens_on(self, ip: str) -> bool:
        return (ip, self.port) in self._listening

    def sprung(self) -> list[str]:
        """The addresses that received a connection or datagram since the last call."""
        caught = []
        for (ip, port), (tcp, udp) in self._listening.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    tcp.accept()[0].close()
                    caught.append(f"tcp [{ip}]:{port}")
            with contextlib.suppress(BlockingIOError):
                while udp.recvfrom(65536):
                    caught.append(f"udp [{ip}]:{port}")
        return caught

    def requests(self) -> list[bytes]:
        """The bytes that each closed connection has sent."""
        said = []
        for tcp, _ in self._listening.values():
            with contextlib.suppress(BlockingIOError):
                while True:
                    with tcp.accept()[0] as sock:
                        sock.settimeout(10)
                        said.append(sock.recv(65536))
        return said

    def close(self) -> None:
        for socks in self._listening.values():
            for sock in socks:
                sock.close()

    def __enter__(self) -> Trap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free(ip: str, port: int) -> bool:
    try:
        socket.create_server((ip, port)).close()
    except OSError:
        return False
    return True
