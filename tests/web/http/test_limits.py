"""The limits of the HTTP server: connections, time for requests and answers, bytes of heads."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from metadata_inventory.web.http.security_headers import SECURITY_HEADERS
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until

CONNECTIONS = 8
IDLE_S = 1.0
BODY_S = 1.0
ANSWER_S = 1.0
# Added to each of these times, as the machine may be busy with other things.
LATE_S = 10.0


@pytest.fixture(scope="module")
def bounded(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environ = with_database(
        mongo_uri,
        INVENTORY_MAX_CONNECTIONS=str(CONNECTIONS),
        INVENTORY_IDLE_TIMEOUT_S=str(IDLE_S),
        INVENTORY_BODY_TIMEOUT_S=str(BODY_S),
        INVENTORY_ANSWER_TIMEOUT_S=str(ANSWER_S),
        INVENTORY_ALLOW_LOOPBACK="true",
    )
    with Service(tmp_path_factory.mktemp("bounded"), environ=environ) as service:
        service.wait_for_answer()
        yield service


def connect(service: Service) -> socket.socket:
    address = urlsplit(service.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port or 80), timeout=IDLE_S + LATE_S)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\n",
        b"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_client_that_does_not_go_on_is_let_go(bounded: Service, sent: bytes) -> None:
    with connect(bounded) as connection:
        begun = time.monotonic()
        connection.sendall(sent)
        assert read_to_end(connection) == b""
        assert time.monotonic() - begun >= min(IDLE_S, BODY_S) * 0.9


def test_client_that_sends_byte_by_byte_is_let_go_all_the_same(bounded: Service) -> None:
    """The limit is on the time for the whole head, not on the pause between two bytes."""
    with connect(bounded) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        deadline = time.monotonic() + IDLE_S + LATE_S
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b"x")
                connection.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
        assert time.monotonic() < deadline


def served(service: Service) -> socket.socket | None:
    """A connection on which one request has been answered, and that is kept open for the next one."""
    connection = connect(service)
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    if connection.recv(65536).startswith(b"HTTP/1.1 200"):
        return connection
    connection.close()
    return None


def test_connection_over_the_bound_is_refused_and_others_are_served(bounded: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            # Connections of earlier tests may not all be closed yet.
            kept = wait_until(lambda: served(bounded), LATE_S, what="a connection that is kept")
            assert kept is not None
            stack.enter_context(kept)
        with connect(bounded) as over:
            head, _, body = read_to_end(over).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in head
        assert_refusal(head, body, "too_many_connections")
    wait_until(lambda: bounded.answers("/livez"), LATE_S, what="room for another connection")


def assert_refusal(head: bytes, body: bytes, code: str) -> None:
    """A whole problem detail with the headers that every answer has, and no byte more."""
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert lines.items() >= SECURITY_HEADERS.items()
    assert lines["Content-Type"] == "application/problem+json"
    assert lines["Connection"] == "close"
    assert int(lines["Content-Length"]) == len(body)
    problem = json.loads(body)
    assert (problem["code"], str(problem["status"])) == (code, head.decode().split()[1])


def refusal(service: Service, sent: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer, after which the connection is closed."""
    with connect(service) as connection:
        with contextlib.suppress(OSError):  # the server may close it before all is sent
            connection.sendall(sent)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    return head, body


HOST = b"Host: localhost\r\n"
POST = b"POST /api/metadata/ HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    "request line": b"GET\r\n\r\n",
    "method": b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "version": b"GET /livez HTTP/3.1\r\n" + HOST + b"\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "userinfo in the host": b"GET /livez HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "header line": b"GET /livez HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n",
    "NUL": b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunk": CHUNKED + b"zz\r\n",
    "chunk line over its bound": CHUNKED + b"1" * 100,
    "after a 100": POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_is_answered_as_every_other_mistake(bounded: Service, sent: bytes) -> None:
    head, body = refusal(bounded, sent)
    if head.startswith(b"HTTP/1.1 100 "):
        head, _, body = body.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert_refusal(head, body, "invalid_request")


def test_what_is_no_request_is_refused_after_one_that_was(bounded: Service) -> None:
    with connect(bounded) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n" + MALFORMED["header line"])
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 200 ")
    head, _, body = received[received.index(b"HTTP/1.1 400 ") :].partition(b"\r\n\r\n")
    assert_refusal(head, body, "invalid_request")


@pytest.mark.parametrize("size", [100_000, 200_000])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["going on", "ended"])
def test_head_over_the_bound_is_refused(bounded: Service, size: int, end: bytes) -> None:
    head, body = refusal(bounded, b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * size + end)
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert_refusal(head, body, "headers_too_large")
    assert b"The request line and headers must have at most 98304 bytes together." in body


def test_bound_of_heads_is_a_setting(mongo_uri: str, tmp_path: Path) -> None:
    environ = with_database(
        mongo_uri,
        INVENTORY_MAX_REQUEST_HEADER_BYTES="4096",
    )
    start = b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\nX-Long: "
    with Service(tmp_path, environ=environ) as service:
        service.wait_for_answer()
        assert refusal(service, (start + b"x" * 4096)[:4092] + b"\r\n\r\n")[0].startswith(b"HTTP/1.1 200 ")
        assert refusal(service, (start + b"x" * 4096)[:4093] + b"\r\n\r\n")[0].startswith(b"HTTP/1.1 431 ")


def test_longest_url_fits_however_it_is_written(bounded: Service) -> None:
    """8,192 characters of three bytes each, percent-encoded in the query."""
    url = "http://a.example/".ljust(8_192, "ㅁ")
    status, problem = get(bounded, url, collect=False)
    assert (status, problem["code"]) == (400, "url_too_long"), "it has arrived, but is too long when normalized"


def test_client_that_does_not_read_its_answer_is_let_go(bounded: Service, shared_origin: Origin) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path, os.urandom(9_000_000))
    record = post(bounded, shared_origin.url(path))[1]
    with connect(bounded) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET /api/metadata/{record['id']}/body/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        worker = bounded.child("metadata_inventory.service.worker")
        port = connection.getsockname()[1]
        assert connection.recv(1)

        def closed() -> bool:
            states = [one.status for one in worker.net_connections("tcp") if one.raddr and one.raddr.port == port]
            return psutil.CONN_ESTABLISHED not in states

        wait_until(closed, ANSWER_S + LATE_S, what="the end of the connection")
    with connect(bounded) as reader:
        reader.sendall(
            f"GET /api/metadata/{record['id']}/body/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert len(read_to_end(reader)) > 9_000_000, "a client that reads gets the whole answer"
