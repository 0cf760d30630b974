"""The system's limit of open files: it is raised as far as possible, and connections beyond it are refused."""

from __future__ import annotations

import contextlib
import socket
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from metadata_inventory.service.worker import RESERVED_FILES
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service, with_database

LOOPBACK = {"INVENTORY_ALLOW_LOOPBACK": "true"}
SOFT_FILES = 64
MANY = 150
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
WARNING = "the system's limit of open files allows"


def limited(limits: str) -> list[str]:
    """A command that starts the program from a shell which has lowered its limits."""
    return ["sh", "-c", f'{limits} && exec "$@"', "sh", sys.executable, "-m", "metadata_inventory"]


def keep_open(stack: contextlib.ExitStack, service: Service) -> bytes:
    """Opens a connection that stays open, and returns the status line of its answer."""
    address = urlsplit(service.url)
    connection = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 80), timeout=10))
    with contextlib.suppress(ConnectionResetError):  # refused before it was read
        connection.sendall(LIVEZ)
    return connection.recv(65536).partition(b"\r\n")[0]


def test_low_hard_limit_is_told_and_bounds_the_connections(
    mongo_uri: str, shared_origin: Origin, tmp_path: Path
) -> None:
    fit = 20
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path)
    limits = f"ulimit -S -n {SOFT_FILES} && ulimit -H -n {RESERVED_FILES + fit}"
    with Service(tmp_path, environ=with_database(mongo_uri, **LOOPBACK), command=limited(limits)) as service:
        service.wait_for_answer()
        assert f"{WARNING} {fit} connections" in service.log
        assert post(service, shared_origin.url(path))[0] == 201
        with contextlib.ExitStack() as stack:
            kept = [keep_open(stack, service) for _ in range(fit)]
            assert set(kept) == {b"HTTP/1.1 200 OK"}
            assert keep_open(stack, service) == b"HTTP/1.1 503 Service Unavailable"


def test_low_soft_limit_bounds_neither_connections_nor_collections(
    mongo_uri: str, shared_origin: Origin, tmp_path: Path
) -> None:
    environ = with_database(
        mongo_uri,
        INVENTORY_MAX_CONNECTIONS=str(2 * MANY),
        INVENTORY_HOST_CONCURRENCY=str(MANY),
        INVENTORY_LANES="1",
        **LOOPBACK,
    )
    with Service(tmp_path, environ=environ, command=limited(f"ulimit -S -n {SOFT_FILES}")) as service:
        service.wait_for_answer()
        assert WARNING not in service.log
        with contextlib.ExitStack() as stack:
            kept = [keep_open(stack, service) for _ in range(MANY)]
            assert set(kept) == {b"HTTP/1.1 200 OK"}
        paths = [f"/{uuid.uuid4().hex}" for _ in range(MANY)]
        for path in paths:
            shared_origin.hold(path)
        assert {get(service, shared_origin.url(path))[0] for path in paths} == {202}
        shared_origin.wait_until(lambda: len({one.path for one in shared_origin.requests} & set(paths)) == MANY)
        for path in paths:
            shared_origin.release(path)


def test_limit_that_leaves_nothing_for_connections_is_told(mongo_uri: str, tmp_path: Path) -> None:
    command = limited(f"ulimit -n {RESERVED_FILES}")
    with Service(tmp_path, environ=with_database(mongo_uri, **LOOPBACK), command=command) as service:
        assert service.process.wait(30) == 2
        assert f"limit of open files must be above {RESERVED_FILES}" in service.log
        assert "Traceback" not in service.log
