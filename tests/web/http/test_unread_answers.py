"""The limit on the bytes of large answers that clients have not read, all clients together."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from tornado.iostream import IOStream, StreamClosedError

from metadata_inventory.web.http.unread_answers import UNREAD_BYTES, UnreadAnswers
from tests.support.client import post
from tests.support.origin import Origin
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until

BODY_BYTES = 10_000_000
FIT = UNREAD_BYTES // BODY_BYTES
# Memory beside the answers: buffers for reading and writing them, and what the allocator keeps.
BESIDE_BYTES = 150_000_000
BACK_S = 10.0


@pytest.fixture(scope="module")
def patient(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose clients may take ten minutes to read an answer."""
    environ = with_database(mongo_uri, INVENTORY_ANSWER_TIMEOUT_S="600", INVENTORY_ALLOW_LOOPBACK="true")
    with Service(tmp_path_factory.mktemp("patient"), environ=environ) as service:
        service.wait_for_answer()
        yield service


@pytest.fixture(scope="module")
def large(patient: Service, shared_origin: Origin) -> str:
    """The path of a body of BODY_BYTES."""
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path, os.urandom(BODY_BYTES), headers=[("Content-Type", "application/octet-stream")])
    status, record = post(patient, shared_origin.url(path))
    assert status == 201
    return f"/api/metadata/{record['id']}/body/"


class SlowReader:
    """A request whose answer has been read only up to the end of its head."""

    def __init__(self, stack: ExitStack, service: Service, path: str) -> None:
        address = urlsplit(service.url)
        self._connection = stack.enter_context(socket.socket())
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._connection.settimeout(30)
        self._connection.connect((address.hostname, address.port))
        self._connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._connection.recv(1024)
        self.head, _, self._begun = received.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1])

    def read(self) -> bytes:
        received = bytearray(self._begun)
        while chunk := self._connection.recv(1 << 20):
            received += chunk
        return bytes(received)

    def close(self) -> None:
        self._connection.close()


def test_unread_bytes_of_all_clients_are_limited_and_small_answers_are_sent(patient: Service, large: str) -> None:
    worker = patient.child("metadata_inventory.service.worker")
    before = worker.memory_info().rss
    with ExitStack() as stack:
        readers = [SlowReader(stack, patient, large) for _ in range(FIT)]
        assert {reader.status for reader in readers} == {200}
        for _ in range(FIT):
            over = SlowReader(stack, patient, large)
            assert over.status == 503
            assert b"Retry-After: 1" in over.head
            assert b'"code":"unavailable"' in over.read()
        assert worker.memory_info().rss - before < UNREAD_BYTES + BESIDE_BYTES
        assert SlowReader(stack, patient, "/livez").status == 200, "a small answer has room"
        assert len(readers[0].read()) == BODY_BYTES, "a client that reads gets the whole answer"
        wait_until(
            lambda: SlowReader(stack, patient, large).status == 200,
            BACK_S,
            what="room after one was read",
        )
        for reader in readers:
            reader.close()

        def all_have_room() -> bool:
            with ExitStack() as readers_again:
                return all(SlowReader(readers_again, patient, large).status == 200 for _ in range(FIT - 1))

        wait_until(all_have_room, 3 * BACK_S, what="room for all, after the clients have closed their connections")


@pytest.mark.gen_test
async def test_connection_is_closed_when_its_answer_is_not_read_in_time_and_kept_when_it_is() -> None:
    """Timers run in order: when the second one has closed its connection, the first one is over."""
    loop = asyncio.get_running_loop()
    unread = UnreadAnswers(timeout_s=0.1)
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(2)]
        for pair in pairs:
            for end in pair:
                stack.callback(end.close)
        read, not_read = (IOStream(pair[0]) for pair in pairs)
        written, not_written = loop.create_future(), loop.create_future()
        unread.watch(written, 1, read)
        unread.watch(not_written, 1, not_read)
        written.set_result(None)
        closed = asyncio.Event()
        not_read.set_close_callback(closed.set)
        await asyncio.wait_for(closed.wait(), BACK_S)
        assert not read.closed()
        read.close()


@pytest.mark.gen_test
@pytest.mark.parametrize("cancelled", [False, True], ids=["closed", "cancelled"])
async def test_answer_that_does_not_arrive_is_no_error_in_the_log(
    caplog: pytest.LogCaptureFixture, cancelled: bool
) -> None:
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    UnreadAnswers(60).watch(written, 10, None)
    if cancelled:
        written.cancel()
    else:
        written.set_exception(StreamClosedError())
    await asyncio.sleep(0)  # the callbacks of the future run
    del written
    gc.collect()  # asyncio logs an exception that nobody has retrieved when its future is deleted
    assert caplog.records == []
