"""Requests under way when the service stops: it waits for them, but not for clients that have disconnected."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from msgspec.structs import replace

from metadata_inventory.service import bootstrap
from metadata_inventory.service.settings import Settings
from metadata_inventory.web.app import make_app
from metadata_inventory.web.http.request_counter import RequestCounter
from metadata_inventory.web.http.server import make_server
from tests.support.waiting import wait_until_async

BEGUN = (
    b"POST /api/metadata/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"
)
READINESS = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG_S = 600.0


async def begin(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request whose head the service has read, and whose body has been sent up to its first byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(BEGUN)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"{")
    await writer.drain()
    return reader, writer


@pytest.mark.gen_test
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_stop_does_not_wait_for_a_request_whose_client_has_disconnected(
    mongo_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    monkeypatch.setattr(bootstrap, "ANSWER_S", LONG_S)
    service = bootstrap.Service(Settings(mongo_uri=mongo_uri, database=database_name, lanes=1))
    await service.start()
    server = make_server(make_app(service.services), max_connections=10, idle_timeout_s=LONG_S, body_timeout_s=LONG_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server.add_sockets([listener])
        _, gone = await begin(listener.getsockname()[1])
        reader, staying = await begin(listener.getsockname()[1])
        if reset:
            linger = struct.pack("ii", 1, 0)
            gone.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        gone.close()
        server.stop()
        closing = asyncio.create_task(service.close())
        done, _ = await asyncio.wait({closing}, timeout=1)
        assert not done, "the other client is still connected; it sends the rest of its body now"
        staying.write(b"}".ljust(99))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 4")
        staying.close()
        await asyncio.wait_for(closing, 10)
        await server.close_all_connections()


@pytest.mark.gen_test
async def test_request_whose_client_disconnects_before_the_answer_counts_once(mongo_uri: str) -> None:
    """First the connection is closed, then the answer is finished: either of the two would be enough."""
    release = asyncio.Event()
    services = replace(bootstrap.Service(Settings(mongo_uri=mongo_uri)).services, check=release.wait)
    server = make_server(make_app(services), max_connections=10, idle_timeout_s=LONG_S, body_timeout_s=LONG_S)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server.add_sockets([listener])
        address = listener.getsockname()
        _, gone = await asyncio.open_connection(*address)
        gone.write(READINESS)
        await wait_until_async(lambda: begun(services.requests), 10)
        gone.close()
        await asyncio.wait_for(services.requests.answered(LONG_S), 10)
        release.set()
        reader, staying = await asyncio.open_connection(*address)
        staying.write(READINESS)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        await asyncio.wait_for(services.requests.answered(LONG_S), 10)
        staying.close()
        server.stop()
        await server.close_all_connections()


async def begun(requests: RequestCounter) -> bool:
    """Whether a request is under way."""
    try:
        await asyncio.wait_for(requests.answered(LONG_S), 0.01)
    except TimeoutError:
        return True
    return False
